/**
 * Reauthentication, make-before-break (RFC 7296 §2.8.3, RFC 4478): a new IKE SA is set up in full beside the old one,
 * traffic moves over, and the old one goes last.
 *
 * No packet is lost, because nobody sends what the other cannot open. The initiator has the new pair when IKE_AUTH is
 * answered, and its peer had it before: it switches at once. The responder cannot know whether its answer arrived, and
 * sends on the old pair until the peer has used the new one (`isSure` in `siblings.ts`). What is under way when the old
 * IKE SA is deleted is still received (`giveUpChildren`).
 */
import { jittered } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { NotifyType } from "../../registry/index.ts";
import { findNotify, type PlainPayload } from "../../wire/index.ts";
import { outboundOrder } from "./child-sa.ts";
import { initiateIkeSa } from "./exchanges/ike-sa-init.ts";
import { IkeSa } from "./ike-sa.ts";
import { isSure } from "./siblings.ts";

/** A new IKE SA beside `old`, on the path that works: behind a NAT there may be no other (§2.23). */
export function reauthenticate(old: IkeSa, now: Instant): void {
  const { host, local, remote } = old;
  const peer = old.peer!;
  // When it comes to nothing, another attempt follows, as long as the old one lives.
  const { setupMs, rekeyRetryMs } = host.limits;
  old.reauthAt = now + setupMs + Math.round(jittered(host.random, rekeyRetryMs, 0.5));
  if (
    host.sasOf(peer.id).some(
      ({ replaces, createdAt, established }) =>
        // Behind one roaming connection there may be many peers: none waits for another one's.
        replaces?.remoteId === old.remoteId && createdAt > now - setupMs && !established,
    )
  )
    return;
  const spiLocal = host.newIkeSpi();
  const origin = { role: "initiator", now, spiLocal, spiRemote: 0n, local, remote, peer } as const;
  const sa = new IkeSa(host, origin, { name: "INIT_SENT" });
  sa.replaces = old;
  // What that one took the place of is long gone, and must not be kept in memory for it.
  old.replaces = undefined;
  host.adopt(sa);
  sa.initiate(now, initiateIkeSa(peer));
}

/** Initiator: another one takes the place of `old`, which goes when what the peer sends on it has moved over. */
export function replace(old: IkeSa, now: Instant): void {
  leave(old, now);
  old.supersededAt = now + old.host.limits.inboundLingerMs;
  old.host.touch(old);
}

/** Responder: the peer authenticated anew. It closes `old` itself; this is also for those that do not. */
export function expectReplacement(old: IkeSa, now: Instant): void {
  leave(old, now);
  // Until then the peer repeats its IKE_AUTH request if our answer was lost.
  old.supersededAt ??= now + old.host.limits.rekeyedMs;
  old.host.touch(old);
}

/** The time of `old` beside another one is over, if that surely carries as much. */
export function onSuperseded(old: IkeSa, now: Instant): void {
  const { rekeyedMs, inboundLingerMs } = old.host.limits;
  const others = old.host.othersOf(old);
  if (!old.replaced) {
    if (others.length > 0) old.requestDelete(now, "superseded");
    return;
  }
  const own = outboundOrder(old).length;
  // What the peer may not have is no reason to close what it has.
  const sure = others.filter(isSure).flatMap(outboundOrder).length;
  if (sure < own && now < old.replacedAt! + rekeyedMs) old.supersededAt = now + inboundLingerMs;
  else if (own > 0 && others.flatMap(outboundOrder).length === 0) stay(old, now);
  else old.requestDelete(now, "rekeyed");
}

/** What was to take the place of `old` is gone, or carries nothing: `old` goes on, and is renewed soon. */
function stay(old: IkeSa, now: Instant): void {
  const soon = now + old.host.limits.rekeyRetryMs;
  old.replacedAt = undefined;
  old.outlived = false;
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
  const at = now + Math.floor(jittered(sa.host.random, lifetimeMs * 0.83, 0.03));
  sa.reauthAt = earlier(sa.reauthAt, at);
  sa.host.touch(sa);
}

/** Nothing new is made of `old` any more. */
function leave(old: IkeSa, now: Instant): void {
  old.replacedAt = now;
  old.rekeyAt = undefined;
  old.reauthAt = undefined;
  if (old.pairs) old.pairs.at = undefined;
  for (const child of old.children.values()) child.rekeyAt = undefined;
}

/** However short the peer's lifetime is, we do not set up IKE SAs without end. */
const shortestMs = 10_000;
