/**
 * IPsec SAs belong to the peer (RFC 2409 §4). With some, strongSwan among them, they belong to the ISAKMP SA on which they
 * were made, and go with it without a word; the one that takes its place takes over those that it finds when it is set
 * up. What comes to be on the old one at that moment or later is lost with it: it is made again on the new one.
 */
import { randomBelow } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { IpsecSa } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** `heir` takes `child` over: it is tied unless the peer surely had it before it heard of `heir`. */
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
  const pause = Math.ceil(Math.min(Math.max(leastPauseMs, 2 * owner.handshakeMs), mostPauseMs));
  const after = owner.role === "initiator" ? pause + randomBelow(owner.host.random, pause) : 0;
  if (!child.rekeying) child.rekeyAt = earlier(child.rekeyAt, now + after);
  owner.host.touch(owner);
}

/** True until whatever may go with another ISAKMP SA than `owner` has been made again. */
export function hasTied(owner: IsakmpSa): boolean {
  for (const { tied, state } of owner.children.values())
    if (tied && (state.name === "INSTALLED" || state.name === "REKEYED")) return true;
  return false;
}

/** `old` is gone: nothing is to be saved from it any more. */
export function untie(old: IsakmpSa): void {
  for (const child of old.holder.children.values()) if (child.madeOn === old.spiLocal) child.tied = false;
}

/** The peer may get message 3 so much later than the first message of the next phase 1, which overtook it. */
const marginMs = 1_000;
const leastPauseMs = 300;
const mostPauseMs = 2_000;
