/**
 * An engine of one version of IKE: every IKE SA of the gateway that speaks it, behind one handle… and poll… surface.
 * The gateway composes one per version.
 */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { SaSpec } from "../../core/dataplane.ts";
import type { Random } from "../../core/random.ts";
import type { Secret } from "../../core/secret.ts";
import type { Instant } from "../../core/time.ts";
import type { PacketFlow } from "../../core/traffic-selector.ts";
import type { AboutSa, ChildTable } from "./child-table.ts";
import type { EndReason, IkeOutput } from "./events.ts";
import type { KeyPairs } from "./key-pairs.ts";
import type { EndpointLimits, PeerSettings } from "./settings.ts";
import type { ChildSaView, IkeSaView } from "./views.ts";

/** What an engine is given for its life. Engines of one gateway share all of it. */
export interface EndpointDeps {
  readonly random: Random;
  readonly keyPairs: KeyPairs;
  /** Inbound ESP SPIs: unique until released. */
  allocateSpi(): number;
  releaseSpi(spi: number): void;
  /** The tunnel with this peer is kept up by this side. */
  keepsUp(peerId: string): boolean;
  /** When the last authentic ESP packet came on an inbound SA; without it only IKE shows that a peer lives. */
  lastInbound?(spi: number, remote: IpAddress): Instant | undefined;
  /** At least 32 octets that survive a restart, for RFC 6290; without it no tokens are made. */
  readonly crashSecret?: Secret | undefined;
  /** Emit `ikeKeys`, `isakmpKeys` and `espKeys`: for debugging with an analyser, never otherwise. */
  readonly exportKeys: boolean;
  readonly limits?: Partial<EndpointLimits>;
  /** Peers that may be met there and speak the other version alone, where engines share the gateway's peers. */
  otherVersion?(local: IpAddress, remote: IpAddress): readonly PeerSettings[];
  /** Who owns which SA, where engines share one data plane: each adds and finds its own. */
  readonly children?: ChildTable<IkeSaView, ChildSaView>;
  readonly ikePort?: number;
  readonly nattPort?: number;
}

/** The data plane's word that an SA has carried so much. */
export type AboutLifetime = AboutSa & { readonly kind: "softLifetime" | "hardLifetime" };

/** IKE SAs and children that come back in are always ones that the same engine gave out. */
export interface IkeEngine {
  /** Replaces the peers. IKE SAs that exist keep the settings they were made with. */
  setPeers(peers: readonly PeerSettings[]): void;
  /** Other settings for one of the peers, such as where it lives by now; those that are not known stay unknown. */
  updatePeer(peer: PeerSettings): void;
  /** One UDP payload, without non-ESP marker. Never throws on what a network can bring. */
  handleDatagram(now: Instant, local: Endpoint, remote: Endpoint, datagram: Uint8Array): void;
  /** Starts an IKE SA with `peer` at `remote`. Undefined when none of our addresses is of its family. */
  initiate(now: Instant, peer: PeerSettings, remote: IpAddress, trigger?: PacketFlow): IkeSaView | undefined;
  /** Another child on an IKE SA that lost its last one. */
  requestChild(now: Instant, sa: IkeSaView): void;
  /** A packet of `flow` found no SA of the connection. */
  handleTraffic(now: Instant, sa: IkeSaView, flow: PacketFlow): void;
  /** Forgets how a peer wants its selectors, to find out anew. */
  forgetPairing(peerId: string): void;
  /** Replaces the children of a peer, or its IKE SA, now rather than when their lifetimes ask for it. */
  rekeyPeer(now: Instant, peerId: string, ike: boolean): void;
  /** Asks a peer whether it lives, now, on each of its IKE SAs. */
  checkPeer(now: Instant, peerId: string): void;
  /** Ends every IKE SA of a peer, politely. */
  closePeer(now: Instant, peerId: string, why: EndReason): void;
  /** Ends one IKE SA, politely. */
  close(now: Instant, sa: IkeSaView, why: EndReason): void;
  /** The data plane counted an SA's bytes or packets past a limit. */
  handleLifetime(now: Instant, about: AboutLifetime): void;
  /** The first packet came in on inbound SA `spi`. */
  handleSaInUse(now: Instant, spi: number): void;
  /** The data plane no longer has `direction` of `child`, and the key is gone too: a new pair takes its place. */
  replaceLostChild(now: Instant, sa: IkeSaView, child: ChildSaView, direction: SaSpec["direction"]): void;
  /** The data plane did not take an SA. */
  handleRefusedSa(now: Instant, about: AboutSa & { readonly reason: string }): void;
  /** An authentic ESP packet of the peer came from elsewhere: its NAT gave it a new address. */
  handlePeerMoved(now: Instant, spiIn: number, remote: Endpoint): void;
  /** Somebody says that the path to `remote` carries only `mtu` bytes. */
  handlePathMtuHint(now: Instant, remote: IpAddress, mtu: number): void;
  /** Those of our outer addresses that this host has now. */
  handleLocalAddresses(now: Instant, addresses: readonly IpAddress[]): void;
  handleTimeout(now: Instant): void;
  pollOutput(): IkeOutput | undefined;
  pollTimeout(): Instant | undefined;
  /** IKE SAs in any state, also those that only keep an answer for a repeated request. */
  readonly size: number;
  /** Every IKE SA, in the order in which they came. */
  sas(): IkeSaView[];
  /** A peer's IKE SAs that are not closed, the newest last. */
  sasOf(peerId: string): IkeSaView[];
  /** Nothing is left but answers that a peer may want repeated. */
  readonly silent: boolean;
  /** Datagrams that were dropped, by reason. */
  readonly drops: Readonly<Record<string, number>>;
  /** How much is kept, by kind: everything here is given back when the IKE SAs are. */
  readonly kept: KeptCounts;
  readonly halfOpen: number;
}

export type KeptCounts = Readonly<Record<"sas" | "requests" | "deadlines" | "offers", number>>;
