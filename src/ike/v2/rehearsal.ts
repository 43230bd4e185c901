/**
 * Rekey rehearsal. IKE_AUTH makes its CHILD_SA without a key exchange (RFC 7296 §1.2), so two sides that disagree about
 * perfect forward secrecy, or narrow differently the second time, find out when the first rekey fails: an hour later,
 * at night. The original initiator therefore rekeys the first CHILD_SA of a tunnel once, a few seconds after it is up.
 * What fails is a warning; the working SA stays, and is rekeyed again at its soft lifetime.
 */

import type { FailureRecord } from "../../core/failure.ts";
import { jittered } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import { failureOf, remedies } from "../common/failures.ts";
import type { ChildSa } from "./child-sa.ts";
import { liveness } from "./exchanges/informational.ts";
import type { IkeSa } from "./ike-sa.ts";

/** `child` came out of an IKE_AUTH of ours. Only the initiator calls this: two rehearsals at once would collide. */
export function scheduleRehearsal(sa: IkeSa, now: Instant, child: ChildSa): void {
  if (!sa.peer!.rehearseRekey || child.rekeyAt === undefined) return;
  const at = now + Math.round(jittered(sa.host.random, sa.host.limits.rehearsalMs, 0.5));
  // A lifetime this short rehearses itself.
  if (at >= child.rekeyAt) return;
  child.rehearsal = { softAt: child.rekeyAt };
  child.rekeyAt = at;
}

/** Reports that rekeying `old` failed, and, when that was only a rehearsal, as one. */
export function reportRekeyFailure(sa: IkeSa, old: ChildSa | undefined, record: FailureRecord): void {
  const rehearsed: FailureRecord = {
    ...record,
    code: "REKEY_REHEARSAL_FAILED",
    remedy:
      record.code === "NO_PROPOSAL_CHOSEN_ESP" ? remedies.REKEY_REHEARSAL_FAILED : remedies[record.code],
  };
  sa.host.emit({ kind: "failure", sa, record: old?.rehearsal ? rehearsed : record });
}

/** The rehearsal of `old` was refused: it goes back to its own schedule. True when it was a rehearsal. */
export function endRehearsal(old: ChildSa | undefined): boolean {
  if (!old?.rehearsal) return false;
  if (old.state.name === "INSTALLED") old.rekeyAt = old.rehearsal.softAt;
  old.rehearsal = undefined;
  return true;
}

/**
 * Nobody answered the rehearsal of `old`. It may be too large for the path, and the tunnel not worse for it: whether
 * the peer is there is asked anew before the IKE SA is given up.
 *
 * DEVIATION: RFC 7296 §2.1 has one request per message ID. A peer that never got the first answers the second; one that
 * did get it, and answers to nothing, would have been given up in either case.
 */
export function onRehearsalUnanswered(sa: IkeSa, now: Instant, old: ChildSa): void {
  const difference = "no answer to CREATE_CHILD_SA: it may be too large for the path";
  const remedy = "look at the peer's log; if it never saw CREATE_CHILD_SA, datagrams of its size are lost";
  const record = failureOf(sa, "PEER_UNREACHABLE", { difference, remedy });
  sa.host.emit({ kind: "failure", sa, record: { ...record, code: "REKEY_REHEARSAL_FAILED" } });
  endRehearsal(old);
  sa.retract();
  sa.initiate(now, liveness());
}
