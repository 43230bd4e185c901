/** The source of all randomness in pure folders: the system's in the daemon, seeded in the simulator. */
export interface Random {
  /** `length` fresh random bytes. */
  bytes(length: number): Uint8Array;
}

/** A uniform integer in [0, bound). `bound`: an integer from 1 to 2^32, RangeError otherwise. */
export function randomBelow(random: Random, bound: number): number {
  if (!Number.isInteger(bound) || bound < 1 || bound > 2 ** 32)
    throw new RangeError(`no uniform integer below ${bound}`);
  // Rejection keeps it uniform: the top partial block of 2^32 would favour small values.
  const limit = 2 ** 32 - (2 ** 32 % bound);
  for (;;) {
    const b = random.bytes(4);
    const v = ((b[0]! << 24) | (b[1]! << 16) | (b[2]! << 8) | b[3]!) >>> 0;
    if (v < limit) return v % bound;
  }
}

/** `value` moved by up to ±`fraction` of itself, so that peers do not act in step. */
export function jittered(random: Random, value: number, fraction: number): number {
  const unit = randomBelow(random, 2 ** 32) / 2 ** 32;
  return value * (1 + fraction * (2 * unit - 1));
}
