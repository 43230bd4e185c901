/**
 * Reauthentication, make-before-break (RFC 7296 §2.8.3, RFC 4478): a new IKE SA is set up in full beside the old one,
 * traffic moves over, and the old one goes last.
 *
 * No packet is lost, because nobody sends what the other cannot open. The initiator has the new pair when IKE_AUTH is
 * answered, and its peer had it before: it switches at once. The responder cannot know whether its answer arrived, and
 * sends on the old pair until a packet, a request on the new IKE SA or the Delete of the old one says so. The old
 * CHILD_SAs are deleted first, and their inbound halves stay for what is under way.
 */
import { compareBytes } from "../../core/address.ts";
import { jittered } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { NotifyType } from "../../registry/index.ts";
import { findNotify, type PlainPayload } from "../../wire/index.ts";
import { outboundOrder, requestChildDelete, retire, softFraction } from "./child-sa.ts";
import { lowerNonce } from "./cookie.ts";
import { initiateIkeSa } from "./exchanges/ike-sa-init.ts";
import { IkeSa } from "./ike-sa.ts";

/** A new IKE SA beside `old`, on the path that works: behind a NAT there may be no other (§2.23). */
export function reauthenticate(old: IkeSa, now: Instant): void {
  const { host, local, remote } = old;
  const peer = old.peer!;
  // When it comes to nothing, another attempt follows, as long as the old one lives.
  const { setupMs, rekeyRetryMs } = host.limits;
  old.reauthAt = now + setupMs + Math.round(jittered(host.random, rekeyRetryMs, 0.5));
  if (host.sasOf(peer.id).some((sa) => sa.replaces !== undefined && sa.is("INIT_SENT", "AUTH_SENT"))) return;
  const spiLocal = host.newIkeSpi();
  const origin = { role: "initiator", now, spiLocal, spiRemote: 0n, local, remote, peer } as const;
  const sa = new IkeSa(host, origin, { name: "INIT_SENT" });
  sa.replaces = old;
  host.adopt(sa);
  sa.initiate(now, initiateIkeSa(peer));
}

/** `sa` is authenticated: settles what becomes of others with the same peer, in a way on which both sides agree. */
export function settleOthers(sa: IkeSa, now: Instant, initialContact: boolean): void {
  // The peer got through to us while our own first message was on its way: nobody loses anything if we let it be.
  for (const other of sa.host.sasOf(sa.peer!.id)) if (other.is("INIT_SENT")) other.end(now, "duplicate");
  for (const other of sa.host.othersOf(sa)) {
    const { state } = other;
    const overlapping = state.name === "ESTABLISHED" && state.since >= sa.createdAt;
    if (overlapping && other.role !== sa.role) {
      // Both initiated at once. As in §2.8.1, the one with the lowest nonce goes, and its creator closes it.
      const loser = compareBytes(nonceOf(sa), nonceOf(other)) < 0 ? sa : other;
      sa.unproven = sa.role === "responder";
      if (loser.role !== "initiator") continue;
      if (loser.replaces) replaceByReauthentication(loser, now);
      else loser.requestDelete(now, "duplicate");
    } else if (sa.replaces) {
      replaceByReauthentication(other, now);
    } else if (initialContact && !overlapping) {
      // §2.4: the peer has forgotten all others.
      other.end(now, "superseded");
    } else if (sa.role === "responder") {
      expectReplacement(sa, other, now);
    }
  }
}

/** Initiator: `sa` is up and takes the place of `old`, which is let go when what it carries has arrived. */
function replaceByReauthentication(old: IkeSa, now: Instant): void {
  leave(old, now);
  old.supersededAt = now + old.host.limits.inboundLingerMs;
  old.host.touch(old);
}

/** Responder: the peer authenticated anew as `sa`. It closes `old` itself; this is also for those that do not. */
function expectReplacement(sa: IkeSa, old: IkeSa, now: Instant): void {
  sa.unproven = true;
  leave(old, now);
  // Until then the peer repeats its IKE_AUTH request if our answer was lost.
  old.supersededAt ??= now + old.host.limits.rekeyedMs;
  old.host.touch(old);
}

/** The peer uses `sa`: our answer to its IKE_AUTH has arrived. */
export function proveReauthentication(sa: IkeSa): void {
  if (!sa.unproven) return;
  sa.unproven = false;
  sa.host.emit({ kind: "outboundChanged", sa });
}

/** The time of `old` beside its successor is over, if that carries as much: its CHILD_SAs go first, and then itself. */
export function onSuperseded(old: IkeSa, now: Instant): void {
  const { rekeyedMs, inboundLingerMs } = old.host.limits;
  const carrying = outboundOrder(old);
  const others = old.host.othersOf(old);
  // What the peer may not have is no reason to close what it has.
  const proven = others.filter((sa) => !sa.unproven).flatMap(outboundOrder).length;
  const patient = old.replacedAt !== undefined && now < old.replacedAt + rekeyedMs;
  if (proven < carrying.length && patient) {
    old.supersededAt = now + inboundLingerMs;
    return;
  }
  if (carrying.length > 0 && others.flatMap(outboundOrder).length === 0) {
    stay(old, now);
    return;
  }
  if (carrying.length === 0) old.requestDelete(now, "rekeyed");
  for (const child of carrying) requestChildDelete(old, now, child, "rekeyed");
}

/** The peer closes `old`, whose place another took: what it sent until now is still received, there. */
export function bequeath(old: IkeSa, now: Instant): void {
  const heir = old.replaced ? old.host.othersOf(old).find((sa) => outboundOrder(sa).length > 0) : undefined;
  if (!heir) return;
  for (const child of [...old.children.values()]) {
    retire(old, now, child, "rekeyed");
    old.children.delete(child.spiIn);
    heir.children.set(child.spiIn, child);
  }
  heir.host.touch(heir);
}

/** What was to take the place of `old` is gone, or carries nothing: `old` goes on, and is renewed soon. */
function stay(old: IkeSa, now: Instant): void {
  const soon = now + old.host.limits.rekeyRetryMs;
  old.replacedAt = undefined;
  if (old.peer!.reauthenticate) old.reauthAt = soon;
  else old.rekeyAt = soon;
  for (const child of old.children.values()) if (child.state.name === "INSTALLED") child.rekeyAt = soon;
}

/** The peer says how long it believes in our authentication: from then on it need not (RFC 4478 §3). */
export function honourAuthLifetime(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[]): void {
  const data = findNotify(payloads, NotifyType.code.AUTH_LIFETIME)?.data;
  if (data?.length !== 4) return;
  const seconds = new DataView(data.buffer, data.byteOffset, 4).getUint32(0);
  const lifetimeMs = Math.max(seconds * 1000, shortestMs);
  const at = now + Math.floor(lifetimeMs * softFraction(sa.host.random, true));
  sa.reauthAt = earlier(sa.reauthAt, at);
  sa.host.touch(sa);
}

/** Nothing new is made of `old` any more. */
function leave(old: IkeSa, now: Instant): void {
  old.replacedAt = now;
  if (old.pairs) old.pairs.at = undefined;
  old.rekeyAt = undefined;
  old.reauthAt = undefined;
  for (const child of old.children.values()) child.rekeyAt = undefined;
}

/** However short the peer's lifetime is, we do not set up IKE SAs without end. */
const shortestMs = 10_000;

const nonceOf = (sa: IkeSa): Uint8Array => lowerNonce(sa.secured!.Ni, sa.secured!.Nr);
