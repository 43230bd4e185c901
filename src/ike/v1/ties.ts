/**
 * IPsec SAs belong to the peer (RFC 2409 §4). With some, strongSwan among them, they belong to the ISAKMP SA on which they
 * were made, and go with it without a word; the one that takes its place takes over those that it finds when it is set
 * up. What comes to be on the old one at that moment or later is lost with it: it is made again on the new one.
 */
import { randomBelow } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { IpsecSa } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** `heir` takes `child` over: did the peer have it before it could begin to think of `heir`? */
export function tieIfYoung(heir: IsakmpSa, now: Instant, child: IpsecSa): void {
  const made = child.role === "initiator" ? child.installedAt : (child.provenAt ?? now);
  if (made > heir.createdAt - marginMs) tie(heir, now, child);
}

/** Both sides made a new one at once. Which of the two the peer takes to have the pairs, nobody knows. */
export function tieAll(owner: IsakmpSa, now: Instant): void {
  for (const child of owner.children.values()) if (child.state.name === "INSTALLED") tie(owner, now, child);
}

/** `child` came to be on an ISAKMP SA in whose place `owner` is. */
export function tie(owner: IsakmpSa, now: Instant, child: IpsecSa): void {
  child.tied = true;
  // Who made the new one knows that the old one stays until then. Its peer may have lost it by now.
  const pause = owner.role === "initiator" ? pauseMs + randomBelow(owner.host.random, pauseMs) : 0;
  if (!child.rekeying) child.rekeyAt = earlier(child.rekeyAt, now + pause);
  owner.host.touch(owner);
}

/** True while packets may go on a pair that may go with another ISAKMP SA than `owner`. */
export function hasTied(owner: IsakmpSa): boolean {
  for (const { tied, state } of owner.children.values())
    if (tied && (state.name === "INSTALLED" || state.name === "REKEYED")) return true;
  return false;
}

/** Message 3 may travel as long, and longer than a message of phase 1. */
const marginMs = 1_000;
const pauseMs = 300;
