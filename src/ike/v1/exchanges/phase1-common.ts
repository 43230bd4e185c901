/** What main mode and aggressive mode have in common (RFC 2409 §5): identities, hashes, and the moment of success. */

import type { Instant } from "../../../core/time.ts";
import {
  type IsakmpSpis,
  type Phase1Transcript,
  phase1HashI,
  phase1HashR,
  verifyIsakmpHash,
} from "../../../crypto/index.ts";
import { IsakmpDoi, IsakmpNotifyType, SIT_IDENTITY_ONLY } from "../../../registry/index.ts";
import {
  findIsakmpNotify,
  type IsakmpIdPayload,
  type IsakmpNotifyPayload,
  type IsakmpPayload,
  type IsakmpPayloadKind,
  type IsakmpProposal,
  type IsakmpSaPayload,
  isakmpBody,
} from "../../../wire/v1/index.ts";
import type { IkeDrop } from "../../common/drops.ts";
import { failureOf } from "../../common/failures.ts";
import {
  encodeIdentity,
  expectedIdentity,
  identityMatches,
  identityMismatch,
} from "../../common/identity.ts";
import type { Identity, PeerSettings } from "../../common/settings.ts";
import type { IsakmpSa } from "../isakmp-sa.ts";
import type { Secured } from "../key-material.ts";
import { startKeepalives } from "../nat.ts";
import { isakmpNotify } from "../notify.ts";
import type { Phase1Reply } from "../phase1.ts";
import { startLifetime } from "../timers.ts";
import { abilitiesOf } from "../vendor.ts";
import { sendDelete } from "./informational.ts";

export const nonceBytes = 32;

export const saPayload = (proposal: IsakmpProposal): IsakmpSaPayload => ({
  kind: "SA",
  doi: IsakmpDoi.code.IPSEC,
  situation: SIT_IDENTITY_ONLY,
  proposals: [proposal],
});

/** RFC 2407 §4.6.2: without protocol and port, as everybody sends it. */
export function idPayload(identity: Identity): IsakmpIdPayload {
  return { kind: "ID", protocol: 0, port: 0, ...encodeIdentity(identity) };
}

/** Why a message that must hold these payloads, each once, does not. */
export function missing(
  payloads: readonly IsakmpPayload[],
  required: readonly IsakmpPayloadKind[],
): string | undefined {
  for (const kind of required) {
    const count = payloads.filter((p) => p.kind === kind).length;
    if (count !== 1) return count === 0 ? `no ${kind}` : `${count} times ${kind}`;
  }
  return undefined;
}

// ── Hashes ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** What both sides know before anything is authenticated. */
export interface Transcript {
  readonly gxi: Uint8Array;
  readonly gxr: Uint8Array;
  readonly SAi_b: Uint8Array;
}

export function hashI(
  secured: Secured,
  spis: IsakmpSpis,
  transcript: Transcript,
  id: IsakmpPayload,
): Uint8Array {
  return phase1HashI(secured.suite.prf, secured.keys.SKEYID, { ...transcript, ...spisOf(spis) }, bodyOf(id));
}

export function hashR(
  secured: Secured,
  spis: IsakmpSpis,
  transcript: Transcript,
  id: IsakmpPayload,
): Uint8Array {
  return phase1HashR(secured.suite.prf, secured.keys.SKEYID, { ...transcript, ...spisOf(spis) }, bodyOf(id));
}

export const isHash = verifyIsakmpHash;

const spisOf = ({ spiInitiator, spiResponder }: IsakmpSpis): Pick<Phase1Transcript, keyof IsakmpSpis> => ({
  spiInitiator,
  spiResponder,
});

/** As it was on the wire: RESERVED octets of the peer's, too. */
const bodyOf = (payload: IsakmpPayload & { readonly body?: Uint8Array }): Uint8Array =>
  payload.body ?? isakmpBody(payload);

// ── Success and refusal ────────────────────────────────────────────────────────────────────────────────────────

/** RFC 2407 §4.6.3.3: only when this is all that we have with the peer. */
export function initialContact(sa: IsakmpSa): IsakmpNotifyPayload[] {
  return sa.host.isFirstContact(sa) ? [isakmpNotify(IsakmpNotifyType.code.INITIAL_CONTACT, sa)] : [];
}

export const saysInitialContact = (payloads: readonly IsakmpPayload[]): boolean =>
  findIsakmpNotify(payloads, IsakmpNotifyType.code.INITIAL_CONTACT) !== undefined;

/** Takes what the peer's first message says that it can do. */
export function takeAbilities(
  sa: IsakmpSa,
  payloads: readonly IsakmpPayload[],
  natTraversal: PeerSettings["natTraversal"],
): void {
  const { dpd, fragmentation, nat } = abilitiesOf(payloads, natTraversal);
  sa.liveness.supported = dpd;
  sa.fragmentation = fragmentation;
  sa.natDialect = nat;
}

/** Keys are there: for an analyser, when the operator asked for it. */
export function exportIsakmpKeys({ host, spiInitiator, secured }: IsakmpSa): void {
  if (!host.exportKeys || !secured) return;
  host.emit({ kind: "isakmpKeys", keys: { spiInitiator, cipherKey: secured.keys.Ka.copy() } });
}

/** Both sides have proven who they are. `lifeSeconds`: what was negotiated; the shorter of that and ours counts. */
export function establish(
  sa: IsakmpSa,
  now: Instant,
  lifeSeconds: number | undefined,
  peerSaysInitialContact: boolean,
): void {
  sa.handshakeMs = now - sa.createdAt;
  sa.lastHeardAt = now;
  startLifetime(sa, now, lifeSeconds);
  startKeepalives(sa, now);
  sa.transition({ name: "ESTABLISHED", since: now }, "phase 1 succeeded");
  sa.host.emit({ kind: "established", sa });
  sa.host.onEstablished(sa, now, peerSaysInitialContact);
}

/** True when `peer` may be who calls itself `id` at the address of `sa`. */
export function isExpected(sa: IsakmpSa, peer: PeerSettings, id: IsakmpIdPayload): boolean {
  const expected = expectedIdentity(peer, sa.remote.address);
  return !expected || identityMatches(expected, id);
}

/** Who has the key of `peer` calls itself `id`, and is not expected: it is told so, in a message only we can have sent. */
export function refuseIdentity(
  sa: IsakmpSa,
  now: Instant,
  peer: PeerSettings,
  id: IsakmpIdPayload,
): Phase1Reply {
  sa.inform(now, [isakmpNotify(IsakmpNotifyType.code.INVALID_ID_INFORMATION, sa)]);
  // As initiator we are the last to know: the peer believes that phase 1 succeeded.
  if (sa.role === "initiator") sendDelete(sa, now, []);
  const expected = expectedIdentity(peer, sa.remote.address)!;
  sa.fail(now, failureOf(sa, "PEER_IDENTITY_MISMATCH", identityMismatch(expected, id)));
  return { kind: "ended" };
}

export const drop = (why: IkeDrop): Phase1Reply => ({ kind: "drop", why });
