/**
 * The clocks of an ISAKMP SA: the end of a state, lifetimes, liveness (RFC 3706), NAT keepalives (RFC 3948 §2.3), and
 * those of the IPsec SAs that it has. Repetition has its own, in `transport.ts`.
 */

import { earlier, type Instant } from "../../core/time.ts";
import { failureOf } from "../common/failures.ts";
import { softFraction } from "../common/install.ts";
import { sendDelete } from "./exchanges/informational.ts";
import { childDeadline, onChildTimeout } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { livenessAt, onLivenessDue } from "./liveness.ts";
import { onReplacedDue } from "./succession.ts";

/**
 * Starts the clocks of an ISAKMP SA: another one takes its place before the end, and there is an end. The shorter of the
 * two sides' lifetimes counts; the longer is nobody's business.
 */
export function startLifetime(sa: IsakmpSa, now: Instant, lifeSeconds: number | undefined): void {
  const ours = sa.peer!.ikeLifetimeMs;
  // However short the peer's lifetime is, we do not set up ISAKMP SAs without end.
  const lifetimeMs =
    lifeSeconds === undefined ? ours : Math.min(ours, Math.max(lifeSeconds * 1000, shortestMs));
  sa.rekeyAt = now + Math.floor(lifetimeMs * softFraction(sa.host, sa.role));
  sa.expiresAt = now + lifetimeMs;
}

/** When `onTimers` is next needed. */
export function timersDeadline(sa: IsakmpSa): Instant | undefined {
  const { state } = sa;
  let at: Instant | undefined = "until" in state ? state.until : undefined;
  for (const child of sa.children.values()) at = earlier(at, childDeadline(child));
  if (state.name === "DETACHED") return earlier(at, sa.rekeyAt);
  if (!sa.usable) return at;
  at = earlier(earlier(at, livenessAt(sa)), sa.keepaliveAt);
  at = earlier(earlier(at, sa.rekeyAt), sa.expiresAt);
  at = earlier(earlier(at, sa.childlessAt), sa.giveUpOursAt);
  return earlier(at, sa.pairs?.at);
}

/** Does whatever is due at `now`. */
export function onTimers(sa: IsakmpSa, now: Instant): void {
  const { state } = sa;
  if ("until" in state && state.until <= now) {
    onStateDue(sa, now);
    if (!sa.usable) return;
  }
  for (const child of [...sa.children.values()]) onChildTimeout(sa, now, child);
  if (due(sa.rekeyAt, now)) sa.host.replace(sa, now);
  if (due(sa.giveUpOursAt, now)) {
    sa.giveUpOursAt = undefined;
    sa.abandonOurs(now, true);
  }
  if (!sa.usable) return;
  if (due(sa.expiresAt, now)) {
    onExpired(sa, now);
    return;
  }
  if (due(sa.childlessAt, now)) {
    sa.requestDelete(now, "childless");
    return;
  }
  sa.pairs?.handleTimeout(sa, now);
  if (due(sa.keepaliveAt, now)) {
    sa.keepaliveAt = now + sa.peer!.natTraversal!.keepaliveMs;
    sa.host.emit({ kind: "sendKeepalive", local: sa.local, remote: sa.remote });
  }
  if (due(livenessAt(sa), now)) onLivenessDue(sa, now);
}

function onStateDue(sa: IsakmpSa, now: Instant): void {
  const { state } = sa;
  switch (state.name) {
    case "HALF_OPEN":
      sa.expire(now);
      return;
    case "REPLACED":
      onReplacedDue(sa, now);
      return;
    case "DELETING":
      // Nobody answers a Delete: it is said twice, in case one is lost.
      sendDelete(sa, now, state.spis);
      sa.end(now, state.why);
      return;
  }
}

/** Another one would have taken its place by now, if that were possible. Its IPsec SAs have clocks of their own. */
function onExpired(sa: IsakmpSa, now: Instant): void {
  const seconds = Math.round((sa.expiresAt! - sa.establishedAt) / 1000);
  const difference = `the ISAKMP SA reached ${seconds} s and was not replaced before`;
  if (sa.established && !sa.host.hasOther(sa))
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "LIFETIME_EXPIRED", { difference }) });
  sendDelete(sa, now, []);
  sa.end(now, "expired");
}

function due(at: Instant | undefined, now: Instant): boolean {
  return at !== undefined && at <= now;
}

const shortestMs = 10_000;
