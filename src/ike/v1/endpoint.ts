/**
 * An IKEv1 endpoint: every ISAKMP SA of the gateway behind one handle… and poll… surface.
 *
 * ISAKMP SAs are found by their SPI pair, never by an address, so any number of peers may share one. What belongs to none
 * of them meets the front door.
 */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import { attemptDecode } from "../../core/errors.ts";
import { Queue } from "../../core/queue.ts";
import type { Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import { type DecodedIsakmpHeader, decodeIsakmpHeader, isIsakmpFragment } from "../../wire/v1/index.ts";
import { type AboutSa, ChildTable } from "../common/child-table.ts";
import { Deadlines } from "../common/deadlines.ts";
import { type IkeDrop, ikeDrops } from "../common/drops.ts";
import type { AboutLifetime, EndpointDeps, IkeEngine, KeptCounts } from "../common/engine.ts";
import type { EndReason } from "../common/events.ts";
import { failureOf } from "../common/failures.ts";
import { ReturnableKeyPairs } from "../common/key-pairs.ts";
import { AskPacer } from "../common/patience.ts";
import { PeerTable } from "../common/peer-table.ts";
import { SaTable } from "../common/sa-table.ts";
import { defaultLimits, type PeerSettings } from "../common/settings.ts";
import { onLost, onRefusedByDataPlane } from "./deletes.ts";
import type { AnsweredExchange } from "./exchange.ts";
import { AggressiveModeInitiator } from "./exchanges/aggressive-mode.ts";
import { MainModeInitiator } from "./exchanges/main-mode.ts";
import { quickMode } from "./exchanges/quick-mode.ts";
import { FrontDoor } from "./front-door.ts";
import type { Host, IsakmpOutput } from "./host.ts";
import { exhaust, type IpsecSa, onInbound } from "./ipsec-sa.ts";
import { IsakmpSa } from "./isakmp-sa.ts";
import { checkPeer } from "./liveness.ts";
import type { Datagram } from "./phase1.ts";
import { phase1Groups } from "./proposals.ts";
import { IsakmpReassembly } from "./reassembly.ts";
import { rekeyChildNow } from "./rekey.ts";
import { replaceIsakmpSa, settleSiblings } from "./succession.ts";

export class IsakmpEndpoint implements IkeEngine {
  readonly #ikePort: number;
  readonly #host: Host;
  readonly #door: FrontDoor;
  readonly #reassembly: IsakmpReassembly;
  readonly #outputs = new Queue<IsakmpOutput>();
  readonly #deadlines = new Deadlines<IsakmpSa>();
  /** An ISAKMP SA may be in it several times. */
  #touched: IsakmpSa[] = [];
  #peers = new PeerTable();
  readonly #sas = new SaTable<IsakmpSa>((sa) => isAlive(sa));
  /** undefined: all that were configured. */
  #localAddresses: readonly IpAddress[] | undefined;
  readonly #drops = Object.fromEntries(Object.keys(ikeDrops).map((k) => [k, 0])) as Record<IkeDrop, number>;

  constructor(deps: EndpointDeps) {
    this.#ikePort = deps.ikePort ?? 500;
    this.#host = this.#makeHost(deps);
    this.#reassembly = new IsakmpReassembly(this.#host.limits);
    this.#door = new FrontDoor(
      this.#host,
      (local, remote) => this.#peers.candidates(local.address, remote.address),
      (local, remote) => deps.otherVersion?.(local.address, remote.address) ?? [],
    );
  }

  // ── Inputs ───────────────────────────────────────────────────────────────────────────────────────────────────

  setPeers(peers: readonly PeerSettings[]): void {
    this.#peers = new PeerTable(peers);
  }

  updatePeer(peer: PeerSettings): void {
    this.#peers.update(peer);
  }

  handleDatagram(now: Instant, local: Endpoint, remote: Endpoint, datagram: Uint8Array): void {
    this.#door.advance(now);
    const header = attemptDecode(() => decodeIsakmpHeader(datagram));
    if (!header || header.spiInitiator === 0n) {
      this.#host.count("malformed");
      return;
    }
    const message = { header, local, remote, datagram };
    if (isIsakmpFragment(header)) this.#onFragment(now, message);
    else this.#dispatch(now, message);
    this.#settle();
  }

  initiate(now: Instant, peer: PeerSettings, remote: IpAddress, trigger?: PacketFlow): IsakmpSa | undefined {
    const address = peer.local.find((a) => a.family === remote.family && this.#host.isLocal(a));
    if (!address) return undefined;
    const sa = new IsakmpSa(
      this.#host,
      {
        role: "initiator",
        mode: peer.mode,
        now,
        spiLocal: this.#host.newIkeSpi(),
        spiRemote: 0n,
        local: { address, port: this.#ikePort },
        remote: { address: remote, port: this.#ikePort },
        peer,
      },
      { name: "INIT_SENT" },
    );
    sa.trigger = trigger;
    this.#sas.add(sa);
    this.#host.beginPhase1(sa, now);
    this.#settle();
    return sa;
  }

  requestChild(now: Instant, sa: IsakmpSa): void {
    if (sa.established) sa.pairs!.start(sa, now);
    else if (sa.is("DETACHED")) this.#host.replace(sa, now);
    this.#settle();
  }

  handleTraffic(now: Instant, sa: IsakmpSa, flow: PacketFlow): void {
    if (sa.established) sa.pairs?.onTraffic(sa, now, flow);
    this.#settle();
  }

  /** One quick mode for each pair is all that IKEv1 has: there is nothing to forget. */
  forgetPairing(_peerId: string): void {}

  rekeyPeer(now: Instant, peerId: string, ike: boolean): void {
    for (const sa of this.#sas.ofPeer(peerId)) {
      if (!sa.established) continue;
      this.#host.touch(sa);
      if (ike) this.#host.replace(sa, now);
      else for (const child of [...sa.children.values()]) rekeyChildNow(sa, now, child);
    }
    this.#settle();
  }

  checkPeer(now: Instant, peerId: string): void {
    for (const sa of this.#sas.ofPeer(peerId)) if (sa.established) checkPeer(sa, now);
    this.#settle();
  }

  closePeer(now: Instant, peerId: string, why: EndReason): void {
    for (const sa of this.#sas.ofPeer(peerId)) this.#close(now, sa, why);
    this.#settle();
  }

  close(now: Instant, sa: IsakmpSa, why: EndReason): void {
    this.#close(now, sa, why);
    this.#settle();
  }

  handleLifetime(now: Instant, about: AboutLifetime): void {
    const found = this.#host.children.find(about);
    if (!found) return;
    const { sa, child } = found;
    this.#host.touch(sa);
    if (about.kind === "hardLifetime") exhaust(sa, now, child);
    else rekeyChildNow(sa, now, child);
    this.#settle();
  }

  handleSaInUse(now: Instant, spi: number): void {
    const found = this.#host.children.inbound(spi);
    if (found) onInbound(found.sa, now, found.child);
    this.#settle();
  }

  replaceLostChild(now: Instant, sa: IsakmpSa, child: IpsecSa, direction: "inbound" | "outbound"): void {
    onLost(sa.holder, now, child, direction);
    this.#settle();
  }

  handleRefusedSa(now: Instant, about: AboutSa & { readonly reason: string }): void {
    const found = this.#host.children.find(about);
    if (found) onRefusedByDataPlane(found.sa, now, found.child, about.direction, about.reason);
    this.#settle();
  }

  /** RFC 3947 §4: an authentic ESP packet shows as well as a message of ISAKMP where the peer's NAT has it now. */
  handlePeerMoved(now: Instant, spiIn: number, remote: Endpoint): void {
    const found = this.#host.children.inbound(spiIn);
    if (found) {
      onInbound(found.sa, now, found.child);
      found.sa.followPeer(now, found.sa.local, remote);
    }
    this.#settle();
  }

  /** Nothing is probed (`IsakmpSa.path`), and a hint that anybody can send proves nothing. */
  handlePathMtuHint(_now: Instant, _remote: IpAddress, _mtu: number): void {}

  /** An ISAKMP SA stays on the address that it has; liveness checks say when that no longer works. */
  handleLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void {
    this.#localAddresses = addresses;
    for (const sa of this.#sas.all())
      if (sa.established && !this.#host.isLocal(sa.local.address)) checkPeer(sa, now);
    this.#settle();
  }

  handleTimeout(now: Instant): void {
    this.#reassembly.handleTimeout(now);
    for (const sa of this.#deadlines.takeDue(now)) {
      this.#host.touch(sa);
      sa.handleTimeout(now);
      this.#settle();
    }
  }

  // ── Outputs ──────────────────────────────────────────────────────────────────────────────────────────────────

  pollOutput(): IsakmpOutput | undefined {
    return this.#outputs.shift();
  }

  pollTimeout(): Instant | undefined {
    const [a, b] = [this.#deadlines.next(), this.#reassembly.deadline];
    return a === undefined || b === undefined ? (a ?? b) : Math.min(a, b);
  }

  get size(): number {
    return this.#sas.size;
  }

  sas(): IsakmpSa[] {
    return [...this.#sas.all()];
  }

  sasOf(peerId: string): IsakmpSa[] {
    return this.#sas.ofPeer(peerId);
  }

  get silent(): boolean {
    return this.#sas.size === 0;
  }

  get drops(): Readonly<Record<IkeDrop, number>> {
    return this.#drops;
  }

  get kept(): KeptCounts {
    const [sas, requests] = [this.#sas.size, this.#door.requests];
    return { sas, requests, deadlines: this.#deadlines.size, offers: this.#reassembly.size };
  }

  get halfOpen(): number {
    return this.#door.halfOpen;
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────

  #onFragment(now: Instant, message: Datagram): void {
    const { header, remote, datagram } = message;
    const sa = this.#find(header);
    const first = header.spiResponder === 0n;
    if (sa ? !sa.fragmentation && !sa.is("INIT_SENT") : !first) {
      this.#host.count(sa ? "fragment" : "unknown_spi");
      return;
    }
    const whole = this.#reassembly.collect(now, remote.address, header, datagram, sa !== undefined);
    if (whole === "incomplete") return;
    if ("drop" in whole) this.#host.count(whole.drop);
    else this.#dispatch(now, { ...message, ...whole });
  }

  #dispatch(now: Instant, message: Datagram): void {
    const { header } = message;
    const sa = this.#find(header);
    if (sa) {
      this.#host.touch(sa);
      sa.handleDatagram(now, message);
    } else if (header.spiResponder === 0n) this.#door.handleFirstMessage(now, message);
    // RFC 2408 §5.4 would allow INVALID-COOKIE, which proves nothing to anybody, and tells strangers that we are here.
    else this.#host.count("unknown_spi");
  }

  /** The header does not say which side sent it: the SPIs alone do. */
  #find({ spiInitiator, spiResponder }: DecodedIsakmpHeader): IsakmpSa | undefined {
    const begun = this.#sas.get(spiInitiator);
    if (begun?.role === "initiator" && (begun.spiRemote === spiResponder || begun.spiRemote === 0n))
      return begun;
    const answered = spiResponder === 0n ? undefined : this.#sas.get(spiResponder);
    return answered?.role === "responder" && answered.spiRemote === spiInitiator ? answered : undefined;
  }

  // ── ISAKMP SAs ───────────────────────────────────────────────────────────────────────────────────────────────

  #close(now: Instant, sa: IsakmpSa, why: EndReason): void {
    this.#host.touch(sa);
    sa.requestDelete(now, why);
  }

  #beginPhase1(sa: IsakmpSa, now: Instant): void {
    const peer = sa.peer!;
    if (phase1Groups(peer.ikeProposals).length === 0) {
      const ours = peer.ikeProposals.map((p) => p.text);
      const difference = "none of our proposals can be said in IKEv1";
      const remedy =
        "add an ike.proposal of cipher, hash and DH group that IKEv1 has, such as aes128-sha256-modp2048";
      sa.fail(now, failureOf(sa, "NO_PROPOSAL_CHOSEN_IKE", { ours, difference, remedy }));
      return;
    }
    sa.begin(now, sa.mode === "main" ? new MainModeInitiator(peer) : new AggressiveModeInitiator(sa, peer));
  }

  #makeHost(deps: EndpointDeps): Host {
    const answered = new Map<number, AnsweredExchange>([[quickMode.type, quickMode]]);
    const othersOf = (sa: IsakmpSa) => this.#sas.alike(sa).filter((other) => other !== sa && isAlive(other));
    return {
      random: deps.random,
      limits: { ...defaultLimits, ...deps.limits },
      keyPairs: new ReturnableKeyPairs(deps.keyPairs),
      exportKeys: deps.exportKeys,
      nattPort: deps.nattPort ?? 4500,
      asks: new AskPacer(),
      children: (deps.children ?? new ChildTable()) as ChildTable<IsakmpSa, IpsecSa>,
      keepsUp: (peerId) => deps.keepsUp(peerId),
      lastInbound: (spi, from) => deps.lastInbound?.(spi, from),
      allocateSpi: () => deps.allocateSpi(),
      releaseSpi: (spi) => deps.releaseSpi(spi),
      newIkeSpi: () => this.#sas.newSpi(deps.random),
      emit: (output) => this.#emit(output),
      count: (drop) => {
        this.#drops[drop]++;
      },
      onEstablished: (sa, now, initialContact) => this.#onEstablished(sa, now, initialContact),
      isFirstContact: (sa) => this.#isFirstContact(sa),
      hasOther: (sa) => othersOf(sa).some((other) => other.established),
      othersOf,
      sasOf: (peerId) => this.sasOf(peerId),
      replace: replaceIsakmpSa,
      isComing: (address) => this.#door.isComing(address),
      beginPhase1: (sa, now) => this.#beginPhase1(sa, now),
      onSeen: (sa) => this.#door.onSeen(sa),
      adopt: (sa) => {
        this.#sas.add(sa);
        this.#host.touch(sa);
      },
      isLocal: (address) => this.#localAddresses?.some((a) => a.equals(address)) ?? true,
      addressesOf: (peer) => (this.#peers.get(peer.id) ?? peer).remote,
      touch: (sa) => {
        if (this.#touched.at(-1) !== sa) this.#touched.push(sa);
      },
      forget: (sa) => this.#forget(sa),
      answers: (type) => answered.get(type),
    };
  }

  #emit(output: IsakmpOutput): void {
    if (output.kind === "established") {
      this.#door.onEstablished(output.sa);
      this.#sas.onPeerKnown(output.sa);
    } else if (output.kind === "ended") this.#sas.onClosed(output.sa);
    // Whoever has not authenticated is a stranger, however far it came.
    if (output.kind === "failure" && output.sa?.halfOpen) this.#door.complain(output.record);
    else this.#outputs.push(output);
  }

  #onEstablished(sa: IsakmpSa, now: Instant, initialContact: boolean): void {
    const others = this.#host.othersOf(sa);
    // The peer got through to us while our own first message was on its way: nobody loses anything if we let it be.
    for (const other of this.#sas.ofPeer(sa.peer!.id)) {
      const same = !sa.peer!.roaming || !other.replaces || other.replaces.remoteId === sa.remoteId;
      if (other !== sa && same && other.is("INIT_SENT")) other.end(now, "duplicate");
    }
    settleSiblings(sa, others, now, initialContact);
  }

  /** RFC 2407 §4.6.3.3 speaks of systems, not of connections. */
  #isFirstContact(sa: IsakmpSa): boolean {
    for (const other of this.#sas.all())
      if (other !== sa && isAlive(other) && other.remote.address.equals(sa.remote.address)) return false;
    return true;
  }

  #forget(sa: IsakmpSa): void {
    this.#reassembly.forget(sa);
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

/** Authenticated, and not over: it has IPsec SAs with its peer, or could have. */
const isAlive = (sa: IsakmpSa): boolean => sa.is("ESTABLISHED", "REPLACED", "DETACHED");
