import { describe, expect, it } from "vitest";
import { impair } from "./network.ts";
import {
  acquire,
  allPairs,
  childrenOf,
  chosen,
  flow,
  flowSites,
  passes,
  passing,
  reversed,
  runChecked,
  subnetsA,
  subnetsB,
} from "./pairs.ts";
import { pairsOf, tunnelStatus } from "./simulation.ts";
import type { Sites } from "./two-sites.ts";

const modes = [true, false, "auto"] as const;
const starts = ["passive", "immediately", "on-traffic"] as const;

function delivered(sites: Sites, node: "a" | "b", i: number): void {
  const sa = sites[node].inbound[i]!;
  sites.sim.event(sites[node], {
    kind: "hardLifetime",
    spi: sa.spi,
    direction: "inbound",
    remote: sa.remote,
  });
}

const children = (sites: Sites) => [sites.a, sites.b].map((node) => node.inbound.length);
const pairStatus = ({ sim, a, b }: Sites) => [a, b].map((node) => tunnelStatus(sim, node).pairs);

describe("perSubnetPair, two sites with two subnets each", () => {
  for (const ofA of modes)
    for (const ofB of modes)
      for (const startB of starts)
        it(`${ofA} initiates to ${ofB}, which starts ${startB}`, () => {
          const sites = flowSites({ a: { perSubnetPair: ofA }, b: { perSubnetPair: ofB, start: startB } });
          sites.sim.start(sites.a, sites.b);
          runChecked(sites, 20_000);
          const refused = ofA === false && ofB === true;
          if (refused && startB !== "immediately") {
            expect(passing(sites)).toEqual([]);
            expect(sites.a.failures[0]).toMatchObject({
              code: "TS_UNACCEPTABLE",
              theirs: ["SINGLE_PAIR_REQUIRED"],
              remedy: "set ipsec.perSubnetPair here to auto or true, or let the peer take several",
            });
            return;
          }
          expect(passing(sites)).toEqual(allPairs);
          const each = ofA === true || ofB === true;
          expect(children(sites)).toEqual(each ? [4, 4] : [1, 1]);
          expect(pairsOf(sites.a, sites.b).unmatched).toEqual([]);
          expect(pairStatus(sites)).toEqual([
            { total: 4, up: 4, missing: [] },
            { total: 4, up: 4, missing: [] },
          ]);
        });

  it("what was learned is remembered: the next IKE SA asks for one pair at once, until a reset", () => {
    const sites = flowSites({ b: { perSubnetPair: true } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(5_000);
    expect(b.failures).toHaveLength(1);
    sim.command(b, "reset");
    sim.run(30_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(b.failures).toHaveLength(1);
    sim.command(a, "reset");
    sim.run(30_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(b.failures.filter((f) => f.code !== "PEER_DELETED")).toHaveLength(2);
  });
});

describe("each pair is kept up for itself", () => {
  it.each([0, 1, 2, 3])("CHILD_SA %i is lost: it is asked for again, and the others stay", (i) => {
    const sites = flowSites({ both: { perSubnetPair: true } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(15_000);
    const before = a.inbound.map((sa) => sa.spi);
    delivered(sites, i % 2 ? "a" : "b", i);
    sim.run(100);
    expect(passing(sites)).toHaveLength(3);
    runChecked(sites, 10_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(a.inbound.filter((sa) => before.includes(sa.spi))).toHaveLength(3);
    expect(children(sites)).toEqual([4, 4]);
    const codes = [...a.failures, ...b.failures].map((f) => f.code);
    expect(codes).toEqual(["LIFETIME_EXPIRED"]);
  });

  it("one that is closed again and again is asked for ever more rarely", () => {
    const sites = flowSites({ both: { perSubnetPair: true } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(15_000);
    let closed = 0;
    for (let i = 0; i < 3_000; i++) {
      sim.run(100);
      const at = b.inbound.findIndex((sa) => sa.spi === chosen(a, flow("10.1.1.1", "10.2.1.1"))?.spi);
      if (at < 0) continue;
      delivered(sites, "b", at);
      closed++;
    }
    expect(closed).toBeGreaterThan(4);
    expect(closed).toBeLessThan(15);
    expect(passing(sites).length).toBeGreaterThanOrEqual(3);
  });

  it("all are lost at once: the tunnel comes back with all", () => {
    const sites = flowSites({ both: { perSubnetPair: true } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(15_000);
    for (let i = 0; i < 4; i++) delivered(sites, "b", i);
    sim.run(60_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(children(sites)).toEqual([4, 4]);
  });

  it("both sides miss the same pair and ask at once: one CHILD_SA comes of it", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const sites = flowSites({
        both: { perSubnetPair: true },
        b: { start: "immediately" },
        sim: { seed },
      });
      const { sim, a, b } = sites;
      sim.start(a, b);
      sim.run(15_000);
      sim.network.weather = { loss: 0, duplication: 0, delayMs: 300, jitterMs: 400 };
      delivered(sites, "a", seed % 4);
      runChecked(sites, 12_000, 100);
      expect(passing(sites), `seed ${seed}`).toEqual(allPairs);
      expect(children(sites), `seed ${seed}`).toEqual([4, 4]);
      expect(pairsOf(a, b).unmatched).toEqual([]);
    }
  });

  it("a pair that the peer does not permit is a failure record and a missing pair, and not the tunnel's end", () => {
    const sites = flowSites({ both: { perSubnetPair: true }, b: { remoteSubnets: subnetsA.slice(0, 1) } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(10_000);
    expect(passing(sites)).toEqual(allPairs.slice(0, 2));
    expect(tunnelStatus(sim, a).state).toBe("up");
    const missing = subnetsB.map((remote) => ({
      local: subnetsA[1],
      remote,
      refusal: "the traffic selectors have nothing in common",
    }));
    expect(tunnelStatus(sim, a).pairs).toEqual({ total: 4, up: 2, missing });
    expect(a.failures.map((f) => [f.code, ...f.ours, ...f.theirs])).toEqual([
      ["TS_UNACCEPTABLE", "10.1.1.0/24 === 10.2.0.0/24", "TS_UNACCEPTABLE"],
      ["TS_UNACCEPTABLE", "10.1.1.0/24 === 10.2.1.0/24", "TS_UNACCEPTABLE"],
    ]);
    expect(b.failures[0]).toMatchObject({
      ours: ["10.2.0.0/24 10.2.1.0/24 === 10.1.0.0/24"],
      theirs: ["10.2.0.0/24 === 10.1.1.0/24"],
      difference: "the remote selectors have nothing in common",
    });
    sim.run(3_600_000);
    expect(a.failures.length).toBeLessThan(24);
    expect(a.failures.length).toBeGreaterThan(4);
    expect(passing(sites)).toEqual(allPairs.slice(0, 2));
  });

  it("no pair at all is permitted: the IKE SA goes, and it is tried again", () => {
    const sites = flowSites({
      both: { perSubnetPair: true },
      b: { localSubnets: ["10.8.0.0/24"], remoteSubnets: ["10.9.0.0/24"] },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(500);
    expect(a.failures).toHaveLength(4);
    expect(tunnelStatus(sim, a).ike).toBeUndefined();
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
    sim.run(3_000);
    expect(a.failures.length).toBeGreaterThan(4);
  });

  it("a rekey of the IKE SA carries all of them, and they are kept up on its successor", () => {
    const sites = flowSites({ both: { perSubnetPair: true, ikeLifetimeSeconds: 60 } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    runChecked(sites, 130_000, 200);
    expect(passing(sites)).toEqual(allPairs);
    expect(children(sites)).toEqual([4, 4]);
    expect(a.logs.filter((l) => l.message === "IKE SA rekeyed").length).toBeGreaterThanOrEqual(2);
    delivered(sites, "b", 2);
    runChecked(sites, 10_000);
    expect(passing(sites)).toEqual(allPairs);
  });

  it("rekeys of all CHILD_SAs carry the negotiated selectors", () => {
    const sites = flowSites({ both: { perSubnetPair: true, lifetimeSeconds: 60 } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(5_000);
    const before = a.inbound.map((sa) => sa.spi);
    runChecked(sites, 115_000, 200);
    expect(passing(sites)).toEqual(allPairs);
    expect(a.inbound.some((sa) => before.includes(sa.spi))).toBe(false);
    expect(childrenOf(sites, a)).toEqual(allPairs.map((pair) => pair.replace(" ", " === ")));
  });
});

describe("on traffic (RFC 7296 §2.9)", () => {
  it("the packet's own selectors come first, and the answer has everything", () => {
    const sites = flowSites({ a: { start: "on-traffic", perSubnetPair: false } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    acquire(sites, a, flow("10.1.1.7", "10.2.1.9"));
    sim.run(1_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(childrenOf(sites, a)).toEqual(["10.1.0.0/24 10.1.1.0/24 === 10.2.0.0/24 10.2.1.0/24"]);
  });

  it.each(["auto", true] as const)(
    "a responder with one CHILD_SA for each pair gives that of the packet (%s)",
    (mode) => {
      const sites = flowSites({
        a: { start: "on-traffic", perSubnetPair: mode },
        b: { perSubnetPair: true },
      });
      const { sim, a, b } = sites;
      sim.start(a, b);
      sim.network.faults.push(impair.drop("CREATE_CHILD_SA"));
      acquire(sites, a, flow("10.1.1.7", "10.2.1.9"));
      sim.run(1_000);
      expect(passing(sites)).toEqual(["10.1.1.0/24 10.2.1.0/24"]);
      sim.network.faults.length = 0;
      sim.run(10_000);
      expect(passing(sites)).toEqual(allPairs);
      expect(b.failures).toEqual([]);
    },
  );

  it("a lost pair of an on-traffic tunnel comes back with its traffic, and not before", () => {
    const sites = flowSites({ both: { perSubnetPair: true }, a: { start: "on-traffic" } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    acquire(sites, a, flow("10.1.0.7", "10.2.0.9"));
    sim.run(15_000);
    expect(passing(sites)).toEqual(allPairs);
    const packet = flow("10.1.0.1", "10.2.1.1");
    delivered(
      sites,
      "b",
      b.inbound.findIndex((sa) => sa.spi === chosen(a, packet)!.spi),
    );
    sim.run(60_000);
    expect(passes(a, b, packet)).toBe(false);
    acquire(sites, a, packet);
    sim.run(500);
    expect(passes(a, b, packet)).toBe(true);
    expect(passes(b, a, reversed(packet))).toBe(true);
  });

  it("packets that the peer refuses ask ever more rarely; a passive side never asks", () => {
    const sites = flowSites({ b: { remoteSubnets: subnetsA.slice(0, 1) } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(2_000);
    const asked = () => sim.network.trace.filter((l) => l.startsWith("A: CREATE_CHILD_SA request")).length;
    for (let i = 0; i < 600; i++) {
      acquire(sites, a, flow("10.1.1.1", "10.2.0.1"));
      acquire(sites, b, flow("10.2.0.1", "10.1.1.1"));
      sim.run(1_000);
    }
    expect(asked()).toBeGreaterThan(2);
    expect(asked()).toBeLessThan(16);
    expect(sim.network.trace.some((l) => l.startsWith("B: CREATE_CHILD_SA request"))).toBe(false);
  });
});

describe("narrowing between two configurations", () => {
  it.each([
    ["the initiator has more", subnetsA, subnetsB, ["10.1.1.0/25"], ["10.2.0.0/25"], "10.1.1.1", "10.2.0.1"],
    ["the responder has more", ["10.1.1.0/25"], ["10.2.0.0/25"], subnetsA, subnetsB, "10.1.1.1", "10.2.0.1"],
    [
      "each has more at one end",
      ["10.1.0.0/16"],
      ["10.2.0.0/25"],
      subnetsA,
      ["10.2.0.0/16"],
      "10.1.1.1",
      "10.2.0.1",
    ],
    ["IPv6", ["fd01::/32"], ["fd02::/48"], ["fd01::/48"], ["fd02::/32"], "fd01::1", "fd02::1"],
    [
      "both families",
      ["10.1.0.0/16", "fd01::/32"],
      ["10.2.0.0/16", "fd02::/32"],
      ["10.1.0.0/24", "fd01::/48"],
      ["10.2.0.0/24", "fd02::/48"],
      "fd01::1",
      "fd02::1",
    ],
    [
      "a family that only one end has is left out",
      ["10.1.0.0/16", "fd01::/32"],
      ["10.2.0.0/16"],
      ["10.1.0.0/16", "fd01::/32"],
      ["10.2.0.0/16", "fd02::/32"],
      "10.1.1.1",
      "10.2.0.1",
    ],
  ])("%s", (_, aLocal, aRemote, bRemote, bLocal, source, destination) => {
    for (const initiator of ["a", "b"] as const)
      for (const perSubnetPair of modes) {
        const starting = { start: "immediately" } as const;
        const sites = flowSites({
          both: { perSubnetPair },
          a: {
            localSubnets: aLocal,
            remoteSubnets: aRemote,
            start: "passive",
            ...(initiator === "a" && starting),
          },
          b: {
            localSubnets: bLocal,
            remoteSubnets: bRemote,
            start: "passive",
            ...(initiator === "b" && starting),
          },
        });
        const { sim, a, b } = sites;
        sim.start(a, b);
        sim.run(10_000);
        // A part of one pair may be another of the peer's: it comes with its traffic.
        if (!chosen(a, flow(source, destination))) {
          acquire(sites, a, flow(source, destination));
          sim.run(1_000);
        }
        expect(passes(a, b, flow(source, destination)), `${initiator} ${perSubnetPair}`).toBe(true);
        expect(passes(b, a, flow(destination, source))).toBe(true);
        expect(pairsOf(a, b).unmatched).toEqual([]);
      }
  });

  it("what one side has in IPv4 only and the other in IPv6 only is refused with a reason", () => {
    const sites = flowSites({
      a: { localSubnets: ["10.1.0.0/16", "fd01::/32"], remoteSubnets: ["10.2.0.0/16", "fd02::/32"] },
      b: { localSubnets: ["10.2.0.0/16"], remoteSubnets: ["fd01::/32"] },
    });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(500);
    expect(sites.b.failures[0]).toMatchObject({
      code: "TS_UNACCEPTABLE",
      difference: "the selectors have nothing in common",
    });
  });
});
