/**
 * An IKEv2 endpoint: every IKE SA of the gateway behind one handle… and poll… surface.
 *
 * IKE SAs are found by their SPI pair, never by an address, so any number of peers may share one. What belongs to none
 * of them meets the front door.
 */

import type { Endpoint, IpAddress } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import { Queue } from "../../core/queue.ts";
import type { Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import { type DecodedHeader, decodeHeader } from "../../wire/index.ts";
import { type AboutSa, ChildTable } from "../common/child-table.ts";
import { Deadlines } from "../common/deadlines.ts";
import { type IkeDrop, ikeDrops } from "../common/drops.ts";
import type { AboutLifetime, EndpointDeps, IkeEngine, KeptCounts } from "../common/engine.ts";
import type { EndReason } from "../common/events.ts";
import { refusedSa } from "../common/failures.ts";
import { ReturnableKeyPairs } from "../common/key-pairs.ts";
import { AskPacer } from "../common/patience.ts";
import { PeerTable } from "../common/peer-table.ts";
import { SaTable } from "../common/sa-table.ts";
import { defaultLimits, type PeerSettings } from "../common/settings.ts";
import { type ChildSa, exhaust, expireChild, hasOutbound } from "./child-sa.ts";
import type { IkeOutput } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import { createChildSa } from "./exchanges/create-child-sa.ts";
import { ikeAuth } from "./exchanges/ike-auth.ts";
import { ikeFollowUpKe } from "./exchanges/ike-followup-ke.ts";
import { ikeIntermediate } from "./exchanges/ike-intermediate.ts";
import { initiateIkeSa } from "./exchanges/ike-sa-init.ts";
import { informational } from "./exchanges/informational.ts";
import { newChildSa } from "./exchanges/request-child-sa.ts";
import { onLocalAddresses } from "./exchanges/update-addresses.ts";
import { FrontDoor } from "./front-door.ts";
import type { Host } from "./host.ts";
import { IkeSa } from "./ike-sa.ts";
import { checkPeer } from "./liveness.ts";
import { HintGate, onPathMtuHint } from "./path-mtu.ts";
import { reauthenticate } from "./reauthentication.ts";
import { rekeyChildNow, rekeyIkeSaNow } from "./rekey-now.ts";
import { closeLosers, onInbound, settleSiblings } from "./siblings.ts";

export class IkeEndpoint implements IkeEngine {
  readonly #ikePort: number;
  readonly #host: Host;
  readonly #door: FrontDoor;
  readonly #outputs = new Queue<IkeOutput>();
  readonly #deadlines = new Deadlines<IkeSa>();
  readonly #hints = new HintGate();
  /** An IKE SA may be in it several times. */
  #touched: IkeSa[] = [];
  #peers = new PeerTable();
  readonly #sas = new SaTable<IkeSa>((sa) => sa.is("ESTABLISHED", "CONTENDING"));
  readonly #offeredIkeSpis = new Set<bigint>();
  /** undefined: all that were configured. */
  #localAddresses: readonly IpAddress[] | undefined;
  readonly #drops = Object.fromEntries(Object.keys(ikeDrops).map((k) => [k, 0])) as Record<IkeDrop, number>;

  constructor(deps: EndpointDeps) {
    this.#ikePort = deps.ikePort ?? 500;
    this.#host = this.#makeHost(deps);
    this.#door = new FrontDoor(
      this.#host,
      (local, remote) => this.#peers.candidates(local.address, remote.address),
      (local, remote) => deps.otherVersion?.(local.address, remote.address) ?? [],
    );
  }

  // ── Inputs ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Replaces the peers. IKE SAs that exist keep the settings they were made with. */
  setPeers(peers: readonly PeerSettings[]): void {
    this.#peers = new PeerTable(peers);
  }

  /** Other settings for one of the peers, such as where it lives by now; those that are not known stay unknown. */
  updatePeer(peer: PeerSettings): void {
    this.#peers.update(peer);
  }

  /** One UDP payload, without non-ESP marker. Never throws on what a network can bring. */
  handleDatagram(now: Instant, local: Endpoint, remote: Endpoint, datagram: Uint8Array): void {
    this.#door.advance(now);
    const header = attemptDecode(() => decodeHeader(datagram));
    if (!header) {
      this.#host.count("malformed");
      return;
    }
    if (header.majorVersion !== 2) {
      this.#door.handleOtherVersion(local, remote, header);
      return;
    }
    if (header.spiInitiator === 0n) {
      this.#host.count("malformed");
      return;
    }
    if (header.spiResponder === 0n && !header.response)
      this.#door.handleFirstMessage(now, local, remote, header, datagram);
    else this.#dispatch(now, local, remote, header, datagram);
    this.#settle();
  }

  /** Starts an IKE SA with `peer` at `remote`. Undefined when none of our addresses is of its family. */
  initiate(now: Instant, peer: PeerSettings, remote: IpAddress, trigger?: PacketFlow): IkeSa | undefined {
    const address = peer.local.find((a) => a.family === remote.family && this.#host.isLocal(a));
    if (!address) return undefined;
    const local = { address, port: this.#ikePort };
    const ends = { local, remote: { address: remote, port: this.#ikePort } };
    const spiLocal = this.#host.newIkeSpi();
    const origin = { role: "initiator", now, spiLocal, spiRemote: 0n, ...ends, peer } as const;
    const sa = new IkeSa(this.#host, origin, { name: "INIT_SENT" });
    sa.trigger = trigger;
    this.#sas.add(sa);
    sa.initiate(now, initiateIkeSa(peer));
    this.#settle();
    return sa;
  }

  /** Another CHILD_SA on an IKE SA that lost its last one. */
  requestChild(now: Instant, sa: IkeSa): void {
    if (sa.established) sa.pairs!.start(sa, now);
    this.#settle();
  }

  /** A packet of `flow` found no SA of the connection. */
  handleTraffic(now: Instant, sa: IkeSa, flow: PacketFlow): void {
    sa.pairs?.onTraffic(sa, now, flow);
    this.#settle();
  }

  /** Forgets how a peer wants its selectors, to find out anew. */
  forgetPairing(peerId: string): void {
    this.#host.pairings.delete(peerId);
  }

  /** Replaces the CHILD_SAs of a peer, or its IKE SA, now rather than when their lifetimes ask for it. */
  rekeyPeer(now: Instant, peerId: string, ike: boolean): void {
    for (const sa of this.#sas.ofPeer(peerId)) {
      if (!sa.established) continue;
      this.#host.touch(sa);
      if (ike) rekeyIkeSaNow(sa, now);
      else
        for (const child of sa.children.values())
          if (child.state.name === "INSTALLED") rekeyChildNow(sa, child, now);
    }
    this.#settle();
  }

  /** Asks a peer whether it lives, now, on each of its IKE SAs. */
  checkPeer(now: Instant, peerId: string): void {
    for (const sa of this.#sas.ofPeer(peerId)) checkPeer(sa, now);
    this.#settle();
  }

  /** Ends every IKE SA of a peer, politely. */
  closePeer(now: Instant, peerId: string, why: EndReason): void {
    for (const sa of this.#sas.ofPeer(peerId)) sa.requestDelete(now, why);
    this.#settle();
  }

  /** Ends one IKE SA, politely. */
  close(now: Instant, sa: IkeSa, why: EndReason): void {
    sa.requestDelete(now, why);
    this.#settle();
  }

  /** The data plane counted an SA's bytes or packets past a limit. */
  handleLifetime(now: Instant, about: AboutLifetime): void {
    const found = this.#host.children.find(about);
    if (!found) return;
    const { sa, child } = found;
    const hard = about.kind === "hardLifetime";
    if (hard) exhaust(sa, child);
    if (child.state.name === "INSTALLED") {
      if (hard) expireChild(sa, now, child, "volume");
      else rekeyChildNow(sa, child, now);
      this.#host.touch(sa);
    }
    this.#settle();
  }

  /** The first packet came in on inbound SA `spi`. */
  handleSaInUse(now: Instant, spi: number): void {
    const found = this.#host.children.inbound(spi);
    if (found) onInbound(found.sa, found.child, now);
    this.#settle();
  }

  /** The data plane no longer has `direction` of `child`, and the key is gone too: a new pair takes its place. */
  replaceLostChild(now: Instant, sa: IkeSa, child: ChildSa, direction: "inbound" | "outbound"): void {
    child.refused.add(direction);
    if (sa.established && child.state.name === "INSTALLED") rekeyChildNow(sa, child, now);
    this.#host.touch(sa);
    this.#settle();
  }

  /** The data plane did not take an SA: what the peer believes in does not exist, so the IKE SA goes. */
  handleRefusedSa(now: Instant, about: AboutSa & { readonly reason: string }): void {
    const found = this.#host.children.find(about);
    const { direction, reason } = about;
    if (found && !found.child.refused.has(direction)) {
      const { sa, child } = found;
      child.refused.add(direction);
      this.#emit({ kind: "failure", sa, record: refusedSa(sa, child, direction, reason) });
      sa.requestDelete(now, "failed");
    }
    this.#settle();
  }

  /** An authentic ESP packet of the peer came from elsewhere: its NAT gave it a new address (§2.23). */
  handlePeerMoved(now: Instant, spiIn: number, remote: Endpoint): void {
    const found = this.#host.children.inbound(spiIn);
    if (found) {
      onInbound(found.sa, found.child, now);
      found.sa.followEsp(now, remote);
    }
    this.#settle();
  }

  /** Somebody says that the path to `remote` carries only `mtu` bytes. */
  handlePathMtuHint(now: Instant, remote: IpAddress, mtu: number): void {
    if (!this.#hints.take(now)) return;
    for (const sa of this.#sas.all()) if (sa.remote.address.equals(remote)) onPathMtuHint(sa, now, mtu);
    this.#settle();
  }

  /** Those of our outer addresses that this host has now. */
  handleLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void {
    this.#localAddresses = addresses;
    for (const sa of this.#sas.all()) onLocalAddresses(sa, now);
    this.#settle();
  }

  handleTimeout(now: Instant): void {
    for (const sa of this.#deadlines.takeDue(now)) {
      this.#host.touch(sa);
      sa.handleTimeout(now);
      this.#settle();
    }
  }

  // ── Outputs ──────────────────────────────────────────────────────────────────────────────────────────────────

  pollOutput(): IkeOutput | undefined {
    return this.#outputs.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.#deadlines.next();
  }

  /** IKE SAs in any state, also those that only keep an answer for a repeated request. */
  get size(): number {
    return this.#sas.size;
  }

  /** Every IKE SA, in the order in which they came. */
  sas(): IkeSa[] {
    return [...this.#sas.all()];
  }

  /** A peer's IKE SAs that are not closed, the newest last. */
  sasOf(peerId: string): IkeSa[] {
    return this.#sas.ofPeer(peerId);
  }

  /** Nothing is left but answers that a peer may want repeated. */
  get silent(): boolean {
    for (const sa of this.#sas.all()) if (!sa.is("CLOSED")) return false;
    return true;
  }

  /** Datagrams that were dropped, by reason. */
  get drops(): Readonly<Record<IkeDrop, number>> {
    return this.#drops;
  }

  /** How much is kept, by kind: everything here is given back when the IKE SAs are. */
  get kept(): KeptCounts {
    const [sas, requests, offers] = [this.#sas.size, this.#door.requests, this.#offeredIkeSpis.size];
    return { sas, requests, deadlines: this.#deadlines.size, offers };
  }

  get halfOpen(): number {
    return this.#door.halfOpen;
  }

  // ── IKE SAs ──────────────────────────────────────────────────────────────────────────────────────────────────

  #dispatch(
    now: Instant,
    local: Endpoint,
    remote: Endpoint,
    header: DecodedHeader,
    datagram: Uint8Array,
  ): void {
    const { spiInitiator, spiResponder } = header;
    const [ours, theirs] = header.initiator ? [spiResponder, spiInitiator] : [spiInitiator, spiResponder];
    const sa = this.#sas.get(ours);
    const fits = sa && (sa.spiRemote === theirs || (sa.is("INIT_SENT") && header.response));
    if (!fits) {
      this.#host.count("unknown_spi");
      // An SPI that is in use here, in whatever role: nothing about it may be given away.
      const used = (spi: bigint) => this.#sas.get(spi) !== undefined || this.#offeredIkeSpis.has(spi);
      if (used(spiInitiator) || used(spiResponder)) return;
      this.#door.handleUnknownSa(now, local, remote, header);
      return;
    }
    this.#host.touch(sa);
    sa.handleDatagram(now, local, remote, header, datagram);
  }

  #makeHost(deps: EndpointDeps): Host {
    const exchanges = new Map<number, Exchange>(
      [ikeAuth, ikeIntermediate, createChildSa, ikeFollowUpKe, informational].map((e) => [e.type, e]),
    );
    return {
      random: deps.random,
      limits: { ...defaultLimits, ...deps.limits },
      keyPairs: new ReturnableKeyPairs(deps.keyPairs),
      exportKeys: deps.exportKeys,
      nattPort: deps.nattPort ?? 4500,
      pairings: new Map(),
      pathMtus: new Map(),
      unpaddable: new Set(),
      asks: new AskPacer(),
      // Others add theirs, and nobody asks this engine about those.
      children: (deps.children ?? new ChildTable()) as ChildTable<IkeSa, ChildSa>,
      keepsUp: (peerId) => deps.keepsUp(peerId),
      askChild: (sa, ask, now) => sa.initiate(now, newChildSa(ask)),
      crashSecret: deps.crashSecret,
      lastInbound: (spi, from) => deps.lastInbound?.(spi, from),
      allocateSpi: () => deps.allocateSpi(),
      releaseSpi: (spi) => deps.releaseSpi(spi),
      newIkeSpi: () => this.#sas.newSpi(deps.random),
      offeredIkeSpis: this.#offeredIkeSpis,
      emit: (output) => this.#emit(output),
      count: (drop) => {
        this.#drops[drop]++;
      },
      onEstablished: (sa, now, initialContact) => this.#onEstablished(sa, now, initialContact),
      othersOf: (sa) => this.#sas.othersOf(sa),
      sasOf: (peerId) => this.sasOf(peerId),
      hasOther: (sa) => this.#sas.othersOf(sa).length > 0,
      heirOf: (sa) => this.#sas.othersOf(sa).findLast(hasOutbound),
      onUse: (sa, now) => closeLosers(sa, this.#sas.othersOf(sa), now),
      isFirstContact: (sa) => this.#sas.isFirstContact(sa),
      adopt: (successor) => {
        this.#sas.add(successor);
        this.#host.touch(successor);
      },
      isLocal: (address) => this.#localAddresses?.some((a) => a.equals(address)) ?? true,
      addressesOf: (peer) => (this.#peers.get(peer.id) ?? peer).remote,
      onRekeyDue: rekeyIkeSaNow,
      onReauthenticationDue: reauthenticate,
      onChildRekeyDue: rekeyChildNow,
      touch: (sa) => {
        if (this.#touched.at(-1) !== sa) this.#touched.push(sa);
      },
      forget: (sa) => this.#forget(sa),
      exchange: (type) => exchanges.get(type),
    };
  }

  #emit(output: IkeOutput): void {
    if (output.kind === "established") {
      this.#door.onEstablished(output.sa);
      this.#sas.onPeerKnown(output.sa);
    } else if (output.kind === "ended") this.#sas.onClosed(output.sa);
    // Whoever has not authenticated is a stranger, however far it came.
    if (output.kind === "failure" && output.sa?.halfOpen) this.#door.complain(output.record);
    else this.#outputs.push(output);
  }

  /** Settles what becomes of other IKE SAs with the same peer, in a way on which both sides agree. */
  #onEstablished(sa: IkeSa, now: Instant, initialContact: boolean): void {
    // The peer got through to us while our own first message was on its way: nobody loses anything if we let it be.
    for (const other of this.#sas.ofPeer(sa.peer!.id)) if (other.is("INIT_SENT")) other.end(now, "duplicate");
    settleSiblings(sa, this.#sas.othersOf(sa), now, initialContact);
  }

  #forget(sa: IkeSa): void {
    this.#sas.delete(sa);
    this.#door.forget(sa);
    this.#deadlines.set(sa, undefined);
  }

  #settle(): void {
    const touched = this.#touched;
    if (touched.length === 0) return;
    this.#touched = [];
    for (const sa of touched) this.#deadlines.set(sa, this.#sas.has(sa) ? sa.deadline : undefined);
  }
}
