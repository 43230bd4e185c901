/**
 * Rules about several values together. They see a file of which parts may be unreadable and judge what is there, so
 * that one run reports everything. Each function is one topic of `docs/configuration.md`.
 */
import type { Prefix } from "../core/address.ts";
import type { PeerAddress } from "./model.ts";
import { type FlowPair, lengthsOf, overlappingPairs, PrefixIndex } from "./overlap.ts";
import type { Path } from "./problem.ts";
import type { Findings, Partly, Report } from "./read.ts";
import type { FileConfig, FileConnection } from "./schema.ts";
import { suggestion } from "./suggest.ts";
import { sharedAddressSpace } from "./values.ts";

export type Connection = Partly<FileConnection>;
type File = Partly<FileConfig>;
type CustomerGateway = NonNullable<NonNullable<File["customerGateways"]>[string]>;

/** Connection numbers are 16 bits in the data plane. */
/** CHILD_SAs of one IKE SA: `EndpointLimits.children`. */
const maxPairs = 256;
const maxConnections = 65_536;
/** Each becomes a rule that packets may have to be compared with. */
const maxFlowPairs = 65_536;

/** `connections`: those that are mappings, in the file's order. */
export function checkRules(
  file: File,
  connections: ReadonlyMap<string, Connection>,
  findings: Findings,
): void {
  // What could not be read is no evidence of anything else.
  const { has } = findings;
  const report: Report = (path, found, rule) => {
    if (!has(path)) findings.report(path, found, rule);
  };
  checkGateway(file, report);
  for (const [name, gateway] of Object.entries(file.customerGateways ?? {}))
    if (gateway !== undefined) checkCustomerGateway(["customerGateways", name], gateway, file, report);
  if (connections.size > maxConnections)
    report(["connections"], `${connections.size}`, `at most ${maxConnections} connections`);
  for (const [name, connection] of connections) {
    const at = ["connections", name];
    checkPeers(at, connection, file, { report, has });
    checkSubnets(at, connection, report);
    checkNegotiation(at, connection, report);
    checkHealthCheck([...at, "healthCheck"], connection.healthCheck, report);
    checkBgp(at, connection, file, { report, has });
  }
  checkFlows(connections, report);
  checkLinks(connections, report);
  checkRoutes(file, connections, report);
}

function checkGateway(file: File, report: Report): void {
  const seen = new Set<string>();
  for (const [i, address] of (file.gateway?.addresses ?? []).entries()) {
    if (address === undefined) continue;
    if (seen.has(`${address}`)) report(["gateway", "addresses", i], `${address}`, "each address once");
    seen.add(`${address}`);
  }
}

function checkCustomerGateway(at: Path, gateway: CustomerGateway, file: File, report: Report): void {
  const peer = gateway.address;
  if (peer?.kind !== "ip") return;
  const { address } = peer;
  const where = [...at, "address"];
  if (sharedAddressSpace.contains(address) && gateway.allowSharedAddressSpace === false) {
    const rule = `an address that a peer can have: not in ${sharedAddressSpace}, unless allowSharedAddressSpace: true`;
    report(where, `${address}`, rule);
  }
  const own = definedItems(file.gateway?.addresses);
  if (own.some((a) => a.equals(address)))
    report(where, `${address}`, "an address of the peer, not one of gateway.addresses");
  if (own.length > 0 && own.every((a) => a.family !== address.family))
    report(
      where,
      `${address}`,
      `an address that gateway.addresses can reach: none of them is IPv${address.family}`,
    );
}

function checkPeers(at: Path, connection: Connection, file: File, { report, has }: Findings): void {
  const { customerGateway, tunnels } = connection;
  const whereOne = [...at, "customerGateway"];
  const whereTwo = [...at, "tunnels"];
  if (customerGateway !== undefined && tunnels !== undefined)
    report(whereTwo, undefined, "customerGateway or tunnels, not both");
  if (customerGateway === undefined && tunnels === undefined && !has(whereTwo))
    report(whereOne, "missing", "the name of a customer gateway, or tunnels with one or two of them");
  const { customerGateways } = file;
  for (const [path, name] of peerNames(at, connection))
    if (customerGateways !== undefined && !Object.hasOwn(customerGateways, name))
      report(path, name, oneOfThose("customer gateway", name, Object.keys(customerGateways)));
  const repeated = tunnels?.findIndex((name, i) => name !== undefined && tunnels.indexOf(name) < i) ?? -1;
  if (repeated >= 0)
    report([...at, "tunnels", repeated], tunnels![repeated], "another customer gateway than the first");
  const peers = peersOf(connection, file);
  const { start } = connection;
  if (start !== undefined && start !== "passive" && peers.length > 0 && peers.every((p) => p.kind === "any"))
    report([...at, "start"], start, "passive, because the address of the customer gateway is any");
}

/** The peers of a connection as far as the file defines them. */
export function peersOf(connection: Connection, file: File): readonly PeerAddress[] {
  return peerNames([], connection).flatMap(([, name]) => gatewayNamed(file, name)?.address ?? []);
}

function gatewayNamed({ customerGateways }: File, name: string): CustomerGateway | undefined {
  return customerGateways && Object.hasOwn(customerGateways, name) ? customerGateways[name] : undefined;
}

function peerNames(
  at: Path,
  { customerGateway, tunnels }: Connection,
): readonly [path: Path, name: string][] {
  const one: [Path, string][] =
    customerGateway === undefined ? [] : [[[...at, "customerGateway"], customerGateway]];
  const more = (tunnels ?? []).flatMap((name, i): [Path, string][] =>
    name === undefined ? [] : [[[...at, "tunnels", i], name]],
  );
  return [...one, ...more];
}

function checkSubnets(at: Path, connection: Connection, report: Report): void {
  const sides = ["localSubnets", "remoteSubnets"] as const;
  for (const side of sides) {
    const prefixes = connection[side];
    if (connection.routing === "protected-data-flows" && prefixes?.length === 0)
      report([...at, side], "missing", "at least one prefix, because routing is protected-data-flows");
    const before = new PrefixIndex<Prefix>(lengthsOf(definedItems(prefixes)));
    for (const [i, prefix] of (prefixes ?? []).entries()) {
      if (prefix === undefined) continue;
      const other = before.overlapping(prefix);
      const rule = `prefixes that do not overlap: ${other} is in the same list`;
      if (other !== undefined) report([...at, side, i], `${prefix}`, rule);
      before.add(prefix, prefix);
    }
  }
  const locals = definedItems(connection.localSubnets);
  const index = new PrefixIndex<Prefix>(lengthsOf([...locals, ...definedItems(connection.remoteSubnets)]));
  for (const local of locals) index.add(local, local);
  for (const [i, remote] of (connection.remoteSubnets ?? []).entries()) {
    const local = remote && index.overlapping(remote);
    const rule = `a prefix that does not overlap the local ones: ${local} is in localSubnets`;
    if (remote && local) report([...at, "remoteSubnets", i], `${remote}`, rule);
  }
  if (connection.routing === "protected-data-flows") {
    checkFamilies(at, connection, report);
    checkPairs(at, connection, report);
  }
}

/** A CHILD_SA for each pair, as it always is in IKEv1: as many as one IKE SA holds. */
function checkPairs(at: Path, { ike, ipsec, localSubnets, remoteSubnets }: Connection, report: Report): void {
  const old = ike?.version === "ikev1";
  if (ipsec?.perSubnetPair !== true && !old) return;
  const remotes = definedItems(remoteSubnets);
  const pairs = definedItems(localSubnets)
    .map((local) => remotes.filter((remote) => remote.family === local.family).length)
    .reduce((sum, n) => sum + n, 0);
  if (pairs <= maxPairs) return;
  const limit = `at most ${maxPairs} pairs of localSubnets and remoteSubnets`;
  if (old)
    report([...at, "remoteSubnets"], undefined, `${limit}, because ike.version is ikev1: there are ${pairs}`);
  else report([...at, "ipsec", "perSubnetPair"], "true", `false or auto, or ${limit}: there are ${pairs}`);
}

/** A selector pair is of one family: a prefix without a partner would never carry anything. */
function checkFamilies(at: Path, connection: Connection, report: Report): void {
  const sides = [
    ["localSubnets", connection.localSubnets, "remoteSubnets", connection.remoteSubnets],
    ["remoteSubnets", connection.remoteSubnets, "localSubnets", connection.localSubnets],
  ] as const;
  for (const [side, prefixes, otherSide, others] of sides) {
    // An unreadable prefix on the other side may be the partner.
    if (others === undefined || others.length === 0 || others.includes(undefined)) continue;
    for (const [i, prefix] of (prefixes ?? []).entries()) {
      if (prefix && definedItems(others).every((other) => other.family !== prefix.family))
        report(
          [...at, side, i],
          `${prefix}`,
          `a prefix with a partner: ${otherSide} has none of IPv${prefix.family}`,
        );
    }
  }
}

function checkNegotiation(at: Path, connection: Connection, report: Report): void {
  const { ike, natTraversal, psk } = connection;
  if (ike?.mode === "aggressive" && ike.version === "ikev2")
    report(
      [...at, "ike", "mode"],
      "aggressive",
      "main, because ike.version is ikev2 (modes belong to IKEv1)",
    );
  if (natTraversal?.enabled === false && natTraversal.forceEncapsulation === true)
    report(
      [...at, "natTraversal", "forceEncapsulation"],
      "true",
      "false, because natTraversal.enabled is false",
    );
  if (psk?.file !== undefined && psk.value !== undefined)
    report([...at, "psk"], undefined, "file or value, not both");
  if (ike?.ppk?.file !== undefined && ike.ppk.value !== undefined)
    report([...at, "ike", "ppk"], undefined, "file or value, not both");
}

function checkHealthCheck(at: Path, check: Connection["healthCheck"], report: Report): void {
  if (check === undefined) return;
  const { source, destination } = check;
  if (check.enabled === true) {
    for (const key of ["source", "destination"] as const)
      if (check[key] === undefined)
        report([...at, key], "missing", "an address, because healthCheck.enabled is true");
  }
  if (source === undefined || destination === undefined) return;
  if (source.family !== destination.family)
    report(
      [...at, "destination"],
      `${destination}`,
      `an IPv${source.family} address, as healthCheck.source is`,
    );
  else if (source.equals(destination))
    report([...at, "destination"], `${destination}`, "another address than healthCheck.source");
}

function checkBgp(connectionAt: Path, connection: Connection, file: File, { report, has }: Findings): void {
  const at = [...connectionAt, "bgp"];
  const { bgp } = connection;
  if (bgp === undefined) return;
  const { tunnelCidr, localAddress } = bgp;
  if (bgp.enabled === true) {
    for (const key of ["tunnelCidr", "localAddress", "localAsn"] as const)
      if (bgp[key] === undefined) report([...at, key], "missing", "a value, because bgp.enabled is true");
    for (const [path, name] of peerNames(connectionAt, connection)) {
      const gateway = gatewayNamed(file, name);
      const unreadable = has(["customerGateways", name, "asn"]);
      if (gateway !== undefined && gateway.asn === undefined && !unreadable)
        report(path, name, "a customer gateway with an asn, because bgp.enabled is true");
    }
  }
  if (tunnelCidr === undefined || localAddress === undefined) return;
  const usable =
    tunnelCidr.contains(localAddress) &&
    ![tunnelCidr.first, tunnelCidr.last].some((a) => a.equals(localAddress));
  if (!usable)
    report([...at, "localAddress"], `${localAddress}`, `one of the two host addresses of ${tunnelCidr}`);
}

/** No packet may belong to two connections: which one it took would be luck. */
function checkFlows(connections: ReadonlyMap<string, Connection>, report: Report): void {
  const pairs: (FlowPair & { readonly name: string; readonly at: Path; readonly order: number })[] = [];
  let order = 0;
  for (const [name, connection] of connections) {
    if (connection.routing !== "protected-data-flows") continue;
    for (const [i, remote] of (connection.remoteSubnets ?? []).entries())
      for (const local of definedItems(connection.localSubnets))
        if (remote && remote.family === local.family) {
          const at = ["connections", name, "remoteSubnets", i];
          pairs.push({ name, at, local, remote, order: order++ });
        }
    if (pairs.length > maxFlowPairs) {
      const rule = `at most ${maxFlowPairs} pairs of local and remote prefixes in all connections`;
      report(["connections", name], undefined, rule);
      return;
    }
  }
  for (const [one, other] of overlappingPairs(pairs)) {
    if (one.name === other.name) continue;
    const [first, second] = one.order < other.order ? [one, other] : [other, one];
    const rule = `pairs that no other connection has: ${second.name} (${second.local} to ${second.remote}) overlaps ${first.name} (${first.local} to ${first.remote})`;
    report(second.at, `${second.remote}`, rule);
  }
}

function checkLinks(connections: ReadonlyMap<string, Connection>, report: Report): void {
  const users = new Map<string, string>();
  for (const [name, { bgp }] of connections) {
    const cidr = bgp?.tunnelCidr;
    if (cidr === undefined) continue;
    const user = users.get(`${cidr}`);
    if (user === undefined) users.set(`${cidr}`, name);
    else
      report(
        ["connections", name, "bgp", "tunnelCidr"],
        `${cidr}`,
        `a /30 that is not in use: ${user} has it`,
      );
  }
}

function checkRoutes(file: File, connections: ReadonlyMap<string, Connection>, report: Report): void {
  const seen = new Map<string, SameKey>();
  for (const [i, route] of (file.routes?.destination ?? []).entries()) {
    if (route === undefined) continue;
    checkRouteTarget(["routes", "destination", i], route, file, report);
    const { destination } = route;
    if (destination !== undefined) checkRouteKey("destination", i, `${destination}`, route, seen, report);
  }
  for (const [i, route] of (file.routes?.policy ?? []).entries()) {
    if (route === undefined) continue;
    checkRouteTarget(["routes", "policy", i], route, file, report);
    const { source, destination, priority } = route;
    if (source === undefined || destination === undefined) continue;
    const rule = `an IPv${source.family} prefix, as the source is`;
    if (source.family !== destination.family)
      report(["routes", "policy", i, "destination"], `${destination}`, rule);
    if (priority === undefined) continue;
    const key = `${destination} from ${source} at priority ${priority}`;
    checkRouteKey("policy", i, key, route, seen, report);
  }
  checkMtu(file, connections, report);
}

interface Route {
  readonly connection?: string | undefined;
  readonly weight?: number | undefined;
}

function checkRouteTarget(at: Path, { connection }: Route, { connections }: File, report: Report): void {
  if (connection === undefined || connections === undefined || Object.hasOwn(connections, connection)) return;
  report([...at, "connection"], connection, oneOfThose("connection", connection, Object.keys(connections)));
}

/** Numbers of the routes with one key: the active one, and that of each connection. */
interface SameKey {
  active: number | undefined;
  readonly byConnection: Map<string, number>;
}

function checkRouteKey(
  table: "destination" | "policy",
  i: number,
  key: string,
  { connection, weight }: Route,
  seen: Map<string, SameKey>,
  report: Report,
): void {
  if (connection === undefined) return;
  const same = seen.get(`${table} ${key}`) ?? { active: undefined, byConnection: new Map() };
  seen.set(`${table} ${key}`, same);
  const at = ["routes", table, i];
  const twin = same.byConnection.get(connection);
  if (twin !== undefined) {
    const rule = `one route to ${key} per connection: routes.${table}[${twin}] is it`;
    report([...at, "connection"], connection, rule);
  } else if (weight === 100 && same.active !== undefined) {
    const rule = `0 (standby), because routes.${table}[${same.active}] to ${key} is active already`;
    report([...at, "weight"], "100", rule);
  }
  if (weight === 100) same.active ??= i;
  same.byConnection.set(connection, twin ?? i);
}

/** RFC 8200 §5: a link that carries IPv6 has an MTU of at least 1280. */
function checkMtu(file: File, connections: ReadonlyMap<string, Connection>, report: Report): void {
  const mtu = file.gateway?.tun?.mtu;
  if (typeof mtu !== "number" || mtu >= 1280) return;
  const prefixes: readonly (Prefix | undefined)[] = [
    ...(file.routes?.destination ?? []).map((route) => route?.destination),
    ...(file.routes?.policy ?? []).map((route) => route?.destination),
    ...[...connections.values()].flatMap((c) => c.remoteSubnets ?? []),
  ];
  const v6 = prefixes.find((prefix) => prefix?.family === 6);
  if (v6 !== undefined) report(["gateway", "tun", "mtu"], `${mtu}`, `at least 1280, because ${v6} is IPv6`);
}

function oneOfThose(what: string, name: string, known: readonly string[]): string {
  if (known.length === 0) return `a ${what} of this file, which defines none`;
  // Beyond this, one search per bad reference would cost the square of the file's size.
  const near = known.length > 1000 ? "" : suggestion(name, known);
  const choice = near === "" && known.length <= 5 ? ` (it has ${known.join(", ")})` : near;
  return `a ${what} of this file${choice}`;
}

export function definedItems<T>(items: readonly (T | undefined)[] | undefined): readonly T[] {
  return (items ?? []).filter((item) => item !== undefined);
}
