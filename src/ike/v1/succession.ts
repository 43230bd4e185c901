/**
 * Several ISAKMP SAs with one peer. IKEv1 cannot rekey an ISAKMP SA: another one is set up beside it, from either side or
 * from both at once, and takes the IPsec SAs over. They work on meanwhile, because they belong to the peer.
 *
 * Which of two that crossed stays is decided by their nonces, alike on both sides; where the two sides saw it differently
 * nothing is lost either: whichever goes, its IPsec SAs have another one that is left.
 */
import { compareBytes } from "../../core/address.ts";
import { jittered } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import { doubtChildren, hasOutbound, moveChildren } from "./ipsec-sa.ts";
import { IsakmpSa } from "./isakmp-sa.ts";
import { checkPeer } from "./liveness.ts";
import { startKeepalives } from "./nat.ts";
import { Pairs } from "./pairs.ts";
import { hasTied, tieAll } from "./ties.ts";

/** `sa` is authenticated; `others` are, with the same peer, the newest last. */
export function settleSiblings(
  sa: IsakmpSa,
  others: readonly IsakmpSa[],
  now: Instant,
  initialContact: boolean,
): void {
  const crossed = (other: IsakmpSa) => other.usable && knownSince(sa, other, now) >= sa.createdAt;
  // What the peer has forgotten: all others, but for what it made at the same time.
  const forgotten = initialContact ? others.filter((other) => !crossed(other)) : [];
  const left = others.filter((other) => other.usable || other.is("DETACHED"));
  // Behind a NAT the others may still send to where the peer was. It is where its last message came from.
  if (sa.role === "responder") for (const other of left) other.followPeer(now, sa.local, sa.remote);
  const winner = left.findLast(
    (other) => other.established && crossed(other) && other.role !== sa.role && hasLowerNonce(sa, other),
  );
  const bothMade = left.some((other) => other.established && crossed(other) && other.role !== sa.role);
  if (winner) takeOver(sa, winner, now, sa.role === "initiator");
  else
    for (const other of left) {
      const ours = sa.replaces === other || (crossed(other) && other.role === "initiator");
      takeOver(other, sa, now, ours);
    }
  // Whoever has the key can come faster than the old ones go: none of those needs a reason any more.
  for (const other of left.slice(0, Math.max(0, left.length - mostSiblings))) other.end(now, "rekeyed");
  for (const other of forgotten) other.end(now, "rekeyed");
  if (bothMade) tieAll(sa.holder, now);
  if (initialContact) doubtChildren(sa.holder, now, sa.createdAt);
  startPairs(sa, now);
}

/** RFC 2407 §4.6.3.3: the peer says on `sa` that it knows no ISAKMP SA with us from before. */
export function onInitialContact(sa: IsakmpSa, now: Instant): void {
  for (const other of sa.host.othersOf(sa)) if (other.createdAt < sa.createdAt) other.end(now, "rekeyed");
  doubtChildren(sa.holder, now, sa.createdAt);
}

/**
 * Since when whoever made `sa` knows of `other`. Of ours the peer does not before it has the last message, which may take
 * long to arrive: an attempt that it begins meanwhile crosses, and says INITIAL-CONTACT of what it has.
 */
function knownSince(sa: IsakmpSa, other: IsakmpSa, now: Instant): Instant {
  const ours = other.role === "initiator" && sa.role === "responder";
  return ours ? (other.provenAt ?? now) : other.establishedAt;
}

/** The lowest of the four nonces decides: its exchange goes (as RFC 7296 §2.8.1 has it, for RFC 2409 says nothing). */
function hasLowerNonce(sa: IsakmpSa, other: IsakmpSa): boolean {
  return compareBytes(lowestNonce(sa), lowestNonce(other)) < 0;
}

function lowestNonce({ secured }: IsakmpSa): Uint8Array {
  const { Ni, Nr } = secured!;
  return compareBytes(Ni, Nr) < 0 ? Ni : Nr;
}

/** Whoever began asks for the first IPsec SAs; what came over from another one goes on. */
function startPairs(sa: IsakmpSa, now: Instant): void {
  if (sa.holder !== sa) return;
  sa.pairs ??= new Pairs(sa.peer!, sa.role === "initiator");
  if (sa.role === "initiator" && !hasOutbound(sa)) sa.pairs.start(sa, now);
  else sa.pairs.onChange(sa, now);
}

/** `heir` takes the place of `old`, which works on for a while. `ours`: it is on us to delete `old`. */
function takeOver(old: IsakmpSa, heir: IsakmpSa, now: Instant, ours: boolean): void {
  bequeath(old, heir, now);
  if (old.is("DETACHED")) {
    old.end(now, "rekeyed");
    return;
  }
  if (!old.established) return;
  heir.host.emit({ kind: "rekeyed", sa: old, successor: heir });
  const { inboundLingerMs, lingerMs, rekeyedMs } = old.host.limits;
  // Some leave it to the other side, or to the end of the lifetime.
  const until = now + (ours ? inboundLingerMs : lingerMs);
  old.transition({ name: "REPLACED", since: old.establishedAt, until, gone: now + rekeyedMs }, "replaced");
}

/** `heir` has the IPsec SAs of `old` from now on, and with them what is to be done about them. */
export function bequeath(old: IsakmpSa, heir: IsakmpSa, now: Instant): void {
  heir.successor = undefined;
  if (heir.is("REPLACED")) {
    heir.transition({ name: "ESTABLISHED", since: heir.establishedAt }, "what had replaced it is gone");
    heir.rekeyAt = now + retryMs(heir);
    heir.giveUpOursAt = undefined;
    startKeepalives(heir, now);
  }
  heir.trigger ??= old.trigger;
  moveChildren(old, heir, now);
  for (const spi of old.deletedEarly) heir.deletedEarly.add(spi);
  old.successor = heir;
  old.rekeyAt = undefined;
  old.childlessAt = undefined;
  old.keepaliveAt = undefined;
  // A peer that made the other one may have forgotten this one without a word. What it does not answer is begun again.
  const atOnce = heir.role === "responder";
  old.giveUpOursAt = atOnce ? undefined : now + answerMs;
  old.abandonOurs(now, atOnce);
  old.liveness.waiting = undefined;
}

/** What was replaced has waited for what is under way, or for the peer's Delete: now we delete it. */
export function onReplacedDue(sa: IsakmpSa, now: Instant): void {
  const { state } = sa;
  if (state.name !== "REPLACED") return;
  const { holder } = sa;
  // The peer may not have the other one yet: what it has is not taken away before that is known.
  const busy = !holder.proven || sa.negotiations > 0 || hasTied(holder);
  if (busy && now < state.gone) {
    if (!holder.proven) checkPeer(holder, now);
    sa.transition({ ...state, until: now + sa.host.limits.inboundLingerMs }, "the peer may still need it");
    return;
  }
  sa.requestDelete(now, "rekeyed");
}

/** The other one with the peer of `sa` that should have its IPsec SAs, were `sa` gone. */
export function heirOf(sa: IsakmpSa): IsakmpSa | undefined {
  const others = sa.host.othersOf(sa);
  return others.findLast((other) => other.established) ?? others.findLast((other) => other.usable);
}

/** Reasons for which an ISAKMP SA goes and says nothing about its IPsec SAs. */
export const keepsChildren: ReadonlySet<EndReason> = new Set([
  "deleted-by-peer",
  "expired",
  "rekeyed",
  "duplicate",
  "childless",
]);

/**
 * A new ISAKMP SA beside `old`, on the path that works: behind a NAT there may be no other. When it comes to nothing,
 * another attempt follows, as long as the old one lives.
 */
export function replaceIsakmpSa(old: IsakmpSa, now: Instant): void {
  const { host, local, remote, mode } = old;
  const peer = old.peer!;
  old.rekeyAt = now + host.limits.setupMs + retryMs(old);
  host.touch(old);
  const underWay = host
    .sasOf(peer.id)
    // Behind one roaming connection there may be many peers: none waits for another one's.
    .some((sa) => sa.connecting && (!sa.replaces || sa.replaces.remoteId === old.remoteId));
  if (underWay) return;
  // One is enough. It may be a stranger's attempt, so that it is waited for only once.
  if (!old.waitedFor && host.isComing(remote.address)) {
    old.waitedFor = true;
    old.rekeyAt = now + comingMs;
    return;
  }
  const spiLocal = host.newIkeSpi();
  const origin = { role: "initiator", mode, now, spiLocal, spiRemote: 0n, local, remote, peer } as const;
  const sa = new IsakmpSa(host, origin, { name: "INIT_SENT" });
  sa.replaces = old;
  // What that one took the place of is long gone, and must not be kept in memory for it.
  old.replaces = undefined;
  host.adopt(sa);
  host.beginPhase1(sa, now);
}

/** The ISAKMP SA is over and its IPsec SAs are not: they wait for another one, which we make when the tunnel is ours. */
export function detach(sa: IsakmpSa, now: Instant, why: EndReason): void {
  sa.liveness.waiting = undefined;
  sa.childlessAt = undefined;
  // Not without a pause, with a peer that deletes whatever is set up.
  const pause = now - sa.establishedAt < shortMs ? retryMs(sa) : 0;
  sa.rekeyAt = sa.host.keepsUp(sa.peer!.id) ? now + pause : undefined;
  sa.transition({ name: "DETACHED", since: now }, why);
}

/** An attempt to put another one in the place of `old` came to nothing. */
export function onNotReplaced(old: IsakmpSa, now: Instant, why: EndReason): void {
  if (why !== "unreachable" && why !== "failed") return;
  // Nobody can tell whether its IPsec SAs are still of any use: without answers they are not.
  if (old.is("DETACHED")) old.end(now, why === "unreachable" ? "dead-peer" : why);
}

/** The peer deleted `sa`. */
export function onDeletedByPeer(sa: IsakmpSa, now: Instant): void {
  const why = sa.is("REPLACED") ? "rekeyed" : "deleted-by-peer";
  if (sa.established && !hasOutbound(sa) && !heirOf(sa)) {
    const difference = "the peer sent a Delete for the ISAKMP SA";
    const record = failureOf(sa, "PEER_DELETED", { theirs: ["D"], difference });
    sa.host.emit({ kind: "failure", sa, record });
  }
  sa.end(now, why);
}

const retryMs = ({ host }: IsakmpSa): number =>
  Math.round(jittered(host.random, host.limits.rekeyRetryMs, 0.5));

/** What ends before that was hardly worth its keys. */
const shortMs = 10_000;
/** Three round trips, and a message that is lost. */
const comingMs = 1_500;
/** A round trip, and a message that is lost. */
const answerMs = 750;
/** An old one, both sides' replacements of it, and some that crossed. */
const mostSiblings = 8;
