/**
 * The vocabulary between the control plane and the data plane: plain values, no I/O.
 * `src/dataplane` carries these to the addon; the simulator's fake data plane consumes the same.
 */
import type { Endpoint, IpAddress, Prefix } from "./address.ts";
import type { Secret } from "./secret.ts";
import type { TrafficSelector } from "./traffic-selector.ts";

/** Bytes; Ethernet's. What every path is taken to carry until more is known of it. */
export const assumedPathMtu = 1500;

/** What becomes of DF in the outer IPv4 header (RFC 4301 §8.1). */
export type DontFragment = "clear" | "copy" | "set";

/** How ESP travels: raw IP protocol 50, or in UDP (RFC 3948). */
export type Encapsulation =
  | { readonly kind: "esp" }
  | { readonly kind: "udp"; readonly localPort: number; readonly remotePort: number };

/** Where the packets of one SA go and come from: what changes when a peer moves (RFC 7296 §2.23, RFC 4555 §3.5). */
export interface SaPath {
  readonly local: IpAddress;
  readonly remote: IpAddress;
  readonly encapsulation: Encapsulation;
  /** Bytes of outer packet that the path is known to carry; undefined: what the data plane assumes of every path. */
  readonly pathMtu?: number | undefined;
}

/** One direction of one IPsec SA (RFC 4301 §4.4.2), complete: everything a packet needs. */
export interface SaSpec extends SaPath {
  readonly direction: "inbound" | "outbound";
  /** 256 to 2^32 − 1. Inbound SPIs come from `allocateSpi` rules: low bits name the worker. */
  readonly spi: number;
  /** Number of the connection in the plan: 0 to 65535, stable while the connection exists. */
  readonly connection: number;
  /** IANA ENCR and AUTH transform ids; `integ` is 0 for AEAD. */
  readonly encr: number;
  readonly encrKeyBits: number;
  readonly integ: number;
  /** Encryption key followed by the salt where the algorithm has one. */
  readonly encrKey: Secret;
  /** Integrity key; empty for AEAD. */
  readonly integKey: Secret;
  readonly esn: boolean;
  /** Packets; 0 disables the check. Inbound only. */
  readonly replayWindow: number;
  /** Selectors as seen from here: what local hosts may send and remote hosts may send. */
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  /** Both sides said NON_FIRST_FRAGMENTS_ALSO: only matters to selectors that name ports (RFC 4301 §7.3). */
  readonly nonFirstFragments?: boolean;
  /** Outbound only; undefined: clear. */
  readonly dontFragment?: DontFragment;
  /** 0 means no limit. Crossing a soft limit emits `softLifetime` once; the hard limit stops the SA. */
  readonly softBytes: number;
  readonly hardBytes: number;
  readonly softPackets: number;
  readonly hardPackets: number;
}

/** Totals of one SA; final when returned by `removeSa`. */
export interface SaTotals {
  readonly packets: number;
  readonly bytes: number;
  /** Highest sequence number sent or accepted. */
  readonly sequence: number;
  /** Monotonic milliseconds of the last packet, 0 when there was none. */
  readonly lastUsedMs: number;
}

/** Which connection takes a packet. Tables are in the order in which they are consulted. */
export interface ForwardingPlan {
  /** First match wins: already sorted by priority, then by longest source and destination. */
  readonly policyRoutes: readonly {
    readonly source: Prefix;
    readonly destination: Prefix;
    readonly connection: number;
  }[];
  /** Longest prefix wins. One row per prefix: weights and health were resolved by the control plane. */
  readonly destinationRoutes: readonly { readonly destination: Prefix; readonly connection: number }[];
  /** For each connection, the SPIs of the outbound SAs that may carry its packets, preferred first. */
  readonly connections: readonly {
    readonly connection: number;
    readonly outbound: readonly { readonly spi: number; readonly remote: IpAddress }[];
  }[];
}

/** Everything the data plane tells the control plane, in one ordered stream. */
export type DataPlaneEvent =
  | {
      readonly kind: "ike";
      readonly local: Endpoint;
      readonly remote: Endpoint;
      readonly datagram: Uint8Array;
    }
  | {
      readonly kind: "acquire";
      readonly connection: number;
      readonly source: IpAddress;
      readonly destination: IpAddress;
      readonly protocol: number;
      readonly sourcePort: number;
      readonly destinationPort: number;
    }
  | {
      readonly kind: "softLifetime";
      readonly spi: number;
      readonly direction: "inbound" | "outbound";
      readonly remote: IpAddress;
    }
  | {
      readonly kind: "hardLifetime";
      readonly spi: number;
      readonly direction: "inbound" | "outbound";
      readonly remote: IpAddress;
    }
  /** The first packet of inbound SA `spi` was accepted: the peer has it, and with it our outbound one. */
  | { readonly kind: "saInUse"; readonly spi: number }
  | { readonly kind: "peerMoved"; readonly spi: number; readonly remote: Endpoint }
  | {
      readonly kind: "probeReply";
      readonly connection: number;
      readonly id: number;
      readonly sequence: number;
      readonly roundTripMs: number;
    }
  /** The kernel or an ICMP error says that the path to `remote` carries only `mtu` bytes: nothing proves it. */
  | { readonly kind: "pathMtu"; readonly remote: IpAddress; readonly mtu: number };
