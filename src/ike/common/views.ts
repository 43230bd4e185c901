/**
 * What the owner of IKE SAs reads of them, whichever version of IKE made them: IKEv2's IKE SAs and CHILD_SAs, IKEv1's
 * ISAKMP SAs and IPsec SAs. Both satisfy these types structurally; nothing here is written from outside.
 */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { Encapsulation, SaSpec } from "../../core/dataplane.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { Instant } from "../../core/time.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import type { EspSuite } from "../../registry/index.ts";
import type { PeerSettings } from "./settings.ts";

/** The major version of the header: 1 is ISAKMP (RFC 2408 §3.1). */
export type IkeVersion = 1 | 2;

export type Role = "initiator" | "responder";

/** A pair of IPsec SAs. */
export interface ChildSaView {
  /** Its state, each version's own; `LINGERING` in both: only the inbound SA is left, for what was under way. */
  readonly state: { readonly name: string };
  /** Ours: what the peer puts into its packets to us. */
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  readonly encapsulation: Encapsulation;
  readonly local: IpAddress;
  readonly remote: IpAddress;
  readonly pathMtu?: number | undefined;
  readonly installedAt: Instant;
  /** Directions that the data plane refused or lost: there is nothing to use or remove. */
  readonly refused: ReadonlySet<SaSpec["direction"]>;
  readonly rekeyAt: Instant | undefined;
}

/** An IKE SA, or an ISAKMP SA. */
export interface IkeSaView {
  readonly version: IkeVersion;
  readonly role: Role;
  readonly createdAt: Instant;
  readonly spiLocal: bigint;
  /** 0 until the peer has named its own. */
  readonly spiRemote: bigint;
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Whose it is, once that is known. */
  readonly peer: PeerSettings | undefined;
  readonly nat: Nat;
  /** By our inbound SPI. */
  readonly children: ReadonlyMap<number, ChildSaView>;
  readonly localId: string | undefined;
  readonly remoteId: string | undefined;
  /** From the first message to the authenticated state. */
  readonly handshakeMs: number;
  readonly rekeyAt: Instant | undefined;
  readonly expiresAt: Instant | undefined;
  /** When it must be set up anew in full. */
  readonly reauthAt: Instant | undefined;
  /** The one whose place this one is to take, made by us; that one works on meanwhile. */
  readonly replaces: IkeSaView | undefined;
  readonly state: { readonly name: string };
  /** True between authentication and the decision to end. */
  readonly established: boolean;
  /** When it was authenticated; before that, when it was made. */
  readonly establishedAt: Instant;
  /** True while we are the responder to somebody who has proven nothing. */
  readonly halfOpen: boolean;
  /** True while an attempt of ours waits for the peer. */
  readonly connecting: boolean;
  /** True when nothing is left but an answer that the peer may want repeated. */
  readonly closed: boolean;
  /** What was agreed for the protection of IKE itself, as an operator writes it; undefined before that. */
  readonly suiteText: string | undefined;
  /** Of several with one peer, whose SAs should carry packets: the lowest, and of equals the newest. */
  readonly preference: number;
  /** The children that may carry packets, preferred first. */
  outbound(): readonly ChildSaView[];
  /** One for each of `peer.pairs`; undefined when nothing keeps them up. */
  pairStates(): readonly PairState[] | undefined;
  /** What the path carries, bytes of outer packet, and how that is known. */
  readonly path: PathMtuView;
  /** No exchange of ours waits or is under way. */
  readonly idle: boolean;
  /** Exchanges under way, of either side, that may make a child: each may hold an inbound SPI for it. */
  readonly negotiations: number;
  /** Exchanges of ours that wait. */
  readonly backlog: number;
}

/** What has become of one of the peer's pairs of selectors. */
export type PairState =
  | { readonly name: "up" }
  /** Never asked for, or lost: asked for (again) at some time, if this side asks at all. */
  | { readonly name: "missing" }
  | { readonly name: "refused"; readonly record: FailureRecord };

export interface PathMtuView {
  readonly bytes: number;
  readonly state: PathMtuStatus;
}

export type PathMtuState =
  /** The size in use is assumed, and being probed. */
  | "checking"
  /** The size in use was answered; larger ones are being tried. */
  | "searching"
  /** The size in use is the largest that was answered. */
  | "complete";

export type PathMtuStatus = PathMtuState | "configured" | "unsupported";

export interface Nat {
  /** Both sides can find NATs, and said so. */
  readonly supported: boolean;
  /** A NAT changes our address on the way. */
  readonly local: boolean;
  /** A NAT changes the peer's address, or the peer wants us to think so. */
  readonly remote: boolean;
  /** We want UDP encapsulation whatever the path is. */
  readonly forced: boolean;
}

export const unencapsulated: Nat = { supported: false, local: false, remote: false, forced: false };

/** With a NAT in between both sides must encapsulate; without one we do only when told to. */
export function encapsulates({ supported, local, remote, forced }: Nat): boolean {
  return supported && (local || remote || forced);
}
