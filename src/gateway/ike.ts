/**
 * IKE as the gateway sees it: one engine per version behind one surface. A datagram goes by its major version, a peer by
 * what its connection allows, an SA back to the engine that made it. Where no connection speaks IKEv1 there is the
 * engine of IKEv2 alone, and nothing in between.
 */
import type { ConnectionConfig } from "../config/model.ts";
import type { Endpoint, IpAddress } from "../core/address.ts";
import { earlier, type Instant } from "../core/time.ts";
import type { PacketFlow } from "../core/traffic-selector.ts";
import { type AboutSa, ChildTable } from "../ike/common/child-table.ts";
import type { AboutLifetime, EndpointDeps, IkeEngine, KeptCounts } from "../ike/common/engine.ts";
import type { EndReason, IkeOutput } from "../ike/common/events.ts";
import { PeerTable } from "../ike/common/peer-table.ts";
import type { PeerSettings } from "../ike/common/settings.ts";
import type { ChildSaView, IkeSaView } from "../ike/common/views.ts";
import { IsakmpEndpoint } from "../ike/v1/endpoint.ts";
import { IkeEndpoint } from "../ike/v2/endpoint.ts";

/** The engine, or engines, that the connections need. */
export function makeEngine(connections: readonly ConnectionConfig[], deps: EndpointDeps): IkeEngine {
  const makeV2 = (own: EndpointDeps) => new IkeEndpoint(own);
  if (connections.every(({ ike }) => ike.version === "ikev2")) return makeV2(deps);
  return new BothVersions((own) => new IsakmpEndpoint(own), makeV2, deps);
}

export type MakeEngine = (deps: EndpointDeps) => IkeEngine;

/** Engines of both versions with what they share: one set of SPIs, and one table of who owns which SA. */
export class BothVersions implements IkeEngine {
  readonly #v1: IkeEngine;
  readonly #v2: IkeEngine;
  readonly #children = new ChildTable<IkeSaView, ChildSaView>();
  /** Peers that speak one version alone. */
  #onlyV1 = new PeerTable();
  #onlyV2 = new PeerTable();

  constructor(makeV1: MakeEngine, makeV2: MakeEngine, deps: EndpointDeps) {
    const shared = { ...deps, children: this.#children };
    this.#v1 = makeV1({ ...shared, otherVersion: (local, remote) => this.#onlyV2.candidates(local, remote) });
    this.#v2 = makeV2({ ...shared, otherVersion: (local, remote) => this.#onlyV1.candidates(local, remote) });
  }

  // ── Peers ────────────────────────────────────────────────────────────────────────────────────────────────────

  setPeers(peers: readonly PeerSettings[]): void {
    const only = (wanted: PeerSettings["version"]) => peers.filter(({ version }) => version === wanted);
    this.#onlyV1 = new PeerTable(only("ikev1"));
    this.#onlyV2 = new PeerTable(only("ikev2"));
    this.#v1.setPeers(peers.filter(({ version }) => version !== "ikev2"));
    this.#v2.setPeers(peers.filter(({ version }) => version !== "ikev1"));
  }

  updatePeer(peer: PeerSettings): void {
    this.#onlyV1.update(peer);
    this.#onlyV2.update(peer);
    if (peer.version !== "ikev2") this.#v1.updatePeer(peer);
    if (peer.version !== "ikev1") this.#v2.updatePeer(peer);
  }

  forgetPairing(peerId: string): void {
    this.#v1.forgetPairing(peerId);
    this.#v2.forgetPairing(peerId);
  }

  rekeyPeer(now: Instant, peerId: string, ike: boolean): void {
    this.#v1.rekeyPeer(now, peerId, ike);
    this.#v2.rekeyPeer(now, peerId, ike);
  }

  checkPeer(now: Instant, peerId: string): void {
    this.#v1.checkPeer(now, peerId);
    this.#v2.checkPeer(now, peerId);
  }

  closePeer(now: Instant, peerId: string, why: EndReason): void {
    this.#v1.closePeer(now, peerId, why);
    this.#v2.closePeer(now, peerId, why);
  }

  /** What can do either begins with the newer (RFC 7296 §2.5 has no way back to IKEv1, so there is none here). */
  initiate(now: Instant, peer: PeerSettings, remote: IpAddress, trigger?: PacketFlow): IkeSaView | undefined {
    const engine = peer.version === "ikev1" ? this.#v1 : this.#v2;
    return engine.initiate(now, peer, remote, trigger);
  }

  // ── SAs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  requestChild(now: Instant, sa: IkeSaView): void {
    this.#of(sa).requestChild(now, sa);
  }

  handleTraffic(now: Instant, sa: IkeSaView, flow: PacketFlow): void {
    this.#of(sa).handleTraffic(now, sa, flow);
  }

  close(now: Instant, sa: IkeSaView, why: EndReason): void {
    this.#of(sa).close(now, sa, why);
  }

  replaceLostChild(now: Instant, sa: IkeSaView, child: ChildSaView, direction: AboutSa["direction"]): void {
    this.#of(sa).replaceLostChild(now, sa, child, direction);
  }

  handleLifetime(now: Instant, about: AboutLifetime): void {
    this.#owner(about)?.handleLifetime(now, about);
  }

  handleRefusedSa(now: Instant, about: AboutSa & { readonly reason: string }): void {
    this.#owner(about)?.handleRefusedSa(now, about);
  }

  handleSaInUse(now: Instant, spi: number): void {
    this.#receiver(spi)?.handleSaInUse(now, spi);
  }

  handlePeerMoved(now: Instant, spiIn: number, remote: Endpoint): void {
    this.#receiver(spiIn)?.handlePeerMoved(now, spiIn, remote);
  }

  #of({ version }: IkeSaView): IkeEngine {
    return version === 1 ? this.#v1 : this.#v2;
  }

  #owner(about: AboutSa): IkeEngine | undefined {
    const found = this.#children.find(about);
    return found && this.#of(found.sa);
  }

  #receiver(spi: number): IkeEngine | undefined {
    const found = this.#children.inbound(spi);
    return found && this.#of(found.sa);
  }

  // ── Datagrams, the host and time ─────────────────────────────────────────────────────────────────────────────

  /** RFC 7296 §3.1, RFC 2408 §3.1: the major version is in the same place in both headers. */
  handleDatagram(now: Instant, local: Endpoint, remote: Endpoint, datagram: Uint8Array): void {
    const engine = datagram[versionAt]! >> 4 === 1 ? this.#v1 : this.#v2;
    engine.handleDatagram(now, local, remote, datagram);
  }

  handlePathMtuHint(now: Instant, remote: IpAddress, mtu: number): void {
    this.#v1.handlePathMtuHint(now, remote, mtu);
    this.#v2.handlePathMtuHint(now, remote, mtu);
  }

  handleLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void {
    this.#v1.handleLocalAddresses(now, addresses);
    this.#v2.handleLocalAddresses(now, addresses);
  }

  handleTimeout(now: Instant): void {
    this.#v1.handleTimeout(now);
    this.#v2.handleTimeout(now);
  }

  pollOutput(): IkeOutput | undefined {
    return this.#v2.pollOutput() ?? this.#v1.pollOutput();
  }

  pollTimeout(): Instant | undefined {
    return earlier(this.#v1.pollTimeout(), this.#v2.pollTimeout());
  }

  // ── What there is ────────────────────────────────────────────────────────────────────────────────────────────

  get size(): number {
    return this.#v1.size + this.#v2.size;
  }

  /** Those of each version in the order in which they came. */
  sas(): IkeSaView[] {
    return [...this.#v1.sas(), ...this.#v2.sas()];
  }

  sasOf(peerId: string): IkeSaView[] {
    const [old, current] = [this.#v1.sasOf(peerId), this.#v2.sasOf(peerId)];
    if (old.length === 0) return current;
    if (current.length === 0) return old;
    return [...old, ...current].sort((a, b) => a.createdAt - b.createdAt);
  }

  get silent(): boolean {
    return this.#v1.silent && this.#v2.silent;
  }

  get drops(): Readonly<Record<string, number>> {
    return added(this.#v1.drops, this.#v2.drops);
  }

  get kept(): KeptCounts {
    return added(this.#v1.kept, this.#v2.kept);
  }

  get halfOpen(): number {
    return this.#v1.halfOpen + this.#v2.halfOpen;
  }
}

/**
 * `sa`, of a connection that takes either version, carries packets: what the same peer has, or we have begun, in the
 * other version makes way. Nobody needs both, and which of them a packet took would be luck.
 */
export function closeOtherVersion(engine: IkeEngine, now: Instant, sa: IkeSaView): void {
  if (sa.peer?.version !== "auto") return;
  for (const other of engine.sasOf(sa.peer.id)) {
    const stranger = sa.peer.roaming && other.remoteId !== sa.remoteId && !other.connecting;
    if (other.version === sa.version || stranger) continue;
    engine.close(now, other, other.connecting ? "duplicate" : "superseded");
  }
}

/** Behind the two SPIs and the next payload. */
const versionAt = 17;

function added<Key extends string>(
  a: Readonly<Record<Key, number>>,
  b: Readonly<Record<Key, number>>,
): Record<Key, number> {
  const sum: Record<Key, number> = { ...b };
  for (const key in a) sum[key] = (sum[key] ?? 0) + a[key];
  return sum;
}
