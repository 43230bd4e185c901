/**
 * What an IKE endpoint must know about its peers. The gateway derives these from the configuration (which this
 * folder may not import); one connection with two tunnels yields two of them.
 */
import type { IpAddress } from "../../core/address.ts";
import { assumedPathMtu, type DontFragment } from "../../core/dataplane.ts";
import type { Secret } from "../../core/secret.ts";
import type { SelectorPair, TrafficSelector } from "../../core/traffic-selector.ts";

/** An identity of RFC 7296 §3.5. */
export type Identity =
  | { readonly kind: "address"; readonly address: IpAddress }
  | { readonly kind: "fqdn"; readonly fqdn: string }
  | { readonly kind: "email"; readonly email: string }
  | { readonly kind: "keyId"; readonly keyId: Uint8Array };

/** One proposal in transform numbers, each list in order of preference, and the operator's words for it. */
export interface ProposalSettings {
  readonly text: string;
  readonly encryption: readonly { readonly id: number; readonly keyBits: number | undefined }[];
  readonly integrity: readonly number[];
  readonly prf: readonly number[];
  readonly groups: readonly number[];
  /** RFC 9370: ADDKE types, ascending, each with its methods; 0 (NONE) means that it may be left out. */
  readonly additionalKeyExchanges?: readonly { readonly type: number; readonly methods: readonly number[] }[];
  /** EsnValue numbers of an ESP proposal; absent or empty: extended preferred, 32-bit accepted. */
  readonly esn?: readonly number[];
}

export interface PpkSettings {
  /** PPK_ID of the type PPK_ID_FIXED, without the type. */
  readonly id: Uint8Array;
  readonly secret: Secret;
  /** No IKE SA comes up without it. */
  readonly required: boolean;
}

export interface PeerSettings {
  /** Unique and stable: the key under which the gateway finds this peer again. */
  readonly id: string;
  /** Name of the connection, for records and logs. */
  readonly connection: string;
  /** Number of the connection in the data plane. */
  readonly connectionIndex: number;
  /** What we initiate, and what we answer: `auto` is IKEv2 as initiator, and either as responder. */
  readonly version: "ikev1" | "ikev2" | "auto";
  /** How phase 1 of IKEv1 is done, and no other way (RFC 2409 §5). */
  readonly mode: "main" | "aggressive";
  /** Our outer addresses that this peer may use, preferred first. */
  readonly local: readonly IpAddress[];
  /** Where the peer lives; several after a DNS answer. Empty: unknown for now. */
  readonly remote: readonly IpAddress[];
  /** The peer may call from anywhere: any-address and DNS peers, matched after those with a fitting address. */
  readonly roaming: boolean;
  readonly psk: Secret;
  /** A postquantum preshared key beside it (RFC 8784). */
  readonly ppk?: PpkSettings | undefined;
  /** undefined: our outer address. */
  readonly localId: Identity | undefined;
  /** undefined: the peer's outer address, or anybody when it is roaming. */
  readonly remoteId: Identity | undefined;
  readonly ikeProposals: readonly ProposalSettings[];
  readonly espProposals: readonly ProposalSettings[];
  /** RFC 6023. `force`: as initiator the first CHILD_SA is made after IKE_AUTH, with the PFS of its proposals. */
  readonly childless: "allow" | "force" | "never";
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  /** The pairs of them that should be able to talk, both ends of one family. */
  readonly pairs: readonly SelectorPair[];
  /** A CHILD_SA for each pair, or (false) one for all; `auto` finds out what the peer takes. */
  readonly perSubnetPair: boolean | "auto";
  readonly ikeLifetimeMs: number;
  readonly childLifetimeMs: number;
  /** Per CHILD_SA and direction; 0 is unlimited. */
  readonly childLifetimeBytes: number;
  readonly childLifetimePackets: number;
  /** Set up a new IKE SA in place of rekeying one. */
  readonly reauthenticate: boolean;
  /** As initiator, rekey the first CHILD_SA once soon after it is up. */
  readonly rehearseRekey: boolean;
  /** Packets. */
  readonly replayWindow: number;
  /** Bytes of outer packet that the path carries; `auto`: found out (`path-mtu.ts`). */
  readonly pathMtu: number | "auto";
  readonly dontFragment: DontFragment;
  /** RFC 4555, when the peer supports it too. */
  readonly mobike: boolean;
  /** undefined: no liveness checks. */
  readonly livenessIntervalMs: number | undefined;
  /**
   * How long an unanswered request on an established IKE SA is repeated before the peer counts as dead.
   * DEVIATION: RFC 7296 §2.4 suggests several minutes. A gateway that should be up gains more by starting anew.
   */
  readonly answerTimeoutMs: number;
  /** undefined: no NAT detection, ESP always as IP protocol 50. */
  readonly natTraversal: { readonly forceEncapsulation: boolean; readonly keepaliveMs: number } | undefined;
}

/** Bounds and times that are the endpoint's own. All in ms, counts, or factors. */
export interface EndpointLimits {
  /** Half-open IKE SAs as responder. At `cookieThreshold` initiators must first prove their address (§2.6). */
  readonly cookieThreshold: number;
  readonly halfOpenTotal: number;
  readonly halfOpenPerAddress: number;
  readonly halfOpenMs: number;
  readonly cookieSecretMs: number;
  /** First retransmission; each later one waits `backoff` times longer, up to `retransmitMaxMs`. */
  readonly retransmitMs: number;
  readonly retransmitBackoff: number;
  readonly retransmitMaxMs: number;
  /** How long an unanswered request is repeated while setting up, and in place of every peer's `answerTimeoutMs`. */
  readonly setupMs: number;
  readonly establishedMs?: number;
  /** A Delete is a courtesy: how long it is repeated. */
  readonly deleteMs: number;
  /** An unauthenticated error leaves this long for a genuine answer (§2.21.1). */
  readonly graceAfterErrorMs: number;
  /** How long the answer of a finished IKE SA is kept for a repeated request. */
  readonly lingerMs: number;
  /** How long an inbound SA that was replaced still receives packets that are on their way. */
  readonly inboundLingerMs: number;
  /**
   * How long a rekeyed SA waits for its creator's Delete before we act ourselves; longer than the usual
   * `answerTimeoutMs`, so that a creator that never got our answer still gets it repeated.
   */
  readonly rekeyedMs: number;
  /** An IKE SA that never got, or has lost, its CHILD_SA is closed by its responder after this time. */
  readonly childlessMs: number;
  /** CHILD_SAs of one IKE SA; while they are being rekeyed there may be twice as many. */
  readonly children: number;
  /** How long a responder waits for its peer to ask for the pairs that are missing, before it asks itself. */
  readonly pairGraceMs: number;
  /** Octets of an IP datagram above which an encrypted message is sent in fragments (RFC 7383 §2.5.1). */
  readonly fragmentIpBytes: number;
  /** The largest outer packet that is looked for, bytes. */
  readonly pathMtuCeiling: number;
  /** Octets of one message in fragments that are collected at most, and how long, from its first fragment. */
  readonly reassemblyBytes: number;
  readonly reassemblyMs: number;
  /** The part of a lifetime, 0 to 0.86, after which an SA is rekeyed at the earliest: see `softFraction`. */
  readonly rekeyFraction: number;
  /** How long a negotiation of the peer waits for its next additional key exchange (RFC 9370 §2.2.4). */
  readonly followUpMs: number;
  /** How long after the first CHILD_SA is up its rekey is rehearsed, ±50 %. */
  readonly rehearsalMs: number;
  /** After TEMPORARY_FAILURE or a collision, jittered. */
  readonly rekeyRetryMs: number;
  /** After a refusal that will hardly change: the longer of this and a part of what is left of the lifetime. */
  readonly refusedRetryMs: number;
}

/**
 * RFC 7296 sets no timers. Set-up gives up early because the gateway starts again with fresh DNS and keys; an
 * established SA is given longer, because losing it costs traffic.
 */
export const defaultLimits: EndpointLimits = {
  cookieThreshold: 64,
  halfOpenTotal: 1024,
  halfOpenPerAddress: 32,
  halfOpenMs: 30_000,
  cookieSecretMs: 60_000,
  retransmitMs: 500,
  retransmitBackoff: 1.8,
  retransmitMaxMs: 8_000,
  setupMs: 30_000,
  deleteMs: 3_000,
  graceAfterErrorMs: 3_000,
  lingerMs: 10_000,
  inboundLingerMs: 3_000,
  rekeyedMs: 40_000,
  childlessMs: 30_000,
  children: 256,
  pairGraceMs: 5_000,
  // What every IPv6 path carries (RFC 8200 §5), and in practice every IPv4 path.
  // DEVIATION: RFC 7383 §2.5.1 recommends 576 over IPv4; paths below 1280 are rarer than a lost fragment of three.
  fragmentIpBytes: 1280,
  pathMtuCeiling: assumedPathMtu,
  reassemblyBytes: 32_768,
  reassemblyMs: 30_000,
  rekeyFraction: 0.8,
  followUpMs: 30_000,
  rehearsalMs: 3_000,
  rekeyRetryMs: 10_000,
  refusedRetryMs: 30_000,
};
