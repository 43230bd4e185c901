/**
 * The INFORMATIONAL exchanges of MOBIKE (RFC 4555 §3.5 to §3.9), both roles.
 *
 *   HDR, SK {N(UPDATE_SA_ADDRESSES), [N(NAT_DETECTION_*),] [N(NO_NATS_ALLOWED),] N(ADDITIONAL_*)+, N(COOKIE2)} -->
 *                                                            <-- HDR, SK {[N(NAT_DETECTION_*),] N(COOKIE2)}
 */

import { compareBytes } from "../../../core/address.ts";
import type { Instant } from "../../../core/time.ts";
import { ExchangeType, NotifyType } from "../../../registry/index.ts";
import { findNotify, type NotifyPayload, type Payload, type PlainPayload } from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import type { InitiatedExchange, Received } from "../exchange.ts";
import { priorities } from "../exchange.ts";
import { moveSas, setNat, setPath } from "../follow.ts";
import type { IkeSa } from "../ike-sa.ts";
import {
  addressesIn,
  completeAddresses,
  isTrusted,
  isUnicast,
  listsAddresses,
  meetsForbiddenNat,
  noNatsAllowed,
  otherPaths,
  type Path,
  pathText,
  samePath,
} from "../mobike.ts";
import { detectNat, natDetectionNotifies } from "../nat.ts";
import { notify } from "../notify.ts";

const type = ExchangeType.code.INFORMATIONAL;
const anything = { required: [], optional: [] };
export const updateName = "update addresses";
export const routabilityName = "return routability";
const announceName = "announce addresses";
/** §3.9: how often an update is repeated that met a NAT where none may be. */
const maxRefusals = 4;
/** A peer that refuses more paths than anybody has is leading us on, from one address that it lists to the next. */
const maxUnacceptable = 16;
/** RFC 4555 §4.2.5: 8 to 64 octets. */
const cookie2Bytes = 16;

// ── Who decides: the initiator ───────────────────────────────────────────────────────────────────────────────────

/** Initiator: takes another path, and tells the peer as soon as the window allows (§3.5). */
export function takePath(sa: IkeSa, now: Instant, path: Path, why: string): void {
  const mobike = sa.mobike!;
  // §3.7: ESP goes to an address that only the peer vouches for when the peer was seen to receive there.
  sa.espPath = isTrusted(sa, path.remote.address) ? undefined : (sa.espPath ?? currentPath(sa));
  setPath(sa, now, path, why);
  mobike.pending = true;
  moveSas(sa, now);
  // §3.5: what waits for an answer is repeated on the new path.
  sa.resend(now);
  if (!sa.hasExchange(updateName)) sa.initiate(now, new UpdateAddresses());
}

/** The addresses of this host are others than before: `sa` leaves the one that is gone, the peer learns of the rest. */
export function onLocalAddresses(sa: IkeSa, now: Instant): void {
  const { mobike } = sa;
  if (!mobike || !sa.established) return;
  if (sa.host.isLocal(sa.local.address)) {
    if (!sa.hasExchange(announceName)) sa.initiate(now, announceAddresses());
    return;
  }
  const why = `${sa.local.address} is gone`;
  if (mobike.initiator) {
    const [path] = otherPaths(sa);
    if (path) takePath(sa, now, path, why);
    return;
  }
  // §3.5, the one exception: a responder whose address is gone may use another, and says so (§3.6).
  const path = detour(sa);
  if (!path) return;
  sa.espPath = undefined;
  setPath(sa, now, path, why);
  moveSas(sa, now);
  sa.resend(now);
  sa.initiate(now, announceAddresses());
}

/** Responder: from another address of ours to where the peer is, or to where it says that it is, too. */
function detour(sa: IkeSa): Path | undefined {
  const locals = sa.peer!.local.filter((a) => sa.host.isLocal(a));
  for (const address of [sa.remote.address, ...sa.mobike!.peerAddresses]) {
    const local = locals.find((a) => a.family === address.family);
    const port = address.equals(sa.remote.address) ? sa.remote.port : sa.local.port;
    if (local) return { local: { address: local, port: sa.local.port }, remote: { address, port } };
  }
  return undefined;
}

/** Initiator: an answer came on a path that was only tried (§3.10): it works, and the current one did not. */
export function onAnswerFrom(sa: IkeSa, now: Instant, path: Path): void {
  if (!sa.mobike?.initiator || !sa.established || samePath(path, sa)) return;
  // Nothing protects the addresses of an answer: only a path that was tried counts.
  const tried = otherPaths(sa).find((p) => samePath(p, path));
  if (tried) takePath(sa, now, tried, "the path before does not answer");
}

/** What a liveness check of `sa` carries: with MOBIKE it finds changes of NATs as well (§3.8). */
export function livenessPayloads(sa: IkeSa): NotifyPayload[] {
  return sa.mobike?.initiator && sa.nat.supported ? natNotifies(sa) : [];
}

/** Initiator: the peer sees us elsewhere than before, or a NAT came or went: it is told where we are (§3.8). */
export function checkMapping(sa: IkeSa, now: Instant, { payloads, local, remote }: Received): void {
  const { mobike } = sa;
  if (!mobike?.initiator || !sa.established || !samePath({ local, remote }, sa)) return;
  const nat = natIn(sa, payloads, { local, remote });
  if (!nat) return;
  const seenAs = findNotify(payloads, NotifyType.code.NAT_DETECTION_DESTINATION_IP)!.data;
  const same = nat.local === sa.nat.local && nat.remote === sa.nat.remote;
  const unmoved = !nat.local || (mobike.seenAs && compareBytes(mobike.seenAs, seenAs) === 0);
  if (same && unmoved) return;
  mobike.pending = true;
  if (!sa.hasExchange(updateName)) sa.initiate(now, new UpdateAddresses());
}

class UpdateAddresses implements InitiatedExchange {
  readonly name = updateName;
  readonly type = type;
  readonly priority = priorities.update;
  readonly response = anything;
  #path: Path | undefined;
  #cookie2: Uint8Array = new Uint8Array(0);
  #spread = false;

  buildRequest(sa: IkeSa): PlainPayload[] | undefined {
    if (!sa.established || !sa.mobike) return undefined;
    sa.mobike.pending = false;
    this.#spread = false;
    this.#path = currentPath(sa);
    this.#cookie2 = sa.host.random.bytes(cookie2Bytes);
    return [
      notify(NotifyType.code.UPDATE_SA_ADDRESSES),
      ...natNotifies(sa),
      ...noNatsAllowed(sa),
      ...completeAddresses(sa),
      notify(NotifyType.code.COOKIE2, this.#cookie2),
    ];
  }

  onResponse(sa: IkeSa, now: Instant, message: Received): "done" {
    const { payloads, local, remote } = message;
    const mobike = sa.mobike!;
    const unacceptable = findNotify(payloads, NotifyType.code.UNACCEPTABLE_ADDRESSES);
    if (!unacceptable && !returnsCookie2(sa, now, payloads, this.#cookie2)) return "done";
    if (!sa.established) return "done";
    if (mobike.pending || !samePath(this.#path!, sa)) {
      // §3.5: we have moved since; what the peer says is about a path that we left.
      if (!sa.hasExchange(updateName)) sa.initiate(now, new UpdateAddresses());
      return "done";
    }
    // It was sent on several paths, and this is not the one that we are on: `onAnswerFrom` goes there.
    if (!samePath({ local, remote }, sa)) return "done";
    if (unacceptable) return onUnacceptable(sa, now);
    if (findNotify(payloads, NotifyType.code.UNEXPECTED_NAT_DETECTED)) return onUnexpectedNat(sa, now);
    mobike.refusals = 0;
    const nat = natIn(sa, payloads, { local, remote });
    if (nat) {
      mobike.seenAs = Uint8Array.from(
        findNotify(payloads, NotifyType.code.NAT_DETECTION_DESTINATION_IP)!.data,
      );
      setNat(sa, now, nat);
    }
    // §3.7: COOKIE2 was seen at other addresses as well: this answer does not say that the peer is at this one.
    if (!this.#spread) sa.espPath = undefined;
    moveSas(sa, now);
    if (sa.espPath && !sa.hasExchange(routabilityName)) sa.initiate(now, returnRoutability());
    return "done";
  }

  onSpread(): void {
    this.#spread = true;
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    sa.endDead(now);
  }
}

export function updateAddresses(): InitiatedExchange {
  return new UpdateAddresses();
}

/** §3.5: the peer does not want this pair: the next one, or a new beginning. */
function onUnacceptable(sa: IkeSa, now: Instant): "done" {
  const { unacceptable } = sa.mobike!;
  unacceptable.add(pathText(sa));
  const [path] = unacceptable.size < maxUnacceptable ? otherPaths(sa) : [];
  if (path) takePath(sa, now, path, "UNACCEPTABLE_ADDRESSES");
  else giveUp(sa, now, NotifyType.code.UNACCEPTABLE_ADDRESSES);
  return "done";
}

/** §3.9: once may be a forged header; again and again is a NAT. */
function onUnexpectedNat(sa: IkeSa, now: Instant): "done" {
  const mobike = sa.mobike!;
  mobike.refusals++;
  if (mobike.refusals > maxRefusals) giveUp(sa, now, NotifyType.code.UNEXPECTED_NAT_DETECTED);
  else sa.initiate(now, new UpdateAddresses());
  return "done";
}

function giveUp(sa: IkeSa, now: Instant, notifyType: number): void {
  const theirs = [NotifyType.nameOf(notifyType)];
  const difference = `the peer refuses our address ${sa.local.address}: ${theirs}`;
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "OTHER_NOTIFY", { theirs, difference }) });
  sa.requestDelete(now, "failed");
}

// ── Both ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** `HDR, SK {N(ADDITIONAL_*)+ or N(NO_ADDITIONAL_ADDRESSES)}`: our addresses, all of them (§3.6). */
function announceAddresses(): InitiatedExchange {
  return {
    name: announceName,
    type,
    priority: priorities.update,
    response: anything,
    buildRequest: (sa) =>
      sa.established && sa.mobike ? [...completeAddresses(sa), ...noNatsAllowed(sa)] : undefined,
    onResponse: () => "done",
    onTimeout: (sa, now) => sa.endDead(now),
  };
}

/** `HDR, SK {N(COOKIE2)}`: does the peer receive where it says that it is? ESP follows when it does (§3.7). */
export function returnRoutability(): InitiatedExchange {
  let cookie2: Uint8Array = new Uint8Array(0);
  let moves = 0;
  return {
    name: routabilityName,
    type,
    priority: priorities.update,
    response: anything,
    onePath: true,
    buildRequest(sa) {
      if (!sa.established) return undefined;
      moves = sa.moves;
      cookie2 = sa.host.random.bytes(cookie2Bytes);
      return [notify(NotifyType.code.COOKIE2, cookie2)];
    },
    onResponse(sa, now, { payloads }) {
      if (!returnsCookie2(sa, now, payloads, cookie2) || !sa.established) return "done";
      if (moves !== sa.moves) {
        // The request went to more than one address, if only for a moment: the answer does not say which works.
        if (sa.espPath && !sa.hasExchange(routabilityName)) sa.initiate(now, returnRoutability());
        return "done";
      }
      sa.espPath = undefined;
      moveSas(sa, now);
      return "done";
    },
    onTimeout: (sa, now) => sa.endDead(now),
  };
}

/** §3.7: false when the answer is not to this very request; then the IKE SA is closed. */
function returnsCookie2(sa: IkeSa, now: Instant, payloads: readonly Payload[], sent: Uint8Array): boolean {
  const got = findNotify(payloads, NotifyType.code.COOKIE2)?.data;
  if (got && compareBytes(got, sent) === 0) return true;
  const difference = got ? "COOKIE2 is not the one that we sent" : "COOKIE2 is missing in the answer";
  sa.fail(now, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
  return false;
}

// ── Who follows ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The answer to what an INFORMATIONAL request has of MOBIKE, and what to do once it has left. */
export function answerMobike(
  sa: IkeSa,
  now: Instant,
  message: Received,
): { readonly payloads: readonly NotifyPayload[]; readonly afterwards?: () => void } {
  const { payloads } = message;
  const { mobike } = sa;
  if (!mobike || !sa.established) return { payloads: [] };
  const cookie2 = findNotify(payloads, NotifyType.code.COOKIE2);
  const copied = cookie2 ? [notify(NotifyType.code.COOKIE2, Uint8Array.from(cookie2.data))] : [];
  const updates = !mobike.initiator && findNotify(payloads, NotifyType.code.UPDATE_SA_ADDRESSES);
  const lists = listsAddresses(payloads);
  if ((updates || lists) && meetsForbiddenNat(payloads, message))
    return { payloads: [notify(NotifyType.code.UNEXPECTED_NAT_DETECTED), ...copied] };
  if (updates && !isAcceptable(sa, message))
    return { payloads: [notify(NotifyType.code.UNACCEPTABLE_ADDRESSES), ...copied] };
  if (lists) mobike.peerAddresses = addressesIn(payloads);
  // The hashes of the answer are about the path of the request (§3.8).
  const hashes = findNotify(payloads, NotifyType.code.NAT_DETECTION_SOURCE_IP)
    ? natNotifies(sa, message)
    : [];
  const answer = [...hashes, ...copied];
  if (updates) return { payloads: answer, afterwards: () => follow(sa, now, message) };
  if (lists && mobike.initiator)
    return { payloads: answer, afterwards: () => onPeerAddresses(sa, now, message) };
  return { payloads: answer };
}

/** Responder: the initiator is where the IP header says (§3.5). */
function follow(sa: IkeSa, now: Instant, { payloads, local, remote }: Received): void {
  if (!sa.established) return;
  const before = currentPath(sa);
  const proven = isTrusted(sa, remote.address);
  const nat = natIn(sa, payloads, { local, remote });
  sa.espPath = proven ? undefined : (sa.espPath ?? before);
  setPath(sa, now, { local, remote }, "UPDATE_SA_ADDRESSES");
  if (nat) setNat(sa, now, nat);
  moveSas(sa, now);
  if (!samePath(before, sa)) sa.resend(now);
  if (!proven && !sa.hasExchange(routabilityName)) sa.initiate(now, returnRoutability());
}

/** Initiator: the responder left the address that we use; it is where its message came from. */
function onPeerAddresses(sa: IkeSa, now: Instant, { local, remote }: Received): void {
  const mobike = sa.mobike!;
  const still = [remote.address, ...mobike.peerAddresses].some((a) => a.equals(sa.remote.address));
  if (!sa.established || still || !isAcceptable(sa, { local, remote })) return;
  takePath(sa, now, { local, remote }, "the peer has another address");
}

/** An address of ours that this peer may use, and one that a packet can be sent to. */
function isAcceptable(sa: IkeSa, { local, remote }: Path): boolean {
  const own = sa.peer!.local;
  return (
    own.some((a) => a.equals(local.address)) &&
    !own.some((a) => a.equals(remote.address)) &&
    isUnicast(remote.address) &&
    remote.port !== 0
  );
}

// ── NAT detection anew ───────────────────────────────────────────────────────────────────────────────────────────

function natNotifies(sa: IkeSa, path: Path = sa): NotifyPayload[] {
  if (!sa.nat.supported) return [];
  const { spiInitiator, spiResponder } = sa;
  const { local, remote } = path;
  return natDetectionNotifies(
    sa.host.random,
    { spiInitiator, spiResponder, local, remote },
    sa.peer!.natTraversal,
  );
}

/** What the hashes of a message say; undefined when it has none. */
function natIn(sa: IkeSa, payloads: readonly Payload[], { local, remote }: Path) {
  const { spiInitiator, spiResponder } = sa;
  const nat = detectNat(payloads, { spiInitiator, spiResponder, local, remote }, sa.peer!.natTraversal);
  return nat.supported && sa.nat.supported ? nat : undefined;
}

const currentPath = ({ local, remote }: Path): Path => ({ local, remote });
