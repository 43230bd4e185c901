/**
 * The configuration after parsing, defaults and rules: what the rest of culvert sees. No optional that has a default
 * survives to here. The schema that produces it is `schema.ts`; names follow the file's keys.
 */
import type { Endpoint, IpAddress, Prefix } from "../core/address.ts";
import type { DontFragment } from "../core/dataplane.ts";
import type { Secret } from "../core/secret.ts";

export interface Config {
  readonly gateway: GatewayConfig;
  readonly connections: readonly ConnectionConfig[];
  readonly routes: RoutesConfig;
  /** Things that work and deserve a word: weak algorithms, a connection without a route. */
  readonly warnings: readonly ConfigWarning[];
}

export interface ConfigWarning {
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

export interface GatewayConfig {
  readonly name: string;
  readonly addresses: readonly IpAddress[];
  readonly tun: { readonly name: string; readonly mtu: number | "auto" };
  readonly workers: number | "auto";
  /** How long a data plane thread that found nothing looks on before it sleeps, 0 to 10000. */
  readonly busyPollMicroseconds: number;
  readonly replayWindow: number;
  /** `listen`: where GET /metrics is answered; a loopback address. */
  readonly metrics: { readonly listen?: Endpoint | undefined };
}

export interface CustomerGatewayConfig {
  readonly name: string;
  readonly address: PeerAddress;
  readonly asn: number | undefined;
}

/** `any` is a peer whose address is unknown until it calls: responder only. */
export type PeerAddress =
  | { readonly kind: "ip"; readonly address: IpAddress }
  | { readonly kind: "dns"; readonly name: string }
  | { readonly kind: "any" };

/** An identity of RFC 7296 §3.5. */
export type Identity =
  | { readonly kind: "address"; readonly address: IpAddress }
  | { readonly kind: "fqdn"; readonly fqdn: string }
  | { readonly kind: "email"; readonly email: string }
  | { readonly kind: "keyId"; readonly keyId: Uint8Array };

/** One proposal: transform numbers in order of preference per kind, and the operator's own words for messages. */
export interface ProposalConfig {
  readonly text: string;
  readonly encryption: readonly { readonly id: number; readonly keyBits: number | undefined }[];
  readonly integrity: readonly number[];
  /** PRFs; empty in an ESP proposal. */
  readonly prf: readonly number[];
  /** DH groups; in an ESP proposal they mean PFS. */
  readonly groups: readonly number[];
  /** RFC 9370: transform types ADDKE1 to ADDKE7, each with its methods; absent or empty: none. */
  readonly additionalKeyExchanges?: readonly { readonly type: number; readonly methods: readonly number[] }[];
  /** ESP: extended sequence numbers by preference (RFC 7296 §3.3.2, type 5); empty when the operator named none. */
  readonly esn?: readonly number[];
  /** Words that work and are in no default, each with the reason. */
  readonly weak?: readonly { readonly keyword: string; readonly reason: string }[];
}

export interface PpkConfig {
  readonly id: string;
  readonly secret: Secret;
  /** No IKE SA without it. */
  readonly required: boolean;
}

export interface ConnectionConfig {
  readonly name: string;
  /** Stable number for the data plane, 0 to 65535: the order in the file. */
  readonly index: number;
  /** One or two peers, the preferred first. */
  readonly tunnels: readonly CustomerGatewayConfig[];
  readonly routing: "destination" | "protected-data-flows";
  readonly localSubnets: readonly Prefix[];
  readonly remoteSubnets: readonly Prefix[];
  readonly start: "immediately" | "on-traffic" | "passive";
  readonly psk: Secret;
  readonly ike: {
    readonly version: "ikev1" | "ikev2" | "auto";
    readonly mode: "main" | "aggressive";
    readonly proposals: readonly ProposalConfig[];
    readonly lifetimeSeconds: number;
    /** RFC 6023: the first CHILD_SA after IKE_AUTH instead of in it. */
    readonly reauthenticate: boolean;
    readonly childless: "allow" | "force" | "never";
    /** RFC 4555. */
    readonly mobike: boolean;
    readonly localId: Identity | undefined;
    readonly remoteId: Identity | undefined;
    /** A postquantum preshared key (RFC 8784). */
    readonly ppk?: PpkConfig | undefined;
  };
  readonly ipsec: {
    readonly proposals: readonly ProposalConfig[];
    readonly lifetimeSeconds: number;
    readonly lifetimeKilobytes: number;
    readonly lifetimePackets: number;
    readonly rehearseRekey: boolean;
    readonly perSubnetPair: boolean | "auto";
    /** Bytes of outer packet. */
    readonly pathMtu: number | "auto";
    readonly dontFragment: DontFragment;
  };
  readonly dpd: {
    readonly enabled: boolean;
    readonly intervalSeconds: number;
    readonly timeoutSeconds: number;
    readonly action: "restart" | "clear";
  };
  readonly natTraversal: {
    readonly enabled: boolean;
    readonly forceEncapsulation: boolean;
    readonly keepaliveSeconds: number;
  };
  readonly healthCheck: {
    readonly enabled: boolean;
    readonly source: IpAddress | undefined;
    readonly destination: IpAddress | undefined;
    readonly intervalSeconds: number;
    readonly retries: number;
    readonly switchRoute: boolean;
  };
  readonly bgp: {
    readonly enabled: boolean;
    readonly tunnelCidr?: Prefix | undefined;
    readonly localAddress?: IpAddress | undefined;
    readonly localAsn?: number | undefined;
  };
}

export interface RoutesConfig {
  readonly destination: readonly DestinationRouteConfig[];
  readonly policy: readonly PolicyRouteConfig[];
}

export interface DestinationRouteConfig {
  readonly destination: Prefix;
  readonly connection: string;
  readonly weight: number;
  readonly publish: boolean;
}

export interface PolicyRouteConfig {
  readonly source: Prefix;
  readonly destination: Prefix;
  readonly connection: string;
  readonly weight: number;
  readonly priority: number;
}
