/** Authentication with a pre-shared key (RFC 7296 §2.15). */
import type { Secret } from "../core/secret.ts";
import { constantTimeEqual } from "./equal.ts";
import { prf, secretPrf } from "./prf.ts";

/** What one side signs, from that side's point of view. */
export interface SignedOctets {
  /** RealMessage1 or RealMessage2: the signer's IKE_SA_INIT message, from header to last payload. */
  readonly message: Uint8Array;
  /** The nonce of the other side. */
  readonly peerNonce: Uint8Array;
  /** SK_pi when the initiator signs, SK_pr when the responder does. */
  readonly SK_p: Secret;
  /** RestOfInitIDPayload or RestOfRespIDPayload: the signer's ID payload without its generic header. */
  readonly restOfIdPayload: Uint8Array;
  /** IntAuth of RFC 9242 §3.3.2, the same for both; absent when no IKE_INTERMEDIATE took place. */
  readonly intAuth?: Uint8Array | undefined;
}

const KEY_PAD = new TextEncoder().encode("Key Pad for IKEv2");

/**
 *   InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI [| IntAuth]
 *   MACedIDForI = prf(SK_pi, RestOfInitIDPayload)
 *   AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <InitiatorSignedOctets>)
 */
export function pskAuth(prfId: number, psk: Secret, signed: SignedOctets): Uint8Array {
  const macedId = prf(prfId, signed.SK_p.reveal(), signed.restOfIdPayload);
  const key = secretPrf(prfId, psk.reveal(), KEY_PAD);
  const octets = [signed.message, signed.peerNonce, macedId];
  if (signed.intAuth) octets.push(signed.intAuth);
  const auth = prf(prfId, key.reveal(), ...octets);
  key.wipe();
  return auth;
}

/** Whether `auth` is what the peer would have computed with the same key; constant time. */
export function verifyPskAuth(prfId: number, psk: Secret, signed: SignedOctets, auth: Uint8Array): boolean {
  return constantTimeEqual(pskAuth(prfId, psk, signed), auth);
}
