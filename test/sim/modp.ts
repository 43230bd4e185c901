/** The primes of RFC 3526 by their formula, to have them from elsewhere than the code under test. */

/** 2^n − 2^(n−64) − 1 + 2^64 · (⌊2^(n−130) · π⌋ + c); `bits`: 2048 (c = 124476). */
export function modpGroupPrime(bits: 2048): bigint {
  const n = BigInt(bits);
  const c = 124476n;
  return 2n ** n - 2n ** (n - 64n) - 1n + 2n ** 64n * (scaledPi(n - 130n) + c);
}

/** ⌊2^bits · π⌋ by Machin's formula: π = 16 arctan 1/5 − 4 arctan 1/239. */
function scaledPi(bits: bigint): bigint {
  const guard = 64n;
  const one = 1n << (bits + guard);
  return (16n * arctanInverse(5n, one) - 4n * arctanInverse(239n, one)) >> guard;
}

function arctanInverse(x: bigint, one: bigint): bigint {
  let term = one / x;
  let sum = term;
  for (let n = 3n, sign = -1n; term !== 0n; n += 2n, sign = -sign) {
    term /= x * x;
    sum += (sign * term) / n;
  }
  return sum;
}
