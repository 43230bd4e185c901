/**
 * The gateway's one surface, sans-I/O: the daemon feeds inputs with `handle*`, drains `pollOutput` to empty, arms
 * `pollTimeout`, waits. The simulator drives the same surface with a virtual clock.
 *
 * IKE datagrams never include the 4-octet non-ESP marker: the data plane adds and strips it, by the one rule that
 * every IKE datagram whose local port is the NAT traversal port (4500) has it on the wire (RFC 7296 §2.23).
 */

import type { Endpoint, IpAddress, Prefix } from "../core/address.ts";
import type { DataPlaneEvent, ForwardingPlan, SaPath, SaSpec } from "../core/dataplane.ts";
import type { FailureRecord } from "../core/failure.ts";
import type { FailureCode } from "../core/failure-reasons.ts";
import type { Random } from "../core/random.ts";
import type { Secret } from "../core/secret.ts";
import type { Instant } from "../core/time.ts";
import type { KeyPairs } from "../ike/common/key-pairs.ts";
import type { EndpointLimits } from "../ike/common/settings.ts";
import type { IkeVersion, PathMtuStatus, Role } from "../ike/common/views.ts";
import type { InstalledSa } from "./audit.ts";
import type { GatewayEvent } from "./gateway-events.ts";

export type GatewayInput =
  | { readonly kind: "start" }
  | { readonly kind: "dataPlane"; readonly event: DataPlaneEvent }
  | { readonly kind: "command"; readonly command: GatewayCommand }
  /** Answer to `resolve`; empty when the name has no address. */
  | { readonly kind: "resolved"; readonly name: string; readonly addresses: readonly IpAddress[] }
  /** Those of `gateway.addresses` that this host has now; until the first of these it is taken to have all. */
  | { readonly kind: "localAddresses"; readonly addresses: readonly IpAddress[] }
  /** Answer to `installSa` or `updateSa` that the data plane did not carry out; `reason` is for the operator. */
  | {
      readonly kind: "refusedSa";
      readonly direction: "inbound" | "outbound";
      readonly spi: number;
      /** Where it was to lead. */
      readonly remote: IpAddress;
      readonly reason: string;
    }
  /** Every so often: what the data plane has installed, to be compared with what it should have. */
  | { readonly kind: "installed"; readonly sas: readonly InstalledSa[] }
  /** Delete every SA politely, then report `stopped`. */
  | { readonly kind: "shutdown" };

export type GatewayCommand =
  | { readonly verb: "up" | "down" | "reset"; readonly connection: string }
  /** Replaces the CHILD_SAs, or with `ike` the IKE SA, of each tunnel that is up; one that is being replaced is not again. */
  | { readonly verb: "rekey"; readonly connection: string; readonly ike: boolean };

export type GatewayOutput =
  | {
      readonly kind: "sendIke";
      readonly local: Endpoint;
      readonly remote: Endpoint;
      readonly datagram: Uint8Array;
      /** Nobody on the way may fragment it: a probe of the path MTU, which is lost where it is too big. */
      readonly unfragmented?: true;
    }
  /** A NAT keepalive: one octet 0xff, without marker (RFC 3948 §2.3). */
  | { readonly kind: "sendKeepalive"; readonly local: Endpoint; readonly remote: Endpoint }
  /** The receiver owns the secrets in `sa` and wipes them once the data plane has them. */
  | { readonly kind: "installSa"; readonly sa: SaSpec }
  | {
      readonly kind: "removeSa";
      readonly direction: "inbound" | "outbound";
      readonly spi: number;
      readonly remote: IpAddress;
    }
  /**
   * An installed SA takes another path in place, without loss: the SA and the plan's name for it follow. `remote` is
   * the peer's address so far.
   */
  | {
      readonly kind: "updateSa";
      readonly direction: "inbound" | "outbound";
      readonly spi: number;
      readonly remote: IpAddress;
      readonly path: SaPath;
    }
  | { readonly kind: "publish"; readonly plan: ForwardingPlan }
  /**
   * Kernel routes that should exist through the TUN device: the whole desired set. A published route stays while its
   * connection is configured, up or not, so that traffic can start the tunnel and never leaves in the clear.
   */
  | { readonly kind: "kernelRoutes"; readonly destinations: readonly Prefix[] }
  | { readonly kind: "resolve"; readonly name: string }
  | {
      readonly kind: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  /** Also an event of the stream. */
  | { readonly kind: "failure"; readonly record: FailureRecord }
  | { readonly kind: "event"; readonly event: GatewayEvent }
  /** Keys in Wireshark's words, one line of the file that `table` names. Only with `exportKeys`: reads all traffic. */
  | {
      readonly kind: "keylog";
      readonly table: "ikev2_decryption_table" | "ikev1_decryption_table" | "esp_sa";
      readonly line: string;
    }
  | { readonly kind: "stopped" };

/** What a gateway is given for its life. */
export interface GatewayDeps {
  readonly random: Random;
  readonly keyPairs: KeyPairs;
  /** Data plane workers, 1 to 256: inbound SPIs name one in their low bits. */
  readonly workers: number;
  /** Emit `keylog`: whoever has those lines reads all traffic. */
  readonly exportKeys: boolean;
  /** False when nobody reads log records of level `debug`: then none are made. */
  readonly debugLog?: boolean;
  /** When the last authentic ESP packet came on an inbound SA, on the clock of `now`; undefined: none. */
  readonly lastInbound?: (spi: number, remote: IpAddress) => Instant | undefined;
  /** 32 octets that survive a restart, for Quick Crash Detection (RFC 6290); without them no tokens are made. */
  readonly crashSecret?: Secret | undefined;
  /** For tests and unusual paths; every limit has a default. */
  readonly limits?: Partial<EndpointLimits>;
}

export interface GatewayMachine {
  handle(now: Instant, input: GatewayInput): void;
  handleTimeout(now: Instant): void;
  pollOutput(): GatewayOutput | undefined;
  pollTimeout(): Instant | undefined;
  /** How many connections are up, of how many: cheap, where `status` costs what all of them cost. */
  readonly connectionCount: { readonly up: number; readonly all: number };
  /** The whole state for an operator: plain JSON, no secrets. */
  status(now: Instant): GatewayStatus;
}

/** Times are milliseconds on the clock of `now`. */
export interface GatewayStatus {
  readonly name: string;
  readonly ike: {
    readonly halfOpen: number;
    /** IKE SAs in any state, also those that only keep an answer for a repeated request. */
    readonly sas: number;
    /** Inbound SPIs that are taken: installed, or offered to a peer. */
    readonly inboundSpis: number;
    /** Datagrams dropped without effect, by reason (`ikeDrops`). */
    readonly drops: Readonly<Record<string, number>>;
  };
  readonly connections: readonly ConnectionStatus[];
}

export interface ConnectionStatus {
  readonly name: string;
  /** Every configured connection is listed, up or not. */
  readonly state: "down" | "waiting" | "connecting" | "up" | "disabled";
  readonly sinceMs: number;
  /** What is weak about it and why, as `md5: MD5 is broken (RFC 8247)`. */
  readonly weak: readonly string[];
  readonly tunnels: readonly TunnelStatus[];
  readonly lastFailure: (FailureRecord & { readonly atMs: number }) | undefined;
  /** The last few different failures, the newest first; `times`: how often in a row. */
  readonly failures: readonly (Pick<FailureRecord, "code" | "peer" | "difference"> & {
    readonly atMs: number;
    readonly times: number;
  })[];
  /** What failed while the tunnel went on working: it will hurt later. Gone when it succeeds. */
  readonly warnings: readonly (FailureRecord & { readonly atMs: number })[];
  readonly counts: ConnectionCounts;
}

/** Since the daemon started. */
export interface ConnectionCounts {
  /** IKE SAs that got as far as being authenticated, by our role; a rekey is not a handshake. */
  readonly handshakesInitiated: number;
  readonly handshakesAnswered: number;
  readonly ikeRekeys: number;
  readonly childRekeys: number;
  readonly failures: Readonly<Partial<Record<FailureCode, number>>>;
}

export interface TunnelStatus {
  readonly customerGateway: string;
  readonly local: string | undefined;
  readonly remote: string | undefined;
  readonly localId: string | undefined;
  readonly remoteId: string | undefined;
  readonly state: "down" | "waiting" | "connecting" | "up";
  readonly ike:
    | {
        readonly version: IkeVersion;
        /** How IKEv1 was set up. */
        readonly mode: "main" | "aggressive" | undefined;
        readonly spiInitiator: string;
        readonly spiResponder: string;
        readonly role: Role;
        readonly suite: string;
        readonly ageMs: number;
        readonly rekeyInMs: number | undefined;
        readonly nat: "none" | "local" | "remote" | "both" | "forced";
        readonly handshakeMs: number;
      }
    | undefined;
  /** What the path carries, bytes of outer packet, and how that is known; see `docs/operations.md`. */
  readonly pathMtu:
    | {
        readonly bytes: number;
        readonly state: PathMtuStatus;
      }
    | undefined;
  /** The (local, remote) pairs of subnets that should be able to talk, when there is more than one. */
  readonly pairs:
    | {
        readonly total: number;
        readonly up: number;
        /** Those that no CHILD_SA carries, at most `maxMissingPairs` of them. */
        readonly missing: readonly {
          readonly local: string;
          readonly remote: string;
          /** What the peer said to the last request for it; undefined: it was not asked, or lost it again. */
          readonly refusal: string | undefined;
        }[];
      }
    | undefined;
  readonly children: readonly {
    readonly spiIn: number;
    readonly spiOut: number;
    readonly suite: string;
    readonly encapsulation: "esp" | "udp";
    /** The largest inner packet that its outer packets carry whole, bytes. */
    readonly innerMtu: number;
    readonly localSelectors: readonly string[];
    readonly remoteSelectors: readonly string[];
    readonly ageMs: number;
    readonly rekeyInMs: number | undefined;
  }[];
}
