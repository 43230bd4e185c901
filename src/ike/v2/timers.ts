/**
 * The clocks of an IKE SA: the end of a state, lifetimes, liveness (RFC 7296 §2.4), NAT keepalives (RFC 3948 §2.3), and
 * those of its CHILD_SAs. Retransmission has its own, in `transport.ts`.
 */

import { earlier, type Instant } from "../../core/time.ts";
import { failureOf } from "../common/failures.ts";
import { childDeadline, onChildTimeout } from "./child-sa.ts";
import type { IkeSa } from "./ike-sa.ts";
import { livenessAt, onLivenessDue } from "./liveness.ts";
import { pathMtuAt, sizedLiveness } from "./path-mtu.ts";
import { onSuperseded } from "./reauthentication.ts";
import type { StateName } from "./states.ts";

/** When `onTimers` is next needed. */
export function timersDeadline(sa: IkeSa): Instant | undefined {
  const { state } = sa;
  let at: Instant | undefined = "until" in state ? state.until : undefined;
  if (state.name !== "ESTABLISHED") return at;
  for (const child of sa.children.values()) at = earlier(at, childDeadline(child));
  at = earlier(at, earlier(livenessAt(sa), pathMtuAt(sa)));
  at = earlier(at, sa.followUps.deadline);
  at = earlier(at, sa.rekeyAt);
  at = earlier(at, sa.reauthAt);
  at = earlier(at, sa.expiresAt);
  at = earlier(at, sa.childlessAt);
  at = earlier(at, sa.supersededAt);
  at = earlier(at, sa.keepaliveAt);
  return earlier(at, sa.pairs?.at);
}

/** Does whatever is due at `now`. */
export function onTimers(sa: IkeSa, now: Instant): void {
  const { state } = sa;
  if ("until" in state && state.until <= now) {
    expireState(sa, now, state.name);
    return;
  }
  if (state.name !== "ESTABLISHED") return;
  if (due(sa.expiresAt, now)) {
    const difference = `the IKE SA reached ${sa.peer!.ikeLifetimeMs / 1000} s and was not rekeyed before`;
    if (!sa.replaced)
      sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "LIFETIME_EXPIRED", { difference }) });
    sa.requestDelete(now, "expired");
    return;
  }
  if (due(sa.childlessAt, now)) {
    sa.requestDelete(now, sa.replaced ? "rekeyed" : "childless");
    return;
  }
  if (due(sa.supersededAt, now)) {
    sa.supersededAt = undefined;
    onSuperseded(sa, now);
    if (!sa.established) return;
  }
  sa.followUps.handleTimeout(now);
  for (const child of [...sa.children.values()]) onChildTimeout(sa, child, now);
  if (due(sa.reauthAt, now)) {
    sa.reauthAt = undefined;
    sa.host.onReauthenticationDue(sa, now);
  }
  sa.pairs?.handleTimeout(sa, now);
  if (due(sa.rekeyAt, now)) {
    sa.rekeyAt = undefined;
    sa.host.onRekeyDue(sa, now);
  }
  if (due(sa.keepaliveAt, now)) {
    sa.keepaliveAt = now + sa.peer!.natTraversal!.keepaliveMs;
    sa.host.emit({ kind: "sendKeepalive", local: sa.local, remote: sa.remote });
  }
  if (due(pathMtuAt(sa), now)) sa.initiate(now, sizedLiveness(sa));
  if (due(livenessAt(sa), now)) onLivenessDue(sa, now);
}

function expireState(sa: IkeSa, now: Instant, name: StateName): void {
  if (name === "REKEYED" || name === "CONTENDING") sa.requestDelete(now, "rekeyed");
  else if (sa.halfOpen) sa.end(now, "unreachable");
  else sa.host.forget(sa);
}

function due(at: Instant | undefined, now: Instant): boolean {
  return at !== undefined && at <= now;
}
