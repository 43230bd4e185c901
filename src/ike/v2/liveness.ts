/**
 * Is the peer alive? (RFC 7296 §2.4) It is asked when nothing authentic came from it for an interval, be it IKE or ESP,
 * and at once when something hints that it has lost its state. Only the silence after many repetitions ends the IKE SA:
 * a hint, an ICMP error or an unprotected notification never does.
 */
import type { Instant } from "../../core/time.ts";
import { liveness, livenessName } from "./exchanges/informational.ts";
import type { IkeSa } from "./ike-sa.ts";
import { sizedLiveness } from "./path-mtu.ts";

/** Anybody can send a hint: within this time a second one asks nothing. */
const hintsMs = 5_000;

/** When the peer is to be asked, if it stays silent until then; undefined without liveness checks. */
export function livenessAt(sa: IkeSa): Instant | undefined {
  const interval = sa.peer?.livenessIntervalMs;
  if (interval === undefined || !sa.idle) return undefined;
  // The responder is more patient: when both sides check, one question serves both.
  const at = sa.lastHeardAt + (sa.role === "initiator" ? interval : Math.ceil(interval * 1.25));
  return Math.max(at, sa.askAt ?? at);
}

/** Nothing came over IKE for the interval: asks, unless ESP did. */
export function onLivenessDue(sa: IkeSa, now: Instant): void {
  // RFC 4555 §3.8: behind a NAT the question is also what the peer sees of us, which ESP does not answer.
  const asksForMapping = sa.mobike?.initiator === true && sa.nat.local;
  for (const { spiIn, remote } of asksForMapping ? [] : sa.children.values()) {
    const at = sa.host.lastInbound(spiIn, remote);
    // Never the future: a clock that is not ours must not silence the check for good.
    if (at !== undefined) sa.lastHeardAt = Math.max(sa.lastHeardAt, Math.min(at, now));
  }
  const at = livenessAt(sa);
  if (at === undefined || at > now) return;
  // A turn that was taken before the peer was heard is no turn for this silence.
  if (sa.askAt === undefined || sa.askAt <= sa.lastHeardAt) {
    sa.askAt = sa.host.asks.take(now);
    if (sa.askAt > now) return;
  }
  sa.askAt = undefined;
  sa.initiate(now, sizedLiveness(sa));
}

/** Asks now, unless a request is under way: its repetitions are as good a question. */
export function checkPeer(sa: IkeSa, now: Instant): void {
  if (sa.established && sa.idle && !sa.hasExchange(livenessName)) sa.initiate(now, liveness());
}

/** Something that proves nothing says that the peer has no such IKE SA (§2.21.4). */
export function onHint(sa: IkeSa, now: Instant): void {
  if (sa.hintedAt !== undefined && now - sa.hintedAt < hintsMs) return;
  sa.hintedAt = now;
  checkPeer(sa, now);
}
