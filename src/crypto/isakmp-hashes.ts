/** What authenticates IKEv1: the hashes of phase 1, and those of each message after it (RFC 2409 §5, §5.5, §5.7). */
import type { Secret } from "../core/secret.ts";
import { constantTimeEqual } from "./equal.ts";
import { type IsakmpSpis, messageIdBytes, spiBytes } from "./isakmp-keys.ts";
import { prf } from "./prf.ts";

/** What both hashes of phase 1 cover. Names ending in `_b` are payloads without their generic headers. */
export interface Phase1Transcript extends IsakmpSpis {
  /** g^xi and g^xr: what the KE payloads hold. */
  readonly gxi: Uint8Array;
  readonly gxr: Uint8Array;
  /** The initiator's SA payload, every proposal of it. */
  readonly SAi_b: Uint8Array;
}

/** HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b ) */
export function phase1HashI(
  prfId: number,
  SKEYID: Secret,
  { gxi, gxr, SAi_b, ...spis }: Phase1Transcript,
  IDii_b: Uint8Array,
): Uint8Array {
  return prf(prfId, SKEYID.reveal(), gxi, gxr, spiBytes(spis), SAi_b, IDii_b);
}

/** HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b ) */
export function phase1HashR(
  prfId: number,
  SKEYID: Secret,
  { gxi, gxr, SAi_b, spiInitiator, spiResponder }: Phase1Transcript,
  IDir_b: Uint8Array,
): Uint8Array {
  const reversed = { spiInitiator: spiResponder, spiResponder: spiInitiator };
  return prf(prfId, SKEYID.reveal(), gxr, gxi, spiBytes(reversed), SAi_b, IDir_b);
}

/**
 * HASH(1) = prf(SKEYID_a, M-ID | SA | Ni [ | KE ] [ | IDci | IDcr ) of quick mode, and
 * HASH(1) = prf(SKEYID_a, M-ID | N/D) of an informational message: `afterHash` is what follows the HASH payload.
 */
export function messageHash1(
  prfId: number,
  SKEYID_a: Secret,
  messageId: number,
  afterHash: Uint8Array,
): Uint8Array {
  return prf(prfId, SKEYID_a.reveal(), messageIdBytes(messageId), afterHash);
}

/** HASH(2) = prf(SKEYID_a, M-ID | Ni_b | SA | Nr [ | KE ] [ | IDci | IDcr ) */
export function messageHash2(
  prfId: number,
  SKEYID_a: Secret,
  messageId: number,
  Ni_b: Uint8Array,
  afterHash: Uint8Array,
): Uint8Array {
  return prf(prfId, SKEYID_a.reveal(), messageIdBytes(messageId), Ni_b, afterHash);
}

/** HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b) */
export function messageHash3(
  prfId: number,
  SKEYID_a: Secret,
  messageId: number,
  Ni_b: Uint8Array,
  Nr_b: Uint8Array,
): Uint8Array {
  return prf(prfId, SKEYID_a.reveal(), Uint8Array.of(0), messageIdBytes(messageId), Ni_b, Nr_b);
}

/** Whether a peer's hash is the one computed here; constant time. */
export function verifyIsakmpHash(expected: Uint8Array, received: Uint8Array): boolean {
  return constantTimeEqual(expected, received);
}
