/** Keys of a CHILD_SA (RFC 7296 §2.17). */
import type { Secret } from "../core/secret.ts";
import type { EspSuite } from "../registry/index.ts";
import { encrKeymatBytes, integKeyBytes } from "./ike-keys.ts";
import { cut, prfPlus } from "./prf.ts";

/** Keys of one direction, ready for `SaSpec`. */
export interface ChildSaKeys {
  /** The key and, behind it, the salt where the cipher has one. */
  readonly encrKey: Secret;
  /** Empty for AEAD. */
  readonly integKey: Secret;
}

export interface ChildKeys {
  /** For packets from the initiator of this exchange to its responder. */
  readonly initiatorToResponder: ChildSaKeys;
  readonly responderToInitiator: ChildSaKeys;
}

/**
 * KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr)
 *
 * With additional key exchanges, KEYMAT = prf+ (SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n)), RFC 9370 §2.2.4: SK(0) is
 * `gir`, the others `additional`.
 *
 * `prfId` is the IKE SA's PRF; `gir` is present with PFS only. No secret is wiped. Keys of the initiator's packets come
 * first, and within a direction encryption before integrity.
 */
export function childKeys(
  prfId: number,
  SK_d: Secret,
  suite: Pick<EspSuite, "encr" | "keyBits" | "integ">,
  Ni: Uint8Array,
  Nr: Uint8Array,
  gir?: Secret,
  additional: readonly Secret[] = [],
): ChildKeys {
  const encrBytes = encrKeymatBytes(suite);
  const integBytes = integKeyBytes(suite.integ);
  const lengths = [encrBytes, integBytes, encrBytes, integBytes];
  const more = additional.map((secret) => secret.reveal());
  const seed = [...(gir ? [gir.reveal()] : []), Ni, Nr, ...more];
  const keymat = prfPlus(prfId, SK_d.reveal(), seed, 2 * (encrBytes + integBytes));
  const [encrI, integI, encrR, integR] = cut(keymat, lengths) as [Secret, Secret, Secret, Secret];
  return {
    initiatorToResponder: { encrKey: encrI, integKey: integI },
    responderToInitiator: { encrKey: encrR, integKey: integR },
  };
}

export function wipeChildKeys(keys: ChildKeys): void {
  for (const direction of [keys.initiatorToResponder, keys.responderToInitiator]) {
    direction.encrKey.wipe();
    direction.integKey.wipe();
  }
}
