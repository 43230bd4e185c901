/**
 * CHILD_SAs: a pair of IPsec SAs, installed, kept, replaced and removed. Rekeying is make-before-break: the new pair
 * exists in both directions before the old one goes, and the old inbound SA receives for a moment longer than its
 * peer sends.
 */

import { compareBytes, type IpAddress } from "../../core/address.ts";
import type { Encapsulation, SaSpec } from "../../core/dataplane.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import type { EspSuite } from "../../registry/index.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import { installPair, type PairTerms, softFraction } from "../common/install.ts";
import { deleteChildSa } from "./exchanges/informational.ts";
import type { IkeSa } from "./ike-sa.ts";
import { outerPath } from "./nat.ts";
import { startPathMtu } from "./path-mtu.ts";

export type ChildState =
  | { readonly name: "INSTALLED" }
  /** The peer made `successor` (its inbound SPI here): we send here until there is evidence that the peer has it. */
  | { readonly name: "REKEYED"; readonly until: Instant; readonly successor: number }
  /** The peer sends on the successor, and so do we: the peer's Delete is yet to come. */
  | { readonly name: "SUPERSEDED"; readonly until: Instant }
  /**
   * The peer made it while our own successor of the same SA was under way (§2.8.1): it stands when ours fails or
   * loses, and otherwise waits for the peer's Delete.
   */
  | { readonly name: "CONTENDER"; readonly until: Instant }
  /**
   * The peer made it, new, beside one that carries the same: it may be the other side of a request of ours that crossed,
   * and not be installed there yet. It waits for its first packet, or a moment.
   */
  | { readonly name: "BESIDE"; readonly until: Instant }
  /** Our Delete is out, or waits for the window. */
  | { readonly name: "DELETING"; readonly why: EndReason }
  /** Only the inbound SA is left, for packets that were on their way. */
  | { readonly name: "LINGERING"; readonly until: Instant };

export interface ChildSa {
  state: ChildState;
  /** Ours: what the peer puts into its packets to us. */
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  /** The path of the pair: what `moveSas` changes. */
  encapsulation: Encapsulation;
  local: IpAddress;
  remote: IpAddress;
  pathMtu?: number | undefined;
  readonly installedAt: Instant;
  /** Directions that the data plane refused or lost: there is nothing to use or remove. */
  readonly refused: Set<SaSpec["direction"]>;
  rekeyAt: Instant | undefined;
  /** Until its first rekey, which is a rehearsal: when it is due to be rekeyed in earnest. */
  rehearsal: { readonly softAt: Instant } | undefined;
  /** What the peer made of it while our own rekey was under way, and the lower nonce of its exchange (§2.8.1). */
  rival: { readonly child: ChildSa; readonly lowestNonce: Uint8Array } | undefined;
  /** What lost against this one in a collision, until the peer deletes it. */
  standIn?: ChildSa | undefined;
  readonly expiresAt: Instant;
}

export interface ChildTerms extends PairTerms {
  /** Our inbound SPI of the CHILD_SA that this one replaces. */
  readonly rekeyOf?: number | undefined;
}

/** Installs both directions, inbound first, so that nothing the peer sends can arrive too early. */
export function install(sa: IkeSa, now: Instant, terms: ChildTerms): ChildSa {
  const peer = sa.peer!;
  const soft = softFraction(sa.host, sa.role);
  if (!sa.pathMtu && !sa.successor) startPathMtu(sa, now);
  const path = outerPath(sa);
  const child: ChildSa = {
    state: { name: "INSTALLED" },
    spiIn: terms.spiIn,
    spiOut: terms.spiOut,
    suite: terms.suite,
    localSelectors: terms.localSelectors,
    remoteSelectors: terms.remoteSelectors,
    local: path.local,
    remote: path.remote,
    encapsulation: path.encapsulation,
    pathMtu: path.pathMtu,
    installedAt: now,
    refused: new Set(),
    rekeyAt: now + Math.floor(peer.childLifetimeMs * soft),
    rehearsal: undefined,
    rival: undefined,
    expiresAt: now + peer.childLifetimeMs,
  };
  installPair(sa, path, terms, { soft, hardBytes: peer.childLifetimeBytes });
  sa.children.set(child.spiIn, child);
  sa.host.children.own(sa, child);
  sa.childlessAt = undefined;
  sa.host.emit({ kind: "childUp", sa, child, rekeyOf: terms.rekeyOf });
  sa.pairs?.onChange(sa, now);
  return child;
}

/** The peer replaced `child` by `successor`: it stays until the peer's Delete. */
export function markRekeyed(sa: IkeSa, now: Instant, child: ChildSa, successor: ChildSa): void {
  child.state = { name: "REKEYED", until: now + sa.host.limits.rekeyedMs, successor: successor.spiIn };
  child.rekeyAt = undefined;
  sa.host.emit({ kind: "outboundChanged", sa });
}

/**
 * The peer has `child` installed: a packet came in on it. If it is the peer's successor of an older one, nothing speaks
 * against sending on it any more.
 */
export function confirmChild(sa: IkeSa, child: ChildSa): void {
  if (child.state.name === "BESIDE") prefer(sa, child);
  for (const old of sa.children.values()) {
    if (old.state.name !== "REKEYED" || old.state.successor !== child.spiIn) continue;
    old.state = { name: "SUPERSEDED", until: old.state.until };
    sa.host.emit({ kind: "outboundChanged", sa });
  }
}

/**
 * False while the peer, which made `child`, may not have our answer yet: it does not know the SA then, and would answer
 * a rekey of it with CHILD_SA_NOT_FOUND, although it is about to install it.
 */
export function isConfirmed(sa: IkeSa, child: ChildSa, now: Instant): boolean {
  // By `rekeyedMs` it has our answer, or has given up.
  if (sa.unconfirmed === child && now - child.installedAt < sa.host.limits.rekeyedMs) return false;
  for (const { state } of sa.children.values())
    if (state.name === "REKEYED" && state.successor === child.spiIn) return false;
  return true;
}

/** What the peer made is no better than what there is. */
export function standBeside(sa: IkeSa, now: Instant, child: ChildSa): void {
  child.state = { name: "BESIDE", until: now + sa.host.limits.inboundLingerMs };
  sa.host.emit({ kind: "outboundChanged", sa });
}

/** Sends on what the peer made beside another one as on any. */
function prefer(sa: IkeSa, child: ChildSa): void {
  child.state = { name: "INSTALLED" };
  sa.host.emit({ kind: "outboundChanged", sa });
}

/** `child` has reached its hard limit. Where the peer has made a successor, that is the better one from now on. */
export function exhaust(sa: IkeSa, child: ChildSa): void {
  if (child.state.name !== "REKEYED") return;
  child.state = { name: "SUPERSEDED", until: child.state.until };
  sa.host.emit({ kind: "outboundChanged", sa });
}

/** `child` is the peer's successor of `old`, whose own successor of ours is under way: both may come to be (§2.8.1). */
export function contend(
  sa: IkeSa,
  now: Instant,
  old: ChildSa,
  rival: { readonly child: ChildSa; readonly lowestNonce: Uint8Array },
): void {
  old.rival = rival;
  rival.child.state = { name: "CONTENDER", until: now + sa.host.limits.rekeyedMs };
}

/** Our own successor of `old` failed or lost: the peer's, if there is one, stands. */
export function concede(sa: IkeSa, old: ChildSa): void {
  stand(sa, old.rival?.child);
}

function stand(sa: IkeSa, child: ChildSa | undefined): void {
  if (child?.state.name !== "CONTENDER" || !owns(sa, child)) return;
  child.state = { name: "INSTALLED" };
  sa.host.emit({ kind: "outboundChanged", sa });
}

/**
 * `made` is our successor of `old`, whose exchange had `lowestNonce`. When the peer made one too, the one with the
 * lowest of the four nonces is closed by the side that created it, and the creator of the other closes `old` (§2.8.1).
 */
export function settleRekey(
  sa: IkeSa,
  now: Instant,
  old: ChildSa,
  made: ChildSa,
  lowestNonce: Uint8Array,
): void {
  const { rival } = old;
  const lost = rival?.child.state.name === "CONTENDER" && compareBytes(lowestNonce, rival.lowestNonce) < 0;
  if (lost) concede(sa, old);
  else made.standIn = rival?.child;
  const redundant = lost ? made : old;
  if (owns(sa, redundant)) requestChildDelete(sa, now, redundant, "rekeyed");
}

/** Tells the peer that `child` ends. It carries packets until the peer has answered. */
export function requestChildDelete(sa: IkeSa, now: Instant, child: ChildSa, why: EndReason): void {
  if (child.state.name === "DELETING" || child.state.name === "LINGERING") return;
  child.state = { name: "DELETING", why };
  child.rekeyAt = undefined;
  sa.host.emit({ kind: "outboundChanged", sa });
  sa.initiate(now, deleteChildSa(child));
}

/** Both sides know that `child` ends. After a rekey its inbound SA still takes what was under way. */
export function retire(sa: IkeSa, now: Instant, child: ChildSa, why: EndReason): void {
  if (child.state.name === "LINGERING" || !owns(sa, child)) return;
  if (why !== "rekeyed") {
    uninstall(sa, now, child, why);
    return;
  }
  child.state = { name: "LINGERING", until: now + sa.host.limits.inboundLingerMs };
  child.rekeyAt = undefined;
  // First the plan without it, then the SA: no packet may meet an outbound SA that is gone.
  sa.host.emit({ kind: "childDown", sa, child, why });
  remove(sa, child, "outbound", child.spiOut);
  expectChild(sa, now);
}

/** Removes both directions now. */
export function uninstall(sa: IkeSa, now: Instant, child: ChildSa, why: EndReason): void {
  if (!owns(sa, child)) return;
  sa.children.delete(child.spiIn);
  sa.host.children.disown(child);
  if (child.state.name !== "LINGERING") {
    sa.host.emit({ kind: "childDown", sa, child, why });
    remove(sa, child, "outbound", child.spiOut);
  }
  remove(sa, child, "inbound", child.spiIn);
  sa.host.releaseSpi(child.spiIn);
  // The peer may not know yet which of two won. Of those it will find only one: that one stands.
  if (why !== "rekeyed") stand(sa, child.standIn);
  expectChild(sa, now);
}

/**
 * The IKE SA of these CHILD_SAs ends. When another one carries on with the same peer, it still receives for a moment,
 * and for `untilToldMs` more, what the peer sends here; otherwise they are gone at once.
 */
export function giveUpChildren(sa: IkeSa, now: Instant, why: EndReason, untilToldMs: number): void {
  // A peer that began anew has forgotten what it had.
  const heir = sa.children.size > 0 && why !== "superseded" ? sa.host.heirOf(sa) : undefined;
  for (const child of [...sa.children.values()]) {
    if (!heir) {
      uninstall(sa, now, child, why);
      continue;
    }
    if (child.state.name !== "LINGERING") {
      child.state = { name: "LINGERING", until: now + untilToldMs + sa.host.limits.inboundLingerMs };
      child.rekeyAt = undefined;
      sa.host.emit({ kind: "childDown", sa, child, why });
      remove(sa, child, "outbound", child.spiOut);
    }
    sa.children.delete(child.spiIn);
    heir.children.set(child.spiIn, child);
    heir.host.children.own(heir, child);
    heir.host.touch(heir);
    sa.bequeathed.push(child);
  }
}

/** The peer knows that `sa` ended, or was told for long enough: all that its heir receives for it is under way by now. */
export function peerWasTold({ bequeathed, host }: IkeSa, now: Instant): void {
  const until = now + host.limits.inboundLingerMs;
  for (const child of bequeathed.splice(0)) {
    const owned = host.children.inbound(child.spiIn);
    if (owned?.child !== child || child.state.name !== "LINGERING" || child.state.until <= until) continue;
    child.state = { name: "LINGERING", until };
    host.touch(owned.sa);
  }
}

function remove(sa: IkeSa, child: ChildSa, direction: SaSpec["direction"], spi: number): void {
  if (!child.refused.has(direction)) sa.host.emit({ kind: "removeSa", direction, spi, remote: child.remote });
}

/** False once the CHILD_SA is gone or has moved: a late answer about it means nothing. */
function owns(sa: IkeSa, child: ChildSa): boolean {
  return sa.children.get(child.spiIn) === child;
}

/**
 * Gives the CHILD_SAs of `old` to `successor` (§2.18), with what the old IKE SA had still to do about them.
 */
export function moveChildren(old: IkeSa, successor: IkeSa, now: Instant): void {
  const moved = [...old.children.values()];
  old.children.clear();
  for (const child of moved) {
    successor.children.set(child.spiIn, child);
    successor.host.children.own(successor, child);
  }
  successor.pairs = old.pairs;
  old.pairs = undefined;
  for (const child of moved) {
    if (child.state.name === "DELETING") successor.initiate(now, deleteChildSa(child));
    if (child.state.name === "INSTALLED") child.rekeyAt ??= now + successor.host.limits.rekeyRetryMs;
  }
  // What was asked for on the old one has no answer any more.
  successor.pairs?.onAnswered();
  successor.pairs?.onChange(successor, now);
}

/** Starts the clock of an IKE SA that has no use: see `EndpointLimits.childlessMs`. */
export function expectChild(sa: IkeSa, now: Instant): void {
  const alive = anyAlive(sa);
  const { childlessMs, inboundLingerMs } = sa.host.limits;
  // One that has been replaced only waits for what is under way.
  sa.childlessAt = alive
    ? undefined
    : (sa.childlessAt ?? now + (sa.replaced ? inboundLingerMs : childlessMs));
  if (!sa.replaced) sa.pairs?.onChange(sa, now);
}

function anyAlive({ children }: IkeSa): boolean {
  for (const { state } of children.values()) if (state.name !== "LINGERING") return true;
  return false;
}

/**
 * The CHILD_SAs that may carry packets, preferred first: what the peer is replacing (it surely still receives there,
 * and may not have the new pair yet), then the newest, then what may lose against a successor of ours, last what the
 * peer or we are deleting.
 */
export function outboundOrder(sa: IkeSa): ChildSa[] {
  const order: ChildSa[] = [];
  for (const child of sa.children.values()) if (isOutbound(child)) order.push(child);
  if (order.length < 2) return order;
  // What the peer may not have yet stands behind what it has.
  const rankOf = (child: ChildSa) =>
    child === sa.unconfirmed ? Math.max(2, rank[child.state.name]) : rank[child.state.name];
  return order.reverse().sort((a, b) => rankOf(a) - rankOf(b));
}

/** True when `sa` has a CHILD_SA that may carry packets. */
export function hasOutbound(sa: IkeSa): boolean {
  for (const child of sa.children.values()) if (isOutbound(child)) return true;
  return false;
}

const isOutbound = ({ state, refused }: ChildSa): boolean =>
  state.name !== "LINGERING" && !refused.has("outbound");

const rank = {
  REKEYED: 0,
  INSTALLED: 1,
  CONTENDER: 3,
  BESIDE: 3,
  SUPERSEDED: 4,
  DELETING: 5,
  LINGERING: 6,
};

export function childByOutboundSpi(sa: IkeSa, spi: number): ChildSa | undefined {
  for (const child of sa.children.values())
    if (child.spiOut === spi && child.state.name !== "LINGERING") return child;
  return undefined;
}

export function childDeadline(child: ChildSa): Instant | undefined {
  const { state } = child;
  if ("until" in state) return state.until;
  return state.name === "INSTALLED" ? earlier(child.rekeyAt, child.expiresAt) : undefined;
}

export function onChildTimeout(sa: IkeSa, child: ChildSa, now: Instant): void {
  const { state } = child;
  if ("until" in state) {
    if (state.until > now) return;
    if (state.name === "LINGERING") uninstall(sa, now, child, "rekeyed");
    else if (state.name === "BESIDE") prefer(sa, child);
    else requestChildDelete(sa, now, child, "rekeyed");
    return;
  }
  if (state.name !== "INSTALLED") return;
  if (child.expiresAt <= now) expireChild(sa, now, child, "time");
  else if (child.rekeyAt !== undefined && child.rekeyAt <= now) sa.host.onChildRekeyDue(sa, child, now);
}

/** The hard lifetime of `child` passed, in time or in what it carried: every attempt to rekey it failed. */
export function expireChild(sa: IkeSa, now: Instant, child: ChildSa, limit: "time" | "volume"): void {
  const seconds = sa.peer!.childLifetimeMs / 1000;
  const what = limit === "time" ? `${seconds} s` : "its limit of bytes or packets";
  const difference = `the CHILD_SA reached ${what} and was not rekeyed before`;
  const record = failureOf(sa, "LIFETIME_EXPIRED", { difference });
  sa.host.emit({ kind: "failure", sa, record });
  requestChildDelete(sa, now, child, "expired");
}
