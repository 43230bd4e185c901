/** Two sites with several subnets each, and what a data plane would do with a packet between two of them. */
import assert from "node:assert/strict";
import { IpAddress } from "../../src/core/address.ts";
import { type PacketFlow, selectorsMatch } from "../../src/core/traffic-selector.ts";
import type { SiteOptions } from "./config.ts";
import { type InstalledSa, type Node, type SimulationOptions, tunnelStatus } from "./simulation.ts";
import { type Sites, twoSites } from "./two-sites.ts";

export const subnetsA = ["10.1.0.0/24", "10.1.1.0/24"];
export const subnetsB = ["10.2.0.0/24", "10.2.1.0/24"];

/** Protected data flows between `subnetsA` and `subnetsB`, unless told otherwise. */
export function flowSites(
  options: {
    readonly a?: SiteOptions;
    readonly b?: SiteOptions;
    readonly both?: SiteOptions;
    readonly sim?: SimulationOptions;
  } = {},
): Sites {
  return twoSites({
    ...options,
    both: { routing: "protected-data-flows", dpd: { enabled: false }, ...options.both },
    a: { localSubnets: subnetsA, remoteSubnets: subnetsB, ...options.a },
    b: { localSubnets: subnetsB, remoteSubnets: subnetsA, ...options.b },
  });
}

/** TCP to port 80 unless told otherwise. */
export function flow(source: string, destination: string, over: Partial<PacketFlow> = {}): PacketFlow {
  const ends = { source: IpAddress.parse(source), destination: IpAddress.parse(destination) };
  return { ...ends, protocol: 6, sourcePort: 40_000, destinationPort: 80, ...over };
}

export const reversed = ({ source, destination, protocol, sourcePort, destinationPort }: PacketFlow) => ({
  source: destination,
  destination: source,
  protocol,
  sourcePort: destinationPort,
  destinationPort: sourcePort,
});

/** The outbound SA that the plan gives to a packet: the first of its connection whose selectors match. */
export function chosen(node: Node, packet: PacketFlow): InstalledSa | undefined {
  const { plan } = node;
  const route =
    plan?.policyRoutes.find(
      ({ source, destination }) => source.contains(packet.source) && destination.contains(packet.destination),
    ) ?? plan?.destinationRoutes.find(({ destination }) => destination.contains(packet.destination));
  const outbound = plan?.connections.find((c) => c.connection === route?.connection)?.outbound ?? [];
  return outbound
    .map(({ spi }) => node.outbound.find((sa) => sa.spi === spi)!)
    .find((sa) => selectorsMatch(sa.localSelectors, sa.remoteSelectors, packet));
}

/** True when `from` has an SA for the packet; asserts that `to` can then open and permits it. */
export function passes(from: Node, to: Node, packet: PacketFlow): boolean {
  const sa = chosen(from, packet);
  if (!sa) return false;
  const receiver = to.inbound.find((r) => r.spi === sa.spi && r.key === sa.key);
  assert.ok(receiver, `${to.name} opens what ${from.name} sends to ${packet.destination}`);
  const back = reversed(packet);
  assert.ok(
    selectorsMatch(receiver.localSelectors, receiver.remoteSelectors, back),
    `${to.name} permits ${packet.source} to ${packet.destination} on the SA that it came on`,
  );
  return true;
}

/** The first host of a subnet such as `10.1.0.0/24` or `fd00:1::/64`. */
export const hostIn = (subnet: string): string =>
  subnet.includes(":") ? subnet.replace(/::\/.*$/, "::1") : subnet.replace(/\.0\/.*$/, ".1");

/**
 * The pairs that both sides consider up, as `10.1.0.0/24 10.2.0.0/24`. Asserts for each of them, in both directions,
 * that the SA which the sender's plan chooses is one that the receiver has, and that permits the packet there.
 */
export function passing({ a, b }: Sites, locals = subnetsA, remotes = subnetsB): string[] {
  return locals.flatMap((local) =>
    remotes.flatMap((remote) => {
      const packet = flow(hostIn(local), hostIn(remote));
      // Whoever answers has a new SA a moment before whoever asked for it.
      if (!chosen(a, packet) || !chosen(b, reversed(packet))) return [];
      const both = passes(a, b, packet) && passes(b, a, reversed(packet));
      return both ? [`${local} ${remote}`] : [];
    }),
  );
}

export const allPairs = subnetsA.flatMap((a) => subnetsB.map((b) => `${a} ${b}`));

/** Lets time pass in small steps, and checks after each that what is sent can be opened. */
export function runChecked(sites: Sites, ms: number, stepMs = 50): void {
  for (let left = ms; left > 0; left -= stepMs) {
    sites.sim.run(Math.min(stepMs, left));
    passing(sites);
  }
}

/** Child SAs of a node as status shows them: `local === remote`. */
export function childrenOf({ sim }: Sites, node: Node): string[] {
  return tunnelStatus(sim, node)
    .children.map((c) => `${c.localSelectors.join(" ")} === ${c.remoteSelectors.join(" ")}`)
    .sort();
}

/** The data plane has no SA for the packet. */
export function acquire({ sim }: Sites, node: Node, packet: PacketFlow): void {
  sim.event(node, { kind: "acquire", connection: 0, ...packet });
}
