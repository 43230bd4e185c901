/**
 * Pairs of IPsec SAs that quick mode made (RFC 2409 §5.5): installed, kept, replaced and removed. IKEv1 has no word for
 * rekeying: a pair for the same traffic is made beside the old one, and what becomes of the two is settled in
 * `settle.ts`. A Delete has no answer, and may be lost: an SA that was deleted receives on for as long as the peer sends.
 *
 * They belong to the peer (RFC 2409 §4): the newest ISAKMP SA has them all.
 */
import type { IpAddress } from "../../core/address.ts";
import type { Encapsulation, SaPath, SaSpec } from "../../core/dataplane.ts";
import { randomBelow } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import type { ChildSaKeys } from "../../crypto/index.ts";
import { type EspSuite, IsakmpDoi, IsakmpProtocol } from "../../registry/index.ts";
import { espSpiBytes } from "../../wire/index.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import { installPair, softFraction } from "../common/install.ts";
import { sameSelectors } from "../common/selectors.ts";
import type { PeerSettings } from "../common/settings.ts";
import { type ChildSaView, encapsulates, type Role } from "../common/views.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { rekeyChildNow } from "./rekey.ts";
import { promoteTwin, settleTwins } from "./settle.ts";
import { tie, tieIfYoung } from "./ties.ts";
import { atMost, type Life } from "./transforms.ts";

export type IpsecSaState =
  /** The peer made it and may not have our answer yet: nothing is sent on it before message 3, or a packet, shows that. */
  | { readonly name: "AWAITED"; readonly until: Instant }
  | { readonly name: "INSTALLED" }
  /**
   * We made `successor` (its inbound SPI here), which the peer may install with message 3 only: we send here until the
   * peer sends there, or for a moment.
   */
  | { readonly name: "REKEYED"; readonly until: Instant; readonly successor: number }
  /** Another one carries the same. What is still sent here is received; at `until` the peer is told that it goes. */
  | { readonly name: "SUPERSEDED"; readonly until: Instant; readonly byUs: boolean }
  /** Only the inbound SA is left, for packets that are on their way. `tell`: the peer will hear of it once more. */
  | { readonly name: "LINGERING"; readonly until: Instant; readonly tell: boolean };

export interface IpsecSa extends ChildSaView {
  state: IpsecSaState;
  /** Ours: what the peer puts into its packets to us. */
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  encapsulation: Encapsulation;
  local: IpAddress;
  remote: IpAddress;
  pathMtu: number | undefined;
  readonly installedAt: Instant;
  /** Directions that the data plane refused or lost: there is nothing to use or remove. */
  readonly refused: Set<SaSpec["direction"]>;
  rekeyAt: Instant | undefined;
  /** A quick mode of ours that is to replace it waits or is under way, on whichever ISAKMP SA. */
  rekeying: boolean;
  /** The peer may have lost it (`doubtChildren`): it goes when the peer refuses to replace it. */
  doubted: boolean;
  readonly expiresAt: Instant;
  /** Our role in the quick mode that made it. */
  readonly role: Role;
  /** When that quick mode began, as seen from here. */
  readonly begunAt: Instant;
  /** When the peer asked for it last, if the peer did: it did not have our answer then. */
  askedAt: Instant;
  /** The lower of the two nonces of that quick mode: what decides between two that crossed. */
  readonly lowestNonce: Uint8Array;
  /** Since when the peer is known to have it: message 3 came, or a packet. */
  provenAt: Instant | undefined;
  /** Our SPI of the ISAKMP SA on which its quick mode was. */
  readonly madeOn: bigint;
  /** The peer, which asked for it, deleted it before message 3: it wants no answer any more. */
  unwanted: boolean;
  /** It may end there with that one: see `ties.ts`. */
  tied: boolean;
}

export interface IpsecTerms {
  readonly madeOn: bigint;
  readonly role: Role;
  readonly begunAt: Instant;
  readonly lowestNonce: Uint8Array;
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly keys: { readonly inbound: ChildSaKeys; readonly outbound: ChildSaKeys };
  readonly local: TrafficSelector;
  readonly remote: TrafficSelector;
  readonly encapsulated: boolean;
  /** What both sides said about lifetimes. */
  readonly life: Life;
}

/** Installs both directions, inbound first, so that nothing the peer sends can arrive too early. */
export function install(sa: IsakmpSa, now: Instant, terms: IpsecTerms): IpsecSa {
  const peer = sa.peer!;
  const soft = softFraction(sa.host, terms.role);
  const path = outerPath(sa, terms.encapsulated);
  const localSelectors = [terms.local];
  const remoteSelectors = [terms.remote];
  const lifetimeMs = lifeMs(peer, terms.life);
  const child: IpsecSa = {
    state:
      terms.role === "responder"
        ? { name: "AWAITED", until: now + sa.host.limits.rekeyedMs }
        : { name: "INSTALLED" },
    spiIn: terms.spiIn,
    spiOut: terms.spiOut,
    suite: terms.suite,
    localSelectors,
    remoteSelectors,
    local: path.local,
    remote: path.remote,
    encapsulation: path.encapsulation,
    pathMtu: path.pathMtu,
    installedAt: now,
    refused: new Set(),
    rekeyAt: now + Math.floor(lifetimeMs * soft),
    rekeying: false,
    doubted: false,
    expiresAt: now + lifetimeMs,
    role: terms.role,
    begunAt: terms.begunAt,
    askedAt: terms.begunAt,
    lowestNonce: terms.lowestNonce,
    provenAt: undefined,
    madeOn: terms.madeOn,
    unwanted: false,
    tied: false,
  };
  const hardBytes = byteLimit(peer, terms.life);
  installPair(sa, path, { ...terms, localSelectors, remoteSelectors }, { soft, hardBytes });
  sa.children.set(child.spiIn, child);
  sa.host.children.own(sa, child);
  sa.childlessAt = undefined;
  if (child.state.name === "INSTALLED") announce(sa, now, child);
  sa.host.touch(sa);
  return child;
}

/** `child` may carry packets from now on. */
function announce(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.madeOn !== sa.spiLocal) tie(sa, now, child);
  const replaced = settleTwins(sa, now, child);
  sa.host.emit({ kind: "childUp", sa, child, rekeyOf: replaced?.spiIn });
  sa.pairs?.onChange(sa, now);
}

/** The peer has `child`: message 3 came, or the first packet on it. */
export function confirm(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.provenAt !== undefined || !owns(sa, child)) return;
  child.provenAt = now;
  if (child.state.name === "AWAITED") {
    child.state = { name: "INSTALLED" };
    announce(sa, now, child);
  }
  sa.host.touch(sa);
}

/** The peer sends on `child`: it has it, and no longer needs what `child` replaces. */
export function onInbound(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  confirm(sa, now, child);
  for (const old of sa.children.values()) {
    if (old.state.name === "REKEYED" && old.state.successor === child.spiIn) supersede(sa, now, old, true);
    if (old.state.name === "SUPERSEDED" && old.state.byUs && isTwin(old, child)) hurry(sa, now, old);
  }
  sa.host.touch(sa);
}

/** Another one carries what `child` does. `byUs`: it is ours to tell the peer, and that soon. */
export function supersede(sa: IsakmpSa, now: Instant, child: IpsecSa, byUs: boolean): void {
  const until = now + (byUs ? drainMs : sa.host.limits.rekeyedMs);
  child.state = { name: "SUPERSEDED", until, byUs };
  child.rekeyAt = undefined;
  sa.host.emit({ kind: "outboundChanged", sa });
}

/**
 * The peer has something better than `child`, and will not miss it. Should each side have another one of two in mind, then
 * they are not deleted both at once.
 */
export function hurry(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.state.name !== "SUPERSEDED") return;
  const { inboundLingerMs } = sa.host.limits;
  const until = now + inboundLingerMs * (sa.role === "initiator" ? 0.25 : 0.75);
  if (until < child.state.until) child.state = { ...child.state, until };
}

/** `child` has reached its hard limit of bytes or packets: what takes its place is the better one from now on. */
export function exhaust(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.state.name === "REKEYED") supersede(sa, now, child, true);
  else if (child.state.name === "INSTALLED") expireChild(sa, now, child, "volume");
}

/**
 * The peer no longer has `child`, or is told now that we do not (`tell`). Where another one took its place the inbound
 * SA still takes what is under way.
 */
export function retire(sa: IsakmpSa, now: Instant, child: IpsecSa, tell: boolean): void {
  if (child.state.name === "LINGERING" || !owns(sa, child)) return;
  linger(sa, now, child, true);
  child.rekeyAt = undefined;
  if (tell) informDelete(sa, now, [child.spiIn]);
  // First the plan without it, then the SA: no packet may meet an outbound SA that is gone.
  sa.host.emit({ kind: "childDown", sa, child, why: "rekeyed" });
  remove(sa, child, "outbound", child.spiOut);
  expectChild(sa, now);
}

/** Removes both directions now; `tell`: with a word to the peer. */
export function uninstall(sa: IsakmpSa, now: Instant, child: IpsecSa, why: EndReason, tell = false): void {
  if (!owns(sa, child)) return;
  if (tell) informDelete(sa, now, [child.spiIn]);
  const carried = child.state.name !== "LINGERING" && child.state.name !== "AWAITED";
  drop(sa, child, why);
  if (carried) promoteTwin(sa, now, child);
  expectChild(sa, now);
}

/** Those that the peer may have lost end: the ISAKMP SA is over on which that could be found out. */
export function giveUpDoubted(sa: IsakmpSa, why: EndReason): void {
  for (const child of [...sa.children.values()]) if (child.doubted) drop(sa, child, why);
}

/** All of them end, and none takes the place of another. */
export function giveUpChildren(sa: IsakmpSa, now: Instant, why: EndReason): void {
  for (const child of [...sa.children.values()]) drop(sa, child, why);
  expectChild(sa, now);
}

function drop(sa: IsakmpSa, child: IpsecSa, why: EndReason): void {
  const { name } = child.state;
  sa.children.delete(child.spiIn);
  sa.host.children.disown(child);
  if (name !== "LINGERING") {
    // Whoever never heard of it need not hear of its end.
    if (name !== "AWAITED") sa.host.emit({ kind: "childDown", sa, child, why });
    remove(sa, child, "outbound", child.spiOut);
  }
  remove(sa, child, "inbound", child.spiIn);
  sa.host.releaseSpi(child.spiIn);
}

function remove(sa: IsakmpSa, child: IpsecSa, direction: SaSpec["direction"], spi: number): void {
  if (!child.refused.has(direction)) sa.host.emit({ kind: "removeSa", direction, spi, remote: child.remote });
}

/** False once it is gone, or another ISAKMP SA has it. */
export function owns(sa: IsakmpSa, child: IpsecSa): boolean {
  return sa.children.get(child.spiIn) === child;
}

/** RFC 2408 §5.15: the SPIs on which we no longer receive. Nothing where no ISAKMP SA is left to say it on. */
export function informDelete(sa: IsakmpSa, now: Instant, spis: readonly number[]): void {
  if (spis.length === 0 || !sa.usable) return;
  const { IPSEC } = IsakmpDoi.code;
  const { PROTO_IPSEC_ESP } = IsakmpProtocol.code;
  sa.inform(now, [{ kind: "D", doi: IPSEC, protocol: PROTO_IPSEC_ESP, spis: spis.map(espSpiBytes) }]);
}

/** Gives the IPsec SAs of `old` to `successor`, with what is under way about them. */
export function moveChildren(old: IsakmpSa, successor: IsakmpSa, now: Instant): void {
  const moved = [...old.children.values()];
  old.children.clear();
  for (const child of moved) {
    successor.children.set(child.spiIn, child);
    successor.host.children.own(successor, child);
    if (old.usable && child.state.name === "INSTALLED" && child.madeOn === old.spiLocal)
      tieIfYoung(successor, now, child);
  }
  if (old.pairs) successor.pairs = old.pairs;
  old.pairs = undefined;
  for (const child of moved)
    if (child.state.name === "INSTALLED" && !child.rekeying)
      child.rekeyAt ??= now + successor.host.limits.rekeyRetryMs;
  moveSas(successor, now);
  expectChild(old, now);
  expectChild(successor, now);
}

/**
 * Whoever says INITIAL-CONTACT has restarted, and lost everything, or has not, and goes on sending. Nothing tells the two
 * apart, so what there is carries packets until another pair is there, which both certainly have: the peer's own, or soon
 * one of ours. `before`: when the ISAKMP SA began on which it was said; what is younger is not meant.
 */
export function doubtChildren(sa: IsakmpSa, now: Instant, before: Instant): void {
  for (const child of sa.children.values()) {
    if (child.state.name !== "INSTALLED" || child.begunAt >= before) continue;
    child.doubted = true;
    const at = now + doubtMs + randomBelow(sa.host.random, doubtMs);
    if (!child.rekeying) child.rekeyAt = earlier(child.rekeyAt, at);
  }
  sa.host.touch(sa);
}

/** Brings every SA of `sa` onto the path of `sa`; how it is encapsulated was negotiated, and stays. */
export function moveSas(sa: IsakmpSa, now: Instant): void {
  let moved = false;
  for (const child of [...sa.children.values()]) {
    const path = outerPath(sa, child.encapsulation.kind === "udp");
    if (isOn(child, path)) continue;
    if (sa.host.children.isTaken(child.spiOut, path.remote, child)) {
      // The peer's SPI has another owner there, and two SAs cannot share it.
      uninstall(sa, now, child, "failed", true);
      continue;
    }
    const update = (direction: SaSpec["direction"], spi: number) => {
      if (!child.refused.has(direction))
        sa.host.emit({ kind: "updateSa", direction, spi, remote: child.remote, path });
    };
    update("inbound", child.spiIn);
    if (child.state.name !== "LINGERING") update("outbound", child.spiOut);
    child.local = path.local;
    child.remote = path.remote;
    child.encapsulation = path.encapsulation;
    child.pathMtu = path.pathMtu;
    moved = true;
  }
  if (moved) sa.host.emit({ kind: "outboundChanged", sa });
}

/** How the ESP packets of `sa` travel, encapsulated or not. */
export function outerPath(sa: IsakmpSa, encapsulated = encapsulates(sa.nat)): SaPath {
  const { local, remote } = sa;
  const { nattPort } = sa.host;
  const remotePort = local.port === nattPort ? remote.port : nattPort;
  return {
    local: local.address,
    remote: remote.address,
    encapsulation: encapsulated ? { kind: "udp", localPort: nattPort, remotePort } : { kind: "esp" },
    pathMtu: sa.peer?.pathMtu === "auto" ? undefined : sa.peer?.pathMtu,
  };
}

function isOn(child: IpsecSa, path: SaPath): boolean {
  if (!child.local.equals(path.local) || !child.remote.equals(path.remote)) return false;
  const { encapsulation: a } = child;
  const { encapsulation: b } = path;
  if (a.kind === "esp" || b.kind === "esp") return a.kind === b.kind;
  return a.localPort === b.localPort && a.remotePort === b.remotePort;
}

/** Starts the clock of an ISAKMP SA that has no use: see `EndpointLimits.childlessMs`. */
export function expectChild(sa: IsakmpSa, now: Instant): void {
  const alive = [...sa.children.values()].some(({ state }) => state.name !== "LINGERING");
  if (alive || !sa.established) sa.childlessAt = undefined;
  else sa.childlessAt ??= now + sa.host.limits.childlessMs;
  sa.pairs?.onChange(sa, now);
  sa.host.touch(sa);
}

// ── What carries packets ───────────────────────────────────────────────────────────────────────────────────────

/**
 * Those that may carry packets, preferred first: what we are replacing, while the peer may not have the new one; then the
 * newest; last what another one has taken the place of.
 */
export function outboundOrder(sa: IsakmpSa): IpsecSa[] {
  const order: IpsecSa[] = [];
  for (const child of sa.children.values()) if (isOutbound(child)) order.push(child);
  if (order.length < 2) return order;
  return order.reverse().sort((a, b) => rank[a.state.name] - rank[b.state.name]);
}

/** True when `sa` has IPsec SAs that may carry packets. */
export function hasOutbound(sa: IsakmpSa): boolean {
  for (const child of sa.children.values()) if (isOutbound(child)) return true;
  return false;
}

const isOutbound = ({ state, refused }: IpsecSa): boolean =>
  rank[state.name] < rank.AWAITED && !refused.has("outbound");

const rank = { REKEYED: 0, INSTALLED: 1, SUPERSEDED: 2, AWAITED: 3, LINGERING: 4 };

/** For the same traffic, to the octet: one of them is enough. */
export function isTwin(a: IpsecSa, b: IpsecSa): boolean {
  return (
    a !== b &&
    sameSelectors(a.localSelectors, b.localSelectors) &&
    sameSelectors(a.remoteSelectors, b.remoteSelectors)
  );
}

export const twinsOf = (sa: IsakmpSa, child: IpsecSa): IpsecSa[] =>
  [...sa.children.values()].filter((other) => isTwin(other, child));

export function childByOutboundSpi(sa: IsakmpSa, spi: number): IpsecSa | undefined {
  for (const child of sa.children.values())
    if (child.spiOut === spi && child.state.name !== "LINGERING") return child;
  return undefined;
}

// ── Clocks ─────────────────────────────────────────────────────────────────────────────────────────────────────

export function childDeadline(child: IpsecSa): Instant {
  const { state } = child;
  const until = "until" in state ? state.until : child.rekeyAt;
  return earlier(until, child.expiresAt)!;
}

export function onChildTimeout(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  const { state } = child;
  if (child.expiresAt <= now) {
    expireChild(sa, now, child, "time");
    return;
  }
  if (!("until" in state)) {
    if (child.rekeyAt !== undefined && child.rekeyAt <= now) rekeyChildNow(sa, now, child);
    return;
  }
  if (state.until > now) return;
  switch (state.name) {
    case "AWAITED":
      // The peer never answered: it may have the SAs nevertheless, and is told that they are none.
      uninstall(sa, now, child, "unreachable", true);
      return;
    case "REKEYED":
      supersede(sa, now, child, true);
      return;
    case "SUPERSEDED":
      onDrained(sa, now, child);
      return;
    case "LINGERING":
      onLingered(sa, now, child, state.tell);
      return;
  }
}

/** Nothing is told to a peer that still sends here, unless it is known to have another one to send on. */
function onDrained(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  const { inboundLingerMs } = sa.host.limits;
  const other = twinsOf(sa, child).some((t) => t.state.name === "INSTALLED" && t.provenAt !== undefined);
  if (!other && isInUse(sa, now, child) && child.state.name === "SUPERSEDED")
    child.state = { ...child.state, until: now + inboundLingerMs };
  else retire(sa, now, child, true);
}

/**
 * A Delete is not answered, and may be lost: it is said again, and once more to whoever still sends here. A peer that takes
 * this one for the better one would send into the void else.
 */
function onLingered(sa: IsakmpSa, now: Instant, child: IpsecSa, tell: boolean): void {
  if (!tell && !isInUse(sa, now, child)) {
    uninstall(sa, now, child, "rekeyed");
    return;
  }
  informDelete(sa, now, [child.spiIn]);
  linger(sa, now, child, false);
}

function linger({ host }: IsakmpSa, now: Instant, child: IpsecSa, tell: boolean): void {
  child.state = { name: "LINGERING", until: now + host.limits.inboundLingerMs / 2, tell };
}

/** The peer has sent on it a moment ago. */
export function isInUse({ host }: IsakmpSa, now: Instant, child: IpsecSa): boolean {
  const last = host.lastInbound(child.spiIn, child.remote);
  return last !== undefined && now - last < host.limits.inboundLingerMs;
}

/** The hard lifetime of `child` passed, in time or in what it carried. */
export function expireChild(sa: IsakmpSa, now: Instant, child: IpsecSa, limit: "time" | "volume"): void {
  if (child.state.name === "INSTALLED") {
    const seconds = (child.expiresAt - child.installedAt) / 1000;
    const what = limit === "time" ? `${seconds} s` : "its limit of bytes or packets";
    const difference = `the IPsec SA reached ${what} and was not replaced before`;
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "LIFETIME_EXPIRED", { difference }) });
  }
  uninstall(sa, now, child, "expired", child.state.name !== "LINGERING");
}

// ── Limits ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** The shorter of ours and the peer's. */
function lifeMs(peer: PeerSettings, life: Life): number {
  return atMost(peer.childLifetimeMs, life.seconds === undefined ? undefined : life.seconds * 1000)!;
}

function byteLimit(peer: PeerSettings, { kilobytes }: Life): number {
  const own = peer.childLifetimeBytes === 0 ? undefined : peer.childLifetimeBytes;
  const theirs = kilobytes === undefined ? undefined : Math.min(kilobytes * 1024, Number.MAX_SAFE_INTEGER);
  return atMost(own, theirs) ?? 0;
}

/** For the quick mode that a peer begins behind its INITIAL-CONTACT. */
const doubtMs = 1_000;
/**
 * How long what we replaced is kept for a peer of which nothing is heard on the new one. A peer repeats message 2 until
 * it has message 3, and sends on the old one until then: strongSwan after 4 s, and after 7 s more.
 */
const drainMs = 12_000;
