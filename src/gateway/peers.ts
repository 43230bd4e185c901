/** From the configuration to what the IKE endpoint knows of its peers: one per tunnel of a connection. */

import type { Config, ConnectionConfig, CustomerGatewayConfig } from "../config/model.ts";
import { type IpAddress, Prefix } from "../core/address.ts";
import { type SelectorPair, selectorFromPrefix, type TrafficSelector } from "../core/traffic-selector.ts";
import type { PeerSettings } from "../ike/common/settings.ts";

/** `remote`: where a named peer lives, as last resolved. */
export function peerSettings(
  config: Config,
  connection: ConnectionConfig,
  tunnel: number,
  resolved: readonly IpAddress[],
): PeerSettings {
  const { ike, ipsec, dpd, natTraversal } = connection;
  const localSelectors = selectors(connection, connection.localSubnets);
  const remoteSelectors = selectors(connection, connection.remoteSubnets);
  const { address } = connection.tunnels[tunnel]!;
  return {
    id: peerId(connection, tunnel),
    connection: connection.name,
    connectionIndex: connection.index,
    version: ike.version,
    mode: ike.mode,
    local: config.gateway.addresses,
    remote: address.kind === "ip" ? [address.address] : resolved,
    roaming: address.kind !== "ip",
    psk: connection.psk,
    ppk: ike.ppk && { ...ike.ppk, id: new TextEncoder().encode(ike.ppk.id) },
    localId: ike.localId,
    remoteId: ike.remoteId,
    ikeProposals: ike.proposals,
    espProposals: ipsec.proposals,
    childless: ike.childless,
    reauthenticate: ike.reauthenticate,
    // Without NAT traversal a basic NAT on the way is to be lived with, which MOBIKE would forbid (RFC 4555 §3.9).
    mobike: ike.mobike && natTraversal.enabled,
    localSelectors,
    remoteSelectors,
    pairs: pairs(config, connection, localSelectors, remoteSelectors),
    perSubnetPair: ipsec.perSubnetPair,
    ikeLifetimeMs: ike.lifetimeSeconds * 1000,
    childLifetimeMs: ipsec.lifetimeSeconds * 1000,
    childLifetimeBytes: ipsec.lifetimeKilobytes * 1024,
    childLifetimePackets: ipsec.lifetimePackets,
    rehearseRekey: ipsec.rehearseRekey,
    pathMtu: ipsec.pathMtu,
    dontFragment: ipsec.dontFragment,
    replayWindow: config.gateway.replayWindow,
    answerTimeoutMs: dpd.timeoutSeconds * 1000,
    livenessIntervalMs: dpd.enabled ? dpd.intervalSeconds * 1000 : undefined,
    natTraversal: natTraversal.enabled
      ? {
          forceEncapsulation: natTraversal.forceEncapsulation,
          keepaliveMs: natTraversal.keepaliveSeconds * 1000,
        }
      : undefined,
  };
}

export const peerId = (connection: ConnectionConfig, tunnel: number): string =>
  `${connection.name}/${tunnel}`;

export function addressText({ address }: CustomerGatewayConfig): string {
  return address.kind === "ip" ? address.address.toString() : address.kind === "dns" ? address.name : "any";
}

/** Destination routing negotiates everything, because routes decide; protected data flows are the selectors. */
function selectors(connection: ConnectionConfig, subnets: readonly Prefix[]): TrafficSelector[] {
  const prefixes = connection.routing === "destination" ? [Prefix.any(4), Prefix.any(6)] : subnets;
  return prefixes.map(selectorFromPrefix);
}

/** Each local with each remote of its family. Under destination routing the routes say which families are wanted. */
function pairs(
  { routes }: Config,
  connection: ConnectionConfig,
  localSelectors: readonly TrafficSelector[],
  remoteSelectors: readonly TrafficSelector[],
): SelectorPair[] {
  const routed =
    connection.routing === "destination" ? routedFamilies(routes).get(connection.name) : undefined;
  const wanted = (family: number) =>
    connection.routing === "protected-data-flows" || routed?.has(family) === true;
  return localSelectors.flatMap((local) =>
    remoteSelectors
      .filter((remote) => remote.startAddress.family === local.startAddress.family)
      .filter((remote) => wanted(remote.startAddress.family))
      .map((remote) => ({ local, remote })),
  );
}

/** The families of each connection's routes: looked for once, not once for each of thousands of connections. */
function routedFamilies(routes: Config["routes"]): ReadonlyMap<string, ReadonlySet<number>> {
  let families = familiesOf.get(routes);
  if (!families) {
    families = new Map();
    for (const { connection, destination } of [...routes.destination, ...routes.policy]) {
      const own = families.get(connection);
      if (own) own.add(destination.family);
      else families.set(connection, new Set([destination.family]));
    }
    familiesOf.set(routes, families);
  }
  return families;
}

const familiesOf = new WeakMap<Config["routes"], Map<string, Set<number>>>();
