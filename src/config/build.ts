/** From the file as it was read to what the rest of culvert sees: names resolved, zeros that mean a default replaced. */
import type { Secret } from "../core/secret.ts";
import { defaultProposals } from "./ikev1.ts";
import type { Config, ConnectionConfig, CustomerGatewayConfig } from "./model.ts";
import { defaultLifetimeSeconds, type FileConfig, type FileConnection } from "./schema.ts";

/** `file` broke no rule. `order`: names of the connections as the file has them. */
export function buildConfig(
  file: FileConfig,
  order: readonly string[],
  secretsOf: (name: string) => Secrets,
): Config {
  return {
    gateway: file.gateway,
    connections: order.map((name, index) => buildConnection(file, name, index, secretsOf(name))),
    routes: file.routes,
    warnings: [],
  };
}

interface Secrets {
  readonly psk: Secret;
  readonly ppk: Secret | undefined;
}

function buildConnection(
  file: FileConfig,
  name: string,
  index: number,
  { psk, ppk }: Secrets,
): ConnectionConfig {
  const connection = file.connections[name]!;
  const { ike, ipsec, bgp, healthCheck } = connection;
  const tunnels = tunnelNames(connection).map((gateway) => buildCustomerGateway(file, gateway));
  return {
    name,
    index,
    tunnels,
    routing: connection.routing,
    localSubnets: connection.localSubnets,
    remoteSubnets: connection.remoteSubnets,
    start: connection.start ?? (tunnels.every((t) => t.address.kind === "any") ? "passive" : "immediately"),
    psk,
    ike: {
      version: ike.version,
      mode: ike.mode,
      proposals: ike.proposals ?? defaultProposals(ike.version, "ike"),
      lifetimeSeconds: ike.lifetimeSeconds || defaultLifetimeSeconds,
      reauthenticate: ike.reauthenticate,
      childless: ike.childless,
      mobike: ike.mobike,
      localId: ike.localId,
      remoteId: ike.remoteId,
      ppk: ike.ppk && ppk && { id: ike.ppk.id, required: ike.ppk.required, secret: ppk },
    },
    ipsec: {
      ...ipsec,
      proposals: ipsec.proposals ?? defaultProposals(ike.version, "esp"),
      lifetimeSeconds: ipsec.lifetimeSeconds || defaultLifetimeSeconds,
    },
    dpd: connection.dpd,
    natTraversal: connection.natTraversal,
    healthCheck: { ...healthCheck, source: healthCheck.source, destination: healthCheck.destination },
    bgp: {
      enabled: bgp.enabled,
      tunnelCidr: bgp.tunnelCidr,
      localAddress: bgp.localAddress,
      localAsn: bgp.localAsn,
    },
  };
}

function tunnelNames(connection: FileConnection): readonly string[] {
  return connection.tunnels ?? [connection.customerGateway!];
}

function buildCustomerGateway(file: FileConfig, name: string): CustomerGatewayConfig {
  const { address, asn } = file.customerGateways[name]!;
  return { name, address, asn };
}
