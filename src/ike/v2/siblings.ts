/**
 * Several IKE SAs with one peer: which of them goes, and when. Both sides decide the same, and nothing that works is
 * given up for what the peer may not have yet: a responder is done when it sends its answer, its peer when it gets it.
 */

import { compareBytes } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import type { Role } from "../common/views.ts";
import { type ChildSa, confirmChild, hasOutbound, outboundOrder } from "./child-sa.ts";
import { lowerNonce } from "./cookie.ts";
import { liveness, livenessName } from "./exchanges/informational.ts";
import type { IkeSa } from "./ike-sa.ts";
import { expectReplacement, replace } from "./reauthentication.ts";

/** How the first of a line of IKE SAs came to be, of which each replaced the one before. */
export interface FirstOfLine {
  readonly role: Role;
  readonly createdAt: Instant;
  /** When it was authenticated. */
  readonly since: Instant;
  readonly lowestNonce: Uint8Array;
}

/** `sa` is authenticated; `others` are, with the same peer, the newest last. */
export function settleSiblings(
  sa: IkeSa,
  others: readonly IkeSa[],
  now: Instant,
  initialContact: boolean,
): void {
  const { role, createdAt } = sa;
  const { Ni, Nr } = sa.secured!;
  const first: FirstOfLine = { role, createdAt, since: now, lowestNonce: lowerNonce(Ni, Nr) };
  sa.first = first;
  for (const other of others) {
    // It may have been rekeyed already, on one side only: the two have to agree about what it was at first.
    const its = other.first!;
    const overlapping = its.since >= createdAt;
    if (overlapping && its.role !== role) {
      // Both initiated at once. As in §2.8.1, the one with the lowest nonce goes, and its creator closes it.
      const isLoser = compareBytes(first.lowestNonce, its.lowestNonce) < 0;
      if ((isLoser ? first : its).role === "initiator")
        giveWay(isLoser ? sa : other, isLoser ? other : sa, now);
    } else if (sa.replaces) {
      replace(other, now);
      // Any use tells the peer that it may send on the new one, and there may be no traffic.
      if (!sa.hasExchange(livenessName)) sa.initiate(now, liveness());
    } else if (initialContact && !overlapping) {
      // §2.4: the peer has forgotten all others.
      other.end(now, "superseded");
    } else if (sa.role === "responder") {
      expectReplacement(other, now);
    }
  }
  // Whoever has the key can come faster than the old ones go: none of those needs a reason any more.
  for (const other of others.slice(0, Math.max(0, others.length - mostSiblings)))
    other.end(now, "superseded");
}

/** The peer has used `sa` after IKE_AUTH, or one of its CHILD_SAs: it has our answer. */
export function prove(sa: IkeSa): void {
  if (sa.proven) return;
  sa.proven = true;
  if (sa.children.size > 0) sa.host.emit({ kind: "outboundChanged", sa });
}

/** The peer sends on `child`: it has it. */
export function onInbound(sa: IkeSa, child: ChildSa, now: Instant): void {
  if (sa.unconfirmed === child) {
    sa.unconfirmed = undefined;
    sa.host.emit({ kind: "outboundChanged", sa });
  }
  confirmChild(sa, child);
  if (!sa.established) return;
  prove(sa);
  sa.host.onUse(sa, now);
}

/** The peer is known to have what `sa` sends with, if it sends with anything. */
export function isSure(sa: IkeSa): boolean {
  if (!sa.proven || sa.outlived) return false;
  return sa.unconfirmed === undefined || outboundOrder(sa)[0] !== sa.unconfirmed;
}

/** Closes those of `others` that make way for `sa`, once it can do what they do; the peer has just used `sa`. */
export function closeLosers(sa: IkeSa, others: readonly IkeSa[], now: Instant): void {
  if (others.length === 0 || !sa.established || !isSure(sa)) return;
  const carries = hasOutbound(sa);
  for (const other of others)
    if (carries && other.replaced && other.createdAt < sa.createdAt) other.outlived = true;
  for (const other of others)
    if (survivorOf(other) === sa && other.established && (carries || !hasOutbound(other)))
      other.requestDelete(now, "duplicate");
}

function giveWay(loser: IkeSa, survivor: IkeSa, now: Instant): void {
  const { host } = loser;
  loser.survivor = survivor;
  // Should the proof never come, because nothing is sent.
  loser.supersededAt ??= now + host.limits.rekeyedMs;
  host.touch(loser);
  if (!survivor.proven) survivor.initiate(now, liveness());
  host.onUse(survivor, now);
}

/** Today's form of what `loser` makes way for: it may have been rekeyed since. */
function survivorOf(loser: IkeSa): IkeSa | undefined {
  while (loser.survivor?.successor) loser.survivor = loser.survivor.successor;
  return loser.survivor;
}

/** An old IKE SA, both sides' reauthentications of it, and some that crossed. */
const mostSiblings = 8;
