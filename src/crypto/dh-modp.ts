/** Diffie-Hellman in the multiplicative groups of RFC 2409, RFC 3526 and RFC 5114. */
import { createDiffieHellman, type DiffieHellman, randomBytes } from "node:crypto";
import { compareBytes } from "../core/address.ts";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow } from "../registry/index.ts";
import type { KeyPair } from "./dh.ts";
import { modpPrimes, modpSubgroups } from "./modp-primes.ts";

export function modpKeyPair(row: DhRow, given: Uint8Array | undefined): KeyPair {
  const prime = modpPrimes.get(row.id)!;
  const x = new Secret(given ? Uint8Array.from(given) : freshExponent(row));
  const subgroup = modpSubgroups.get(row.id);
  const publicValue = power(row, prime, subgroup?.generator ?? TWO, x)!;
  return {
    group: row.id,
    publicValue: publicValue.reveal(),
    computeSharedSecret(peerPublic) {
      checkPublicValue(row, prime, peerPublic);
      const secret = power(row, prime, peerPublic, x);
      // RFC 6989 §2.2: a public value outside the subgroup tells the peer our exponent modulo small factors of p - 1.
      // Either each is tested, for as much as the exchange itself costs, or no private value serves two exchanges: this.
      if (subgroup) x.wipe();
      if (!secret) throw new PeerMisbehaved(`KE data for ${DhGroup.nameOf(row.id)} is of a small order`);
      return secret;
    },
    get spent() {
      return x.length === 0;
    },
    wipe: () => x.wipe(),
  };
}

/**
 * RFC 3526 §8: an exponent of twice the group's strength is enough, and costs a fraction of a full-length one. Never
 * less than 256 bits. The top bit is set so that every exponent takes the same time.
 */
function freshExponent(row: DhRow): Uint8Array {
  const bytes = randomBytes(Math.max(32, Math.ceil((2 * row.strengthBits) / 8)));
  bytes[0]! |= 0x80;
  return bytes;
}

/** RFC 7296 §3.4 and RFC 6989 §2.1: exactly the prime's length, and 1 < y < p − 1 in a group with a safe prime. */
function checkPublicValue(row: DhRow, prime: Uint8Array, y: Uint8Array): void {
  const group = DhGroup.nameOf(row.id);
  if (y.length !== prime.length)
    throw new PeerMisbehaved(`KE data for ${group} has ${y.length} octets, not ${prime.length}`);
  const primeMinusOne = Uint8Array.from(prime);
  primeMinusOne[prime.length - 1]! -= 1; // an odd prime: no borrow
  const one = new Uint8Array(prime.length);
  one[prime.length - 1] = 1;
  if (compareBytes(y, one) <= 0 || compareBytes(y, primeMinusOne) >= 0)
    throw new PeerMisbehaved(`KE data for ${group} is not between 1 and p − 1`);
}

/**
 * base^x mod p, left-padded to the prime's length; undefined when it is 1, which is no secret.
 *
 * One node:crypto object per group serves all key pairs: making one for a prime that OpenSSL does not know by heart
 * (groups 1 and 2) tests its primality, for 35 milliseconds; the generator is part of what it knows. It holds a private key only during this call.
 */
function power(row: DhRow, prime: Uint8Array, base: Uint8Array, x: Secret): Secret | undefined {
  if (x.length === 0) throw new RangeError("the private key was wiped");
  let engine = engines.get(row.id);
  if (!engine) {
    engine = createDiffieHellman(prime, modpSubgroups.get(row.id)?.generator ?? TWO);
    engines.set(row.id, engine);
  }
  try {
    engine.setPrivateKey(x.reveal());
    return new Secret(engine.computeSecret(base));
  } catch {
    // OpenSSL gives no result of 1; ranges were checked before.
    return undefined;
  } finally {
    engine.setPrivateKey(TWO);
  }
}

const TWO = Uint8Array.of(2);

const engines = new Map<number, DiffieHellman>();
