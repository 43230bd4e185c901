import assert from "node:assert/strict";
import { type SiteOptions, siteConfig } from "./config.ts";
import { type Node, pairsOf, Simulation, type SimulationOptions, tunnelStatus } from "./simulation.ts";

export const addressA = "192.0.2.1";
export const addressB = "198.51.100.7";

export interface Sites {
  readonly sim: Simulation;
  readonly a: Node;
  readonly b: Node;
  readonly configA: ReturnType<typeof siteConfig>;
  readonly configB: ReturnType<typeof siteConfig>;
}

/** Site A at 192.0.2.1 initiates, site B at 198.51.100.7 responds, unless told otherwise. Not started. */
export function twoSites(
  options: {
    readonly a?: SiteOptions;
    readonly b?: SiteOptions;
    readonly both?: SiteOptions;
    readonly sim?: SimulationOptions;
  } = {},
): Sites {
  const sim = new Simulation(options.sim);
  const configA = siteConfig({
    name: "A",
    addresses: [addressA],
    peers: [addressB],
    remoteSubnets: ["10.2.0.0/16"],
    ...options.both,
    ...options.a,
  });
  const configB = siteConfig({
    name: "B",
    addresses: [addressB],
    peers: [addressA],
    remoteSubnets: ["10.1.0.0/16"],
    start: "passive",
    ...options.both,
    ...options.b,
  });
  return { sim, a: sim.add("A", configA), b: sim.add("B", configB), configA, configB };
}

/** Two sites with their tunnel up `afterMs` after the start, and nothing of how it came up in the network's trace. */
export function sitesUp(options: Parameters<typeof twoSites>[0] = {}, afterMs = 1000): Sites {
  const sites = twoSites(options);
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(afterMs);
  expectUp(sites);
  sites.sim.network.trace.length = 0;
  return sites;
}

/** Both peers' states, and both peers' installed SAs: exactly one pair, that matches, and plans that use it. */
export function expectUp({ sim, a, b }: Sites): void {
  assert.deepEqual([tunnelStatus(sim, a).state, tunnelStatus(sim, b).state], ["up", "up"]);
  assert.deepEqual(pairsOf(a, b), { matched: 2, unmatched: [] });
  for (const node of [a, b])
    assert.deepEqual(
      node.plan?.connections[0]?.outbound.map((o) => o.spi),
      node.outbound.map((sa) => sa.spi),
    );
}

/** Nothing is installed and no plan names an SA. */
export function expectNothingLeft(node: Node): void {
  assert.deepEqual(node.installed, []);
  assert.deepEqual(node.plan?.connections.flatMap((c) => c.outbound) ?? [], []);
}

/** The invariant of make-before-break: whatever one side sends with, the other can receive, at every moment. */
export function expectCarrying({ sim, a, b }: Sites): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    const spi = from.plan?.connections[0]?.outbound[0]?.spi;
    assert.ok(spi !== undefined, `${from.name} has an SA to send with at ${sim.now}`);
    assert.ok(
      to.inbound.some((sa) => sa.spi === spi),
      `${to.name} receives what ${from.name} sends with at ${sim.now}`,
    );
  }
}

export function ikeSuite({ sim }: Sites, node: Node): string | undefined {
  return tunnelStatus(sim, node).ike?.suite;
}
