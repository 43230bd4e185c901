/**
 * Key pairs on elliptic curves by another's arithmetic than node:crypto's: what OpenSSL makes of P-384 and P-521 takes
 * four to eight times as long as it has to (bench/RESULTS.md, `bench -- ike`). Who composes the daemon hands the
 * arithmetic in; without it, `generateKeyPair` needs nothing but Node.
 */
import { randomBytes } from "node:crypto";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type DhRow } from "../registry/index.ts";
import type { KeyPair } from "./dh.ts";

/** Multiplication on the curves, in time that does not depend on the private key. Lengths are IKE's. */
export interface CurveArithmetic {
  /** Undefined when it is not a private key: 0, or not below the group's order. */
  publicValue(group: number, privateKey: Uint8Array): Uint8Array | undefined;
  /** Undefined when that is no public value: not on the curve, or of small order. */
  sharedSecret(group: number, privateKey: Uint8Array, publicValue: Uint8Array): Uint8Array | undefined;
}

export function curveKeyPair(
  row: DhRow,
  given: Uint8Array | undefined,
  arithmetic: CurveArithmetic,
): KeyPair {
  const [privateKey, publicValue] = given ? imported(row, given, arithmetic) : fresh(row, arithmetic);
  return {
    group: row.id,
    publicValue,
    computeSharedSecret(peerPublic) {
      if (privateKey.length === 0) throw new RangeError("the private key was wiped");
      const group = DhGroup.nameOf(row.id);
      if (peerPublic.length !== row.publicBytes)
        throw new PeerMisbehaved(
          `KE data for ${group} has ${peerPublic.length} octets, not ${row.publicBytes}`,
        );
      // RFC 5903 §9, RFC 6989 §2.3, RFC 8031 §2.1: the receiver checks, and the arithmetic does.
      const secret = arithmetic.sharedSecret(row.id, privateKey.reveal(), peerPublic);
      if (!secret) throw new PeerMisbehaved(`KE data for ${group} is ${notPublicValue(row)}`);
      return new Secret(secret);
    },
    wipe: () => privateKey.wipe(),
  };
}

/**
 * Any 32 random octets are a private key of X25519 (RFC 7748 §5). Of the NIST curves' orders each is just below a power
 * of two: a random number of so many bits is refused once in 2^32 times at most (FIPS 186-5 §A.2.2, rejection).
 */
function fresh(row: DhRow, arithmetic: CurveArithmetic): [Secret, Uint8Array] {
  for (;;) {
    const octets = randomBytes(row.sharedSecretBytes);
    if (row.id === DhGroup.code.ECP_521) octets[0]! &= 1; // 528 bits hold its 521
    const publicValue = arithmetic.publicValue(row.id, octets);
    if (publicValue) return [new Secret(octets), publicValue];
    octets.fill(0);
  }
}

function imported(row: DhRow, given: Uint8Array, arithmetic: CurveArithmetic): [Secret, Uint8Array] {
  const length = row.sharedSecretBytes;
  const octets = new Uint8Array(length);
  if (given.length > length || (row.kind === "x25519" && given.length !== length))
    throw new RangeError(`a private key of ${DhGroup.nameOf(row.id)} has ${length} octets`);
  octets.set(given, length - given.length);
  const publicValue = arithmetic.publicValue(row.id, octets);
  if (!publicValue) throw new RangeError(`not a private key of ${DhGroup.nameOf(row.id)}`);
  return [new Secret(octets), publicValue];
}

const notPublicValue = (row: DhRow): string =>
  row.kind === "x25519" ? "a point of small order" : "not a point on the curve";
