/** The configuration as it takes effect, in the file's own keys, with every default written out and no secret. */
import { formatEndpoint } from "../core/address.ts";
import type { Config, ConnectionConfig, CustomerGatewayConfig, Identity, PeerAddress } from "./model.ts";
import { sharedAddressSpace } from "./values.ts";

/** Plain JSON. Apart from the keys, which it lacks, a file with these contents means the same configuration. */
export function explainConfig(config: Config) {
  const { listen } = config.gateway.metrics;
  return {
    gateway: {
      name: config.gateway.name,
      addresses: config.gateway.addresses.map(String),
      tun: { name: config.gateway.tun.name, mtu: config.gateway.tun.mtu },
      workers: config.gateway.workers,
      busyPollMicroseconds: config.gateway.busyPollMicroseconds,
      replayWindow: config.gateway.replayWindow,
      metrics: optional({ listen: listen && formatEndpoint(listen) }),
    },
    customerGateways: Object.fromEntries(
      config.connections.flatMap(({ tunnels }) => tunnels.map((t) => [t.name, explainCustomerGateway(t)])),
    ),
    connections: Object.fromEntries(config.connections.map((c) => [c.name, explainConnection(c)])),
    routes: {
      destination: config.routes.destination.map((route) => ({
        destination: `${route.destination}`,
        connection: route.connection,
        weight: route.weight,
        publish: route.publish,
      })),
      policy: config.routes.policy.map((route) => ({
        source: `${route.source}`,
        destination: `${route.destination}`,
        connection: route.connection,
        weight: route.weight,
        priority: route.priority,
      })),
    },
  };
}

function explainCustomerGateway({ address, asn }: CustomerGatewayConfig) {
  const shared = address.kind === "ip" && sharedAddressSpace.contains(address.address);
  return { address: formatPeer(address), ...optional({ asn }), allowSharedAddressSpace: shared };
}

function explainConnection(connection: ConnectionConfig) {
  const { tunnels, ike, ipsec, dpd, natTraversal, healthCheck, bgp } = connection;
  const names = tunnels.map((tunnel) => tunnel.name);
  return {
    ...(names.length === 1 ? { customerGateway: names[0] } : { tunnels: names }),
    routing: connection.routing,
    localSubnets: connection.localSubnets.map(String),
    remoteSubnets: connection.remoteSubnets.map(String),
    start: connection.start,
    ike: {
      version: ike.version,
      mode: ike.mode,
      proposals: ike.proposals.map((proposal) => proposal.text),
      lifetimeSeconds: ike.lifetimeSeconds,
      reauthenticate: ike.reauthenticate,
      childless: ike.childless,
      mobike: ike.mobike,
      ...optional({ localId: formatIdentity(ike.localId), remoteId: formatIdentity(ike.remoteId) }),
    },
    ipsec: {
      proposals: ipsec.proposals.map((proposal) => proposal.text),
      lifetimeSeconds: ipsec.lifetimeSeconds,
      lifetimeKilobytes: ipsec.lifetimeKilobytes,
      lifetimePackets: ipsec.lifetimePackets,
      rehearseRekey: ipsec.rehearseRekey,
      perSubnetPair: ipsec.perSubnetPair,
      pathMtu: ipsec.pathMtu,
      dontFragment: ipsec.dontFragment,
    },
    dpd: {
      enabled: dpd.enabled,
      intervalSeconds: dpd.intervalSeconds,
      timeoutSeconds: dpd.timeoutSeconds,
      action: dpd.action,
    },
    natTraversal: {
      enabled: natTraversal.enabled,
      forceEncapsulation: natTraversal.forceEncapsulation,
      keepaliveSeconds: natTraversal.keepaliveSeconds,
    },
    healthCheck: {
      enabled: healthCheck.enabled,
      ...optional({
        source: healthCheck.source?.toString(),
        destination: healthCheck.destination?.toString(),
      }),
      intervalSeconds: healthCheck.intervalSeconds,
      retries: healthCheck.retries,
      switchRoute: healthCheck.switchRoute,
    },
    bgp: {
      enabled: bgp.enabled,
      ...optional({
        tunnelCidr: bgp.tunnelCidr?.toString(),
        localAddress: bgp.localAddress?.toString(),
        localAsn: bgp.localAsn,
      }),
    },
  };
}

export function formatPeer(peer: PeerAddress): string {
  if (peer.kind === "ip") return `${peer.address}`;
  return peer.kind === "dns" ? peer.name : "any";
}

function formatIdentity(identity: Identity | undefined): string | { readonly keyId: string } | undefined {
  switch (identity?.kind) {
    case undefined:
      return undefined;
    case "address":
      return `${identity.address}`;
    case "fqdn":
      return identity.fqdn;
    case "email":
      return identity.email;
    case "keyId": {
      const hex = [...identity.keyId].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      return { keyId: `0x${hex}` };
    }
  }
}

/** Without the keys that have no value: in the file, absent is how one writes undefined. */
function optional<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
