import { describe, expect, it } from "vitest";
import type { IsakmpSa } from "../../src/ike/v1/isakmp-sa.ts";
import { deleteIsakmp } from "../../src/ike/v1/notify.ts";
import { IsakmpExchangeType } from "../../src/registry/index.ts";
import { decodeIsakmpHeader } from "../../src/wire/v1/index.ts";
import { ikev1, modes } from "./ikev1.ts";
import { impair } from "./network.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { expectCarrying, expectNothingLeft, expectUp, type Sites, sitesUp, twoSites } from "./two-sites.ts";

function expectOne(sites: Sites): void {
  const { a, b } = sites;
  expectUp(sites);
  expect([a.gateway.ike.size, b.gateway.ike.size]).toEqual([1, 1]);
}

/** Runs for `ms`, and looks after every 50 ms whether either side can receive what the other sends. */
function carryFor(sites: Sites, ms: number): void {
  for (let t = 0; t < ms; t += 50) {
    sites.sim.run(50);
    expectCarrying(sites);
  }
}

describe.each(modes)("one ISAKMP SA after another in %s mode", (mode) => {
  it("is set up before the end of the lifetime, again and again, and the IPsec SAs never notice", () => {
    const sites = twoSites({ both: ikev1(mode, { ikeLifetimeSeconds: 100 }) });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    expectUp(sites);
    const installed = a.installed.map(({ spi }) => spi);
    carryFor(sites, 600_000);
    sim.run(15_000);
    expectOne(sites);
    expect(a.installed.map(({ spi }) => spi)).toEqual(installed);
    expect([a.failures, b.failures]).toEqual([[], []]);
    const rekeyed = a.logs.filter((l) => l.message === "IKE SA rekeyed").length;
    // Whoever initiated goes first, at 80 to 86 % of the lifetime: the two never begin together.
    expect(rekeyed).toBeGreaterThanOrEqual(6);
    expect(rekeyed).toBeLessThanOrEqual(8);
    expect(tunnelStatus(sim, a).ike?.role).toBe("initiator");
  });

  it("together with the IPsec SAs, for half an hour", () => {
    const sites = twoSites({ both: ikev1(mode, { ikeLifetimeSeconds: 90, lifetimeSeconds: 70 }) });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    for (let t = 0; t < 1_800_000; t += 50) {
      sim.run(50);
      expectCarrying(sites);
      // An ISAKMP SA and the one before it; two pairs of IPsec SAs.
      expect(a.gateway.ike.size + b.gateway.ike.size).toBeLessThanOrEqual(4);
      expect(a.installed.length).toBeLessThanOrEqual(4);
    }
    expect([a.failures, b.failures]).toEqual([[], []]);
    sim.input(a, { kind: "shutdown" });
    sim.run(3_000);
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("the shorter of two lifetimes counts on both sides", () => {
    const sites = sitesUp({ both: ikev1(mode), b: { ikeLifetimeSeconds: 120 } });
    const { sim, a, b } = sites;
    sim.run(130_000);
    expectUp(sites);
    expect(a.logs.filter((l) => l.message === "IKE SA rekeyed").length).toBeGreaterThan(0);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("both sides begin at once, in any weather: one stays, the same on both sides", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const sites = sitesUp({ both: ikev1(mode), sim: { seed } });
      const { sim, a, b } = sites;
      if (seed % 3 === 0) sim.network.weather = { loss: 0.15, duplication: 0.1, delayMs: 20, jitterMs: 60 };
      sim.rekey(a, { ike: true });
      sim.run(seed * 3);
      sim.rekey(b, { ike: true });
      carryFor(sites, 60_000);
      sim.network.weather = { loss: 0, duplication: 0, delayMs: 20, jitterMs: 0 };
      sim.run(60_000);
      expectOne(sites);
      expect([seed, a.failures, b.failures]).toEqual([seed, [], []]);
      const spis = [a, b].map((node) => tunnelStatus(sim, node).ike?.spiInitiator);
      expect(spis[0]).toBe(spis[1]);
    }
  });

  // With strongSwan it would go with the old one, which is gone as soon as the new one is there.
  it.each(["a", "b"] as const)(
    "a pair that %s makes meanwhile on the old one is made again on the new one",
    (who) => {
      const sites = sitesUp({ both: ikev1(mode) });
      const { sim, a, b } = sites;
      for (const first of ["ike", "child"]) {
        carryFor(sites, 10_000);
        if (first === "ike") sim.rekey(sites[who], { ike: true });
        sim.rekey(a);
        if (first === "child") sim.rekey(sites[who], { ike: true });
        carryFor(sites, 2_000);
        for (const node of [a, b]) {
          const sas = node.gateway.ike.sas() as IsakmpSa[];
          const [current] = sas.filter((sa) => sa.established);
          const carrying = [...current!.children.values()].filter(({ state }) => state.name === "INSTALLED");
          expect(carrying.map(({ madeOn }) => madeOn)).toEqual([current!.spiLocal]);
        }
      }
      carryFor(sites, 60_000);
      expectOne(sites);
      expect([a.failures, b.failures]).toEqual([[], []]);
    },
  );

  it.each([
    ["the peer has forgotten the old one", () => true],
    ["the peer's answers come too late", (from: string) => from === "B"],
  ])("a quick mode on the old one goes over to the new one: %s", (_, isLost) => {
    const sites = sitesUp({ both: ikev1(mode) });
    const { sim, a, b } = sites;
    sim.run(10_000);
    const installed = a.installed.map(({ spi }) => spi);
    const [old] = a.gateway.ike.sas();
    sim.network.faults.push(({ from, datagram }) => {
      const { exchangeType, spiInitiator } = decodeIsakmpHeader(datagram);
      const isOurs =
        exchangeType === IsakmpExchangeType.code.QUICK_MODE && spiInitiator === old!.spiInitiator;
      return isOurs && isLost(from) ? "drop" : "pass";
    });
    sim.rekey(a);
    sim.rekey(a, { ike: true });
    carryFor(sites, 1_500);
    expect(a.installed.map(({ spi }) => spi).filter((spi) => !installed.includes(spi))).toHaveLength(2);
    sim.network.faults.length = 0;
    carryFor(sites, 8_000);
    const [{ children }] = b.gateway.ike.sas() as [IsakmpSa];
    expect([...children.values()].map(({ state }) => state.name)).not.toContain("AWAITED");
    carryFor(sites, 20_000);
    expectOne(sites);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("is not begun while the peer begins one", () => {
    const sites = sitesUp({ both: ikev1(mode) });
    const { sim, a, b } = sites;
    sim.run(10_000);
    sim.rekey(b, { ike: true });
    sim.runUntil(() => a.gateway.ike.halfOpen > 0, 1_000);
    sim.rekey(a, { ike: true });
    carryFor(sites, 5_000);
    expect(a.logs.filter((l) => l.message === "IKE SA rekeyed")).toHaveLength(1);
    expect(tunnelStatus(sim, a).ike?.role).toBe("responder");
  });

  it("cannot be set up: the old one and its IPsec SAs go on to the end of the lifetime, and beyond it", () => {
    const sites = twoSites({
      both: ikev1(mode, { ikeLifetimeSeconds: 100, dpd: { enabled: false } }),
      b: { ikeLifetimeSeconds: 100 },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    const fault = impair.drop(mode === "main" ? "IDENTITY_PROTECTION" : "AGGRESSIVE");
    sim.network.faults.push(fault);
    carryFor(sites, 98_000);
    expect(a.failures.map((f) => f.code)).not.toContain("LIFETIME_EXPIRED");
    sim.run(5_000);
    expect(a.failures.map((f) => f.code)).toContain("LIFETIME_EXPIRED");
    // The IPsec SAs belong to the peer, and not to the ISAKMP SA that made them.
    expectCarrying(sites);
    sim.network.faults.length = 0;
    sim.run(40_000);
    expectUp(sites);
    expect(tunnelStatus(sim, a).ike).toBeDefined();
  });
});

describe("a peer that deletes its ISAKMP SA and keeps the IPsec SAs", () => {
  /** `who` lets its ISAKMP SA go with a word to the other, as some do when its lifetime is over. */
  function letGo({ sim }: Sites, who: Node): void {
    const [sa] = who.gateway.ike.sas() as IsakmpSa[];
    sa!.inform(sim.now, [deleteIsakmp(sa!)]);
    sa!.end(sim.now, "expired");
    // An input that changes nothing: what was done is carried out.
    sim.input(who, { kind: "localAddresses", addresses: who.addresses });
  }

  it("is met with another one at once by the side that keeps the tunnel up", () => {
    const sites = sitesUp({ both: ikev1("main") });
    const { sim, a, b } = sites;
    const installed = a.installed.map(({ spi }) => spi);
    letGo(sites, b);
    carryFor(sites, 5_000);
    sim.run(10_000);
    expectOne(sites);
    expect(a.installed.map(({ spi }) => spi)).toEqual(installed);
    expect(a.gateway.ike.sas().map(({ state }) => state.name)).toEqual(["ESTABLISHED"]);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("time and again, as soon as there is one: the pair carries on, and nobody is in a hurry", () => {
    const sites = sitesUp({ both: ikev1("main") });
    const { sim, a, b } = sites;
    const installed = a.installed.map(({ spi }) => spi);
    const sent = sim.network.trace.length;
    for (let t = 0; t < 60_000; t += 50) {
      sim.run(50);
      expectCarrying(sites);
      const [sa] = b.gateway.ike.sas();
      if (sa?.established) letGo(sites, b);
    }
    // Every 10 s, moved by up to half of that: six messages, and two that say Delete.
    expect(sim.network.trace.length - sent).toBeLessThan(100);
    expect(a.installed.map(({ spi }) => spi)).toEqual(installed);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("keeps them on a passive side until they expire", () => {
    const sites = sitesUp({ both: ikev1("main", { lifetimeSeconds: 300 }) });
    const { sim, a, b } = sites;
    sim.network.faults.push(impair.drop("IDENTITY_PROTECTION"));
    letGo(sites, a);
    sim.run(20_000);
    expect(b.gateway.ike.sas().map(({ state }) => state.name)).toEqual(["DETACHED"]);
    expect(b.installed).toHaveLength(2);
    expect(tunnelStatus(sim, b).state).toBe("up");
    sim.run(320_000);
    expectNothingLeft(b);
    expect(b.gateway.ike.size).toBe(0);
  });
});
