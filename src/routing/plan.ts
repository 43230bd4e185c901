/**
 * From routes and the state of connections to the forwarding plan: which connection takes which packet, now. Pure: the
 * same input gives the same plan, whole, every time, in one canonical order, so that two plans can be compared.
 *
 * - Policy routes come before destination routes: lowest priority number first, then the longest source, then the
 *   longest destination. Destination routes go by the longest prefix.
 * - Routes with the same key are one row of the plan: the best usable candidate has it, by weight and then by order.
 * - When no candidate is usable, the best configured one keeps the row. Its packets wait for an SA or are dropped with
 *   a reason; they never fall through to a wider route, where they would leave in the clear or through another tunnel.
 * - The subnets of a connection with protected data flows are policy routes (each local × each remote of the same
 *   family) at the default priority, so that an operator's own policy routes can stand before or behind them.
 */
import { compareBytes, type IpAddress, type Prefix } from "../core/address.ts";
import type { ForwardingPlan } from "../core/dataplane.ts";

export interface DestinationRoute {
  readonly destination: Prefix;
  readonly connection: string;
  /** 100 active, 0 standby. */
  readonly weight: number;
  /** Whether the kernel gets a route to it through the TUN device. */
  readonly publish: boolean;
}

export interface PolicyRoute {
  readonly source: Prefix;
  readonly destination: Prefix;
  readonly connection: string;
  readonly weight: number;
  /** Lower is consulted first. */
  readonly priority: number;
}

export interface RoutingConnection {
  /** The data plane's number, 0 to 65535. */
  readonly index: number;
  readonly name: string;
  /** Its SAs are installed and its health check, if it has one, has not failed. */
  readonly usable: boolean;
  /** Outbound SAs that may carry its packets, preferred first. */
  readonly outbound: readonly { readonly spi: number; readonly remote: IpAddress }[];
  /** Of a connection with protected data flows. */
  readonly flows?: { readonly local: readonly Prefix[]; readonly remote: readonly Prefix[] } | undefined;
}

export interface RoutingInput {
  readonly destinationRoutes: readonly DestinationRoute[];
  readonly policyRoutes: readonly PolicyRoute[];
  readonly connections: readonly RoutingConnection[];
}

/** Who has a row of the plan, and whether it can carry anything. */
export interface ActiveRoute {
  /** Undefined for a destination route. */
  readonly source: Prefix | undefined;
  readonly destination: Prefix;
  readonly connection: string;
  readonly weight: number;
  readonly usable: boolean;
}

export interface Routing {
  readonly plan: ForwardingPlan;
  /** Prefixes that the kernel should route into the TUN device: the whole set, each once. */
  readonly published: readonly Prefix[];
  /** The plan's policy rows and then its destination rows, in the plan's order. */
  readonly active: readonly ActiveRoute[];
}

/** The priority of routes that protected data flows imply: the default of policy routes. */
export const flowPriority = 10;

/** Routes to connections that are not in `connections` are left out. */
export function buildPlan(input: RoutingInput): Routing {
  const byName = new Map(input.connections.map((connection) => [connection.name, connection]));
  const policy = winners(
    [...input.policyRoutes, ...impliedByFlows(input.connections)],
    byName,
    policyKey,
  ).sort(comparePolicy);
  const destination = winners(input.destinationRoutes, byName, ({ destination }) => `${destination}`).sort(
    (a, b) => longestFirst(a.route.destination, b.route.destination),
  );
  return {
    plan: {
      policyRoutes: policy.map(({ route, connection }) => ({
        source: route.source,
        destination: route.destination,
        connection: connection.index,
      })),
      destinationRoutes: destination.map(({ route, connection }) => ({
        destination: route.destination,
        connection: connection.index,
      })),
      connections: [...input.connections]
        .sort((a, b) => a.index - b.index)
        .map(({ index, outbound }) => ({ connection: index, outbound })),
    },
    published: publishedPrefixes(input, byName),
    active: [
      ...policy.map((winner) => activeRoute(winner, winner.route.source)),
      ...destination.map((winner) => activeRoute(winner, undefined)),
    ],
  };
}

interface Candidate<R> {
  readonly route: R;
  readonly connection: RoutingConnection;
}

interface Route {
  readonly destination: Prefix;
  readonly connection: string;
  readonly weight: number;
}

function impliedByFlows(connections: readonly RoutingConnection[]): PolicyRoute[] {
  return connections.flatMap(({ name, flows }) =>
    (flows?.local ?? []).flatMap((source) =>
      flows!.remote
        .filter((destination) => destination.family === source.family)
        .map((destination) => ({
          source,
          destination,
          connection: name,
          weight: 100,
          priority: flowPriority,
        })),
    ),
  );
}

/** One candidate per key: the best, where an earlier one is better than a later equal. */
function winners<R extends Route>(
  routes: readonly R[],
  connections: ReadonlyMap<string, RoutingConnection>,
  keyOf: (route: R) => string,
): Candidate<R>[] {
  const best = new Map<string, Candidate<R>>();
  for (const route of routes) {
    const connection = connections.get(route.connection);
    if (connection === undefined) continue;
    const key = keyOf(route);
    const holder = best.get(key);
    if (holder === undefined || isBetter({ route, connection }, holder)) best.set(key, { route, connection });
  }
  return [...best.values()];
}

function isBetter(a: Candidate<Route>, b: Candidate<Route>): boolean {
  if (a.connection.usable !== b.connection.usable) return a.connection.usable;
  return a.route.weight > b.route.weight;
}

function publishedPrefixes(
  input: RoutingInput,
  connections: ReadonlyMap<string, RoutingConnection>,
): Prefix[] {
  const prefixes = [
    ...input.destinationRoutes
      .filter((route) => route.publish && connections.has(route.connection))
      .map((route) => route.destination),
    ...input.connections.flatMap(({ flows }) => (flows?.local.length ? flows.remote : [])),
  ];
  return [...new Map(prefixes.map((prefix) => [`${prefix}`, prefix])).values()].sort(longestFirst);
}

function activeRoute({ route, connection }: Candidate<Route>, source: Prefix | undefined): ActiveRoute {
  return {
    source,
    destination: route.destination,
    connection: connection.name,
    weight: route.weight,
    usable: connection.usable,
  };
}

const policyKey = (route: PolicyRoute): string => `${route.priority} ${route.source} ${route.destination}`;

function comparePolicy({ route: a }: Candidate<PolicyRoute>, { route: b }: Candidate<PolicyRoute>): number {
  return (
    a.priority - b.priority ||
    b.source.length - a.source.length ||
    b.destination.length - a.destination.length ||
    compareAddresses(a.source, b.source) ||
    compareAddresses(a.destination, b.destination)
  );
}

const longestFirst = (a: Prefix, b: Prefix): number => b.length - a.length || compareAddresses(a, b);

const compareAddresses = (a: Prefix, b: Prefix): number =>
  a.family - b.family || compareBytes(a.address.bytes, b.address.bytes);
