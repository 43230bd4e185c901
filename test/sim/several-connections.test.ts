import { describe, expect, it } from "vitest";
import { connectionConfig, type SiteOptions, siteConfig } from "./config.ts";
import { type Node, pairsOf, Simulation } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

/** Two connections between the same two gateways, with the same identities and the same key. */
function twoConnections() {
  const sim = new Simulation();
  const flows = { routing: "protected-data-flows" } as const;
  const connection = (name: string, index: number, options: SiteOptions) =>
    connectionConfig({ ...flows, ...options }, name, index);
  const configA = {
    ...siteConfig({ addresses: [addressA] }),
    connections: [
      connection("one", 0, {
        peers: [addressB],
        localSubnets: ["10.1.0.0/24"],
        remoteSubnets: ["10.2.0.0/24"],
      }),
      connection("two", 1, {
        peers: [addressB],
        localSubnets: ["10.1.1.0/24"],
        remoteSubnets: ["10.2.1.0/24"],
      }),
    ],
  };
  const configB = {
    ...siteConfig({ addresses: [addressB] }),
    connections: [
      connection("two", 0, {
        peers: [addressA],
        start: "passive",
        localSubnets: ["10.2.1.0/24"],
        remoteSubnets: ["10.1.1.0/24"],
      }),
      connection("one", 1, {
        peers: [addressA],
        start: "passive",
        localSubnets: ["10.2.0.0/24"],
        remoteSubnets: ["10.1.0.0/24"],
      }),
    ],
  };
  return { sim, configA, a: sim.add("A", configA), b: sim.add("B", configB) };
}

const states = (sim: Simulation, node: Node) =>
  Object.fromEntries(node.gateway.status(sim.now).connections.map((c) => [c.name, c.state]));

describe("several connections to one peer", () => {
  it("are told apart by what their CHILD_SAs are for", () => {
    const { sim, a, b } = twoConnections();
    sim.start(a, b);
    sim.run(5000);
    expect(states(sim, a)).toEqual({ one: "up", two: "up" });
    expect(states(sim, b)).toEqual({ one: "up", two: "up" });
    expect(pairsOf(a, b)).toEqual({ matched: 4, unmatched: [] });
  });

  it("INITIAL_CONTACT of one does not end the other", () => {
    const { sim, a, b } = twoConnections();
    sim.start(a, b);
    sim.run(5000);
    const kept = a.inbound.find((sa) => sa.connection === 1)!.spi;
    sim.command(a, "reset", "one");
    sim.run(30_000);
    expect(states(sim, a)).toEqual({ one: "up", two: "up" });
    expect(a.inbound.map((sa) => sa.spi)).toContain(kept);
    expect(pairsOf(a, b)).toEqual({ matched: 4, unmatched: [] });
  });

  it("come back together after a crash, and the old SAs go", () => {
    const { sim, a, b, configA } = twoConnections();
    sim.start(a, b);
    sim.run(5000);
    sim.crash(a, configA);
    sim.run(30_000);
    expect(states(sim, b)).toEqual({ one: "up", two: "up" });
    expect(pairsOf(a, b)).toEqual({ matched: 4, unmatched: [] });
  });
});

describe("a data plane that refuses an SA", () => {
  it.each(["inbound", "outbound"] as const)(
    "%s: the peer is told, the reason is recorded, it is tried again",
    (direction) => {
      const sites = twoSites();
      const { sim, a, b } = sites;
      a.refuses = (sa) => (sa.direction === direction ? "no memory" : undefined);
      sim.start(a, b);
      sim.run(200);
      expect(a.failures[0]).toMatchObject({
        code: "DATAPLANE_ERROR",
        difference: `${direction} SA: no memory`,
      });
      expectNothingLeft(a);
      expectNothingLeft(b);
      a.refuses = () => undefined;
      sim.run(30_000);
      expect(pairsOf(a, b)).toEqual({ matched: 2, unmatched: [] });
    },
  );
});

describe("limits of an SA", () => {
  it("without extended sequence numbers it has 2^32 − 1 packets", () => {
    const { sim, a, b } = twoSites({ both: { esp: ["aes128gcm16-noesn"] } });
    sim.start(a, b);
    sim.run(1000);
    expect(a.outbound[0]).toMatchObject({ esn: false, hardPackets: 2 ** 32 - 1 });
    expect(a.outbound[0]!.softPackets).toBeGreaterThan(0.79 * 2 ** 32);
    expect(a.outbound[0]!.softPackets).toBeLessThan(0.95 * 2 ** 32);
  });

  it("with them it has none but the configured ones", () => {
    const { sim, a, b } = twoSites();
    sim.start(a, b);
    sim.run(1000);
    expect(a.outbound[0]).toMatchObject({ esn: true, hardPackets: 0, hardBytes: 0, softBytes: 0 });
  });
});
