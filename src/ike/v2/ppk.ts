/**
 * Postquantum preshared keys (RFC 8784): a second secret, mixed into SK_d and into the keys that AUTH is made with. The
 * initiator names it in IKE_AUTH, after both have said USE_PPK in IKE_SA_INIT.
 *
 * A side that does not insist on it still comes up with a peer that has none: the initiator sends what AUTH would be
 * without it as well (NO_PPK_AUTH).
 */

import { compareBytes } from "../../core/address.ts";
import { type PpkKeys, ppkKeys, wipePpkKeys } from "../../crypto/index.ts";
import { AuthMethod, NotifyType } from "../../registry/index.ts";
import { type AuthPayload, findNotify, type NotifyPayload, type PlainPayload } from "../../wire/index.ts";
import type { PeerSettings, PpkSettings } from "../common/settings.ts";
import type { IkeSa } from "./ike-sa.ts";
import { pskAuth, type Signed, verifyPskAuth, withPpkKeys } from "./key-material.ts";
import { notify } from "./notify.ts";

/** IKE_SA_INIT: we can use a PPK. */
export const usePpk = notify(NotifyType.code.USE_PPK);

export function saysUsePpk(payloads: readonly PlainPayload[]): boolean {
  return findNotify(payloads, NotifyType.code.USE_PPK) !== undefined;
}

/** The keys that `ppk` gives; the owner wipes them, or adopts them. */
export function mixedKeys(sa: IkeSa, ppk: PpkSettings): PpkKeys {
  const { suite, keys } = sa.secured!;
  return ppkKeys(suite.prf, keys, ppk.secret);
}

/** From here on the IKE SA has the keys of the PPK. */
export function adoptPpk(sa: IkeSa, mixed: PpkKeys): void {
  sa.secured = withPpkKeys(sa.secured!, mixed);
}

/** Initiator, IKE_AUTH: `N(PPK_IDENTITY, PPK_ID) [, N(NO_PPK_AUTH)]`. `octets`: what AUTH signs. */
export function ppkNotifies(
  sa: IkeSa,
  peer: PeerSettings,
  ppk: PpkSettings,
  octets: Signed,
): NotifyPayload[] {
  const identity = new Uint8Array(1 + ppk.id.length);
  identity[0] = PPK_ID_FIXED;
  identity.set(ppk.id, 1);
  const without = ppk.required ? undefined : pskAuth(sa.secured!, "initiator", peer.psk, octets);
  return [
    notify(NotifyType.code.PPK_IDENTITY, identity),
    ...(without ? [notify(NotifyType.code.NO_PPK_AUTH, without)] : []),
  ];
}

/** What an initiator proved, and with which keys the responder goes on. */
export type Proof =
  | { readonly ok: true; readonly mixed: PpkKeys | undefined }
  /** `ppk`: the pre-shared key is right, and it is the PPK that is missing or differs. */
  | { readonly ok: false; readonly ppk: boolean };

/** Responder, IKE_AUTH: whether the initiator has the pre-shared key of `peer`, and its PPK where that is called for. */
export function verifyInitiator(
  sa: IkeSa,
  peer: PeerSettings,
  auth: AuthPayload,
  octets: Signed,
  payloads: readonly PlainPayload[],
): Proof {
  if (auth.method !== AuthMethod.code.SHARED_KEY_MIC) return { ok: false, ppk: false };
  const { ppk } = peer;
  const secured = sa.secured!;
  const verify = (data: Uint8Array) => verifyPskAuth(secured, "initiator", peer.psk, octets, data);
  const shown = sa.usesPpk ? findNotify(payloads, NotifyType.code.PPK_IDENTITY) : undefined;
  const without = shown ? findNotify(payloads, NotifyType.code.NO_PPK_AUTH)?.data : auth.data;
  if (ppk && shown && names(shown.data, ppk)) {
    const mixed = mixedKeys(sa, ppk);
    const keys = { ...secured.keys, ...mixed };
    if (verifyPskAuth({ suite: secured.suite, keys }, "initiator", peer.psk, octets, auth.data))
      return { ok: true, mixed };
    wipePpkKeys(mixed);
    // The same name for two keys is a mistake: nobody wants to fall back because of it.
    return { ok: false, ppk: without !== undefined && verify(without) };
  }
  if (without === undefined) return { ok: false, ppk: true };
  const authentic = verify(without);
  return authentic && !ppk?.required ? { ok: true, mixed: undefined } : { ok: false, ppk: authentic };
}

function names(identity: Uint8Array, ppk: PpkSettings): boolean {
  return identity[0] === PPK_ID_FIXED && compareBytes(identity.subarray(1), ppk.id) === 0;
}

/** The PPK of ours under `details` of a failure record. */
export function ppkDetails(peer: PeerSettings, difference: string) {
  const ours = peer.ppk ? [`PPK ${new TextDecoder().decode(peer.ppk.id)}`] : ["no PPK"];
  return { ours, difference };
}

/** RFC 8784 §5.1: PPK_ID types. */
const PPK_ID_FIXED = 2;
