import type { Config, ConnectionConfig, PeerAddress, ProposalConfig } from "../../src/config/model.ts";
import { IpAddress, Prefix } from "../../src/core/address.ts";
import { Secret } from "../../src/core/secret.ts";
import { parseProposal } from "../../src/registry/index.ts";

export interface SiteOptions {
  readonly name?: string;
  /** Our outer addresses. */
  readonly addresses?: readonly string[];
  /** The peer: an address, a DNS name, or `any`. */
  readonly peers?: readonly string[];
  readonly start?: ConnectionConfig["start"];
  readonly psk?: string;
  readonly ppk?: { readonly id: string; readonly secret: string; readonly required: boolean };
  /** Of IKE; `ikev2` unless told otherwise. */
  readonly version?: ConnectionConfig["ike"]["version"];
  readonly mode?: ConnectionConfig["ike"]["mode"];
  readonly ike?: readonly string[];
  readonly esp?: readonly string[];
  readonly localSubnets?: readonly string[];
  readonly remoteSubnets?: readonly string[];
  readonly routing?: ConnectionConfig["routing"];
  readonly localId?: ConnectionConfig["ike"]["localId"];
  readonly remoteId?: ConnectionConfig["ike"]["remoteId"];
  readonly natTraversal?: Partial<ConnectionConfig["natTraversal"]>;
  readonly dpd?: Partial<ConnectionConfig["dpd"]>;
  readonly ikeLifetimeSeconds?: number;
  readonly reauthenticate?: boolean;
  readonly mobike?: boolean;
  readonly childless?: ConnectionConfig["ike"]["childless"];
  readonly lifetimeSeconds?: number;
  readonly rehearseRekey?: boolean;
  readonly perSubnetPair?: boolean | "auto";
  readonly pathMtu?: number | "auto";
  readonly lifetimeKilobytes?: number;
  readonly lifetimePackets?: number;
}

/** A configuration with one connection, as the schema would produce it. */
export function siteConfig(options: SiteOptions): Config {
  const address = options.addresses ?? ["192.0.2.1"];
  const routes = (options.remoteSubnets ?? ["10.2.0.0/16"]).map((text) => ({
    destination: Prefix.parse(text),
    connection: "site",
    weight: 100,
    publish: true,
  }));
  return {
    gateway: {
      name: options.name ?? "gateway",
      addresses: address.map((a) => IpAddress.parse(a)),
      tun: { name: "culvert0", mtu: "auto" },
      workers: 1,
      busyPollMicroseconds: 0,
      replayWindow: 4096,
      metrics: {},
    },
    connections: [connectionConfig(options)],
    routes: { destination: options.routing === "protected-data-flows" ? [] : routes, policy: [] },
    warnings: [],
  };
}

export function connectionConfig(options: SiteOptions, name = "site", index = 0): ConnectionConfig {
  return {
    name,
    index,
    tunnels: (options.peers ?? ["198.51.100.7"]).map((peer, i) => ({
      name: `peer${i}`,
      address: peerAddress(peer),
      asn: undefined,
    })),
    routing: options.routing ?? "destination",
    localSubnets: (options.localSubnets ?? []).map((p) => Prefix.parse(p)),
    remoteSubnets: (options.remoteSubnets ?? []).map((p) => Prefix.parse(p)),
    start: options.start ?? "immediately",
    psk: Secret.fromText(options.psk ?? "correct horse battery staple"),
    ike: {
      version: options.version ?? "ikev2",
      mode: options.mode ?? "main",
      proposals: (options.ike ?? ikeOf[options.version ?? "ikev2"]).map(proposal("ike")),
      lifetimeSeconds: options.ikeLifetimeSeconds ?? 86400,
      reauthenticate: options.reauthenticate ?? false,
      childless: options.childless ?? "allow",
      mobike: options.mobike ?? true,
      localId: options.localId,
      remoteId: options.remoteId,
      ppk: options.ppk && { ...options.ppk, secret: Secret.fromText(options.ppk.secret) },
    },
    ipsec: {
      proposals: (options.esp ?? ["aes128gcm16"]).map(proposal("esp")),
      lifetimeSeconds: options.lifetimeSeconds ?? 86400,
      lifetimeKilobytes: options.lifetimeKilobytes ?? 0,
      lifetimePackets: options.lifetimePackets ?? 0,
      // The other scenarios count messages: those about rehearsals ask for one.
      rehearseRekey: options.rehearseRekey ?? false,
      perSubnetPair: options.perSubnetPair ?? "auto",
      // As with rehearsals: probes are messages.
      pathMtu: options.pathMtu ?? 1500,
      dontFragment: "clear",
    },
    dpd: { enabled: true, intervalSeconds: 10, timeoutSeconds: 30, action: "restart", ...options.dpd },
    natTraversal: { enabled: true, forceEncapsulation: false, keepaliveSeconds: 20, ...options.natTraversal },
    healthCheck: {
      enabled: false,
      source: undefined,
      destination: undefined,
      intervalSeconds: 3,
      retries: 3,
      switchRoute: true,
    },
    bgp: { enabled: false },
  };
}

/** Cheap to compute, and known to the version. */
const ikeOf = {
  ikev1: ["aes128-sha256-ecp256"],
  ikev2: ["aes128gcm16-prfsha256-x25519"],
  auto: ["aes128gcm16-prfsha256-x25519", "aes128-sha256-ecp256"],
} as const;

const proposal =
  (use: "ike" | "esp") =>
  (text: string): ProposalConfig =>
    parseProposal(text, use);

function peerAddress(text: string): PeerAddress {
  if (text === "any") return { kind: "any" };
  const address = IpAddress.tryParse(text);
  return address ? { kind: "ip", address } : { kind: "dns", name: text };
}
