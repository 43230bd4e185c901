/** IPsec SAs of IKEv1 in whole gateways: each pair of subnets kept up for itself, the data plane's word, both at once. */
import { describe, expect, it } from "vitest";
import { acquire, allPairs, flow, flowSites, passing, runChecked, subnetsA } from "./pairs.ts";
import { type Node, pairsOf, tunnelStatus } from "./simulation.ts";
import { expectCarrying, expectUp, type Sites, sitesUp } from "./two-sites.ts";

const ikev1 = { version: "ikev1", esp: ["aes128gcm16"], ike: ["aes128-sha256-ecp256"] } as const;
const starts = ["passive", "immediately", "on-traffic"] as const;

const installed = (sites: Sites) => [sites.a, sites.b].map((node) => node.inbound.length);

function ended(sites: Sites, node: Node, i: number): void {
  const sa = node.inbound[i]!;
  sites.sim.event(node, { kind: "hardLifetime", spi: sa.spi, direction: "inbound", remote: sa.remote });
}

/** Nothing is left of what was replaced. */
function settled(sites: Sites, ms = 60_000): void {
  for (let left = ms; left > 0 && installed(sites).some((n) => n > 1); left -= 500) sites.sim.run(500);
  expectUp(sites);
}

describe("two sites with two subnets each", () => {
  it.each(starts)("have a pair of SAs for each pair; the peer starts %s", (start) => {
    const sites = flowSites({ both: ikev1, b: { start } });
    sites.sim.start(sites.a, sites.b);
    runChecked(sites, 60_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(installed(sites)).toEqual([4, 4]);
    expect(pairsOf(sites.a, sites.b)).toEqual({ matched: 8, unmatched: [] });
    expect(tunnelStatus(sites.sim, sites.a).pairs).toEqual({ total: 4, up: 4, missing: [] });
    expect([...sites.a.failures, ...sites.b.failures]).toEqual([]);
  });

  it.each([0, 1, 2, 3])("pair %i is lost: it is asked for again, and the others stay", (i) => {
    const sites = flowSites({ both: ikev1 });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(15_000);
    const before = a.inbound.map((sa) => sa.spi);
    ended(sites, i % 2 ? a : b, i);
    sim.run(100);
    expect(passing(sites)).toHaveLength(3);
    runChecked(sites, 10_000);
    expect(passing(sites)).toEqual(allPairs);
    expect(a.inbound.filter((sa) => before.includes(sa.spi))).toHaveLength(3);
    expect(installed(sites)).toEqual([4, 4]);
    expect([...a.failures, ...b.failures].map((f) => f.code)).toContain("LIFETIME_EXPIRED");
  });

  it("on traffic: the first packet starts the tunnel with its own pair, and the others follow", () => {
    const sites = flowSites({ both: ikev1, a: { start: "on-traffic" } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(5_000);
    expect(installed(sites)).toEqual([0, 0]);
    acquire(sites, a, flow("10.1.1.1", "10.2.1.1"));
    sim.run(85);
    const [first] = a.outbound;
    expect(`${first!.localSelectors[0]!.startAddress}`).toBe("10.1.1.0");
    sim.run(5_000);
    expect(passing(sites)).toEqual(allPairs);
    ended(sites, b, 0);
    runChecked(sites, 10_000);
    // The pair waits for its traffic.
    expect(passing(sites)).toHaveLength(3);
    const lost = allPairs.find((pair) => !passing(sites).includes(pair))!;
    const [source, destination] = lost.split(" ").map((net) => net.replace(".0/24", ".1"));
    acquire(sites, a, flow(source!, destination!));
    runChecked(sites, 5_000);
    expect(passing(sites)).toEqual(allPairs);
  });

  it("a pair that the peer does not permit is a failure record and a missing pair, and not the tunnel's end", () => {
    const sites = flowSites({ both: ikev1, b: { remoteSubnets: subnetsA.slice(0, 1) } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(10_000);
    expect(passing(sites)).toEqual(allPairs.slice(0, 2));
    expect(tunnelStatus(sim, a)).toMatchObject({ state: "up", pairs: { total: 4, up: 2 } });
    expect(a.failures.map((f) => [f.code, ...f.ours, ...f.theirs])).toEqual([
      ["TS_UNACCEPTABLE", "10.1.1.0/24 === 10.2.0.0/24", "INVALID_ID_INFORMATION"],
      ["TS_UNACCEPTABLE", "10.1.1.0/24 === 10.2.1.0/24", "INVALID_ID_INFORMATION"],
    ]);
    sim.run(3_600_000);
    expect(a.failures.length).toBeLessThan(24);
    expect(a.failures.length).toBeGreaterThan(4);
    expect(passing(sites)).toEqual(allPairs.slice(0, 2));
  });

  it("no pair at all is permitted: the tunnel is tried again, ever more rarely", () => {
    const sites = flowSites({
      both: ikev1,
      b: { localSubnets: ["10.8.0.0/24"], remoteSubnets: ["10.9.0.0/24"] },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(500);
    expect(a.failures).toHaveLength(4);
    sim.run(3_000);
    expect(a.failures.length).toBeGreaterThan(4);
    expect(installed(sites)).toEqual([0, 0]);
  });
});

describe("an operator's rekey", () => {
  it.each(["ab", "ba", "aa"])("by %s at once loses nothing, and leaves one pair", (who) => {
    const sites = sitesUp({ both: ikev1 });
    const { sim } = sites;
    const old = sites.a.outbound[0]!.spi;
    for (const side of who) sim.rekey(sites[side as "a" | "b"]);
    for (let i = 0; i < 400; i++) {
      sim.run(20);
      expectCarrying(sites);
    }
    settled(sites);
    expect(sites.a.outbound[0]!.spi).not.toBe(old);
    expect([...sites.a.failures, ...sites.b.failures]).toEqual([]);
  });

  it("of the ISAKMP SA keeps the IPsec SAs, and of both leaves one of each", () => {
    const sites = sitesUp({ both: ikev1 });
    const { sim, a, b } = sites;
    const old = a.outbound[0]!.spi;
    sim.rekey(a, { ike: true });
    sim.run(2_000);
    expect(a.outbound[0]!.spi).toBe(old);
    sim.rekey(a, { ike: true });
    sim.rekey(b);
    for (let i = 0; i < 400; i++) {
      sim.run(20);
      expectCarrying(sites);
    }
    settled(sites);
    expect(a.outbound[0]!.spi).not.toBe(old);
  });
});

describe("the data plane", () => {
  const tell = ({ sim }: Sites, node: Node) =>
    sim.input(node, { kind: "installed", sas: node.installed.map((sa) => ({ ...sa })) });
  const errors = (node: Node) => node.logs.filter((l) => l.level === "error").map((l) => l.message);

  it("has what it should at any moment of replacements by both sides", () => {
    const sites = sitesUp({ both: ikev1 });
    const { sim, a, b } = sites;
    for (let i = 0; i < 400; i++) {
      if (i % 20 === 0) sim.rekey(a);
      if (i % 30 === 0) sim.rekey(b);
      if (i % 70 === 0) sim.rekey(a, { ike: true });
      sim.run(25);
      expectCarrying(sites);
      for (const node of [a, b]) tell(sites, node);
    }
    expect([...errors(a), ...errors(b)]).toEqual([]);
    settled(sites);
  });

  it.each(["inbound", "outbound"] as const)("lost an %s SA: an error, and a new pair", (direction) => {
    const sites = sitesUp({ both: ikev1 });
    const { sim, a } = sites;
    const old = tunnelStatus(sim, a).children[0]!.spiIn;
    a.installed.splice(a.installed.indexOf(a[direction][0]!), 1);
    tell(sites, a);
    expect(errors(a)).toEqual(["data plane differs: replacing a CHILD_SA that is not installed"]);
    sim.run(500);
    settled(sites);
    expect(tunnelStatus(sim, a).children[0]!.spiIn).not.toBe(old);
  });

  it("did not take an SA: a failure, nothing is left, and the next attempt follows", () => {
    const sites = sitesUp({ both: ikev1 });
    const { sim, a } = sites;
    const sa = a.outbound[0]!;
    a.installed.splice(a.installed.indexOf(sa), 1);
    const { direction, spi, remote } = sa;
    sim.input(a, { kind: "refusedSa", direction, spi, remote, reason: "no such algorithm" });
    expect(a.failures.map((f) => f.code)).toEqual(["DATAPLANE_ERROR"]);
    sim.run(30_000);
    expectUp(sites);
  });
});

describe("a network that loses messages", () => {
  it.each([1, 2, 3])(
    "quick mode %i of three is refused for a while by silence, and comes up at last",
    (nth) => {
      const sites = flowSites({ both: { ...ikev1, dpd: { enabled: true, intervalSeconds: 5 } } });
      const { sim, a, b } = sites;
      let seen = 0;
      let lossUntil = 60_000;
      const ids = new Map<number, number>();
      sim.network.faults.push(({ from, datagram }) => {
        if (from !== "A" || datagram[18] !== 32 || sim.now > lossUntil) return "pass";
        const id = new DataView(datagram.buffer, datagram.byteOffset).getUint32(20);
        if (!ids.has(id)) ids.set(id, ++seen);
        return ids.get(id) === nth ? "drop" : "pass";
      });
      sim.start(a, b);
      runChecked(sites, 120_000, 100);
      lossUntil = 0;
      runChecked(sites, 120_000, 100);
      expect(passing(sites)).toEqual(allPairs);
    },
  );
});
