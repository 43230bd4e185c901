import { describe, expect, it } from "vitest";
import { IpAddress } from "../../src/core/address.ts";
import { impair } from "./network.ts";
import { pairsOf, tunnelStatus } from "./simulation.ts";
import { expectNothingLeft, expectUp, sitesUp, twoSites } from "./two-sites.ts";

describe("Delete (RFC 7296 §1.4.1)", () => {
  it("initiator's command down: HDR, SK {D(IKE)} --> <-- HDR, SK {}", () => {
    const { sim, a, b } = sitesUp();
    sim.command(a, "down");
    expectNothingLeft(a);
    sim.run(1000);
    expect(sim.network.trace).toEqual(["A: INFORMATIONAL request 2", "B: INFORMATIONAL response 2"]);
    expectNothingLeft(b);
    expect(tunnelStatus(sim, a)).toMatchObject({ state: "down", ike: undefined, children: [] });
    expect(tunnelStatus(sim, b)).toMatchObject({ state: "waiting", ike: undefined });
    sim.run(600_000);
    expect(sim.network.trace).toHaveLength(2);
  });

  it("responder's command down: the initiator, which should be up, keeps asking and is refused; up lets it in", () => {
    const sites = sitesUp();
    const { sim, a, b } = sites;
    sim.command(b, "down");
    sim.run(30_000);
    expectNothingLeft(a);
    expectNothingLeft(b);
    expect(tunnelStatus(sim, b).state).toBe("down");
    sim.command(b, "up");
    expect(sim.runUntil(() => tunnelStatus(sim, b).state === "up", 120_000)).toBe(true);
    sim.run(60_000);
    expectUp(sites);
  });

  it.each(["INFORMATIONAL request", "INFORMATIONAL response"])(
    "with the %s lost it is repeated",
    (message) => {
      const { sim, a, b } = sitesUp();
      sim.network.faults.push(impair.drop(message, 1));
      sim.command(a, "down");
      sim.run(5000);
      expectNothingLeft(a);
      expectNothingLeft(b);
    },
  );

  it("to a peer that is gone it is given up soon", () => {
    const { sim, a, b } = sitesUp();
    b.dead = true;
    sim.command(a, "down");
    sim.run(5000);
    expectNothingLeft(a);
    expect(tunnelStatus(sim, a)).toMatchObject({ state: "down", ike: undefined });
  });

  it("from both sides at the same moment", () => {
    const { sim, a, b } = sitesUp();
    sim.command(a, "down");
    sim.command(b, "down");
    sim.run(20_000);
    expectNothingLeft(a);
    expectNothingLeft(b);
    expect(a.gateway.status(sim.now).ike.halfOpen).toBe(0);
  });

  it("down while connecting leaves nothing on either side", () => {
    for (const delayMs of [0, 5, 15, 25, 35, 45]) {
      const { sim, a, b } = twoSites();
      sim.start(a, b);
      sim.run(delayMs);
      sim.command(a, "down");
      sim.run(60_000);
      expectNothingLeft(a);
      expectNothingLeft(b);
      expect(tunnelStatus(sim, a).state).toBe("down");
    }
  });

  it("down on the responder while the peer is half-way in", () => {
    for (const delayMs of [5, 15, 25, 35]) {
      const { sim, a, b } = twoSites();
      sim.start(a, b);
      sim.run(delayMs);
      sim.command(b, "down");
      sim.run(60_000);
      expectNothingLeft(a);
      expectNothingLeft(b);
    }
  });

  it("reset closes and comes back at once", () => {
    const sites = sitesUp();
    const before = sites.a.inbound[0]!.spi;
    sites.sim.command(sites.a, "reset");
    sites.sim.run(2000);
    expectUp(sites);
    expect(sites.a.inbound[0]!.spi).not.toBe(before);
  });

  it("shutdown tells the peer, then reports that it has stopped", () => {
    const { sim, a, b } = sitesUp();
    sim.input(a, { kind: "shutdown" });
    expect(a.stopped).toBe(false);
    sim.run(100);
    expect(a.stopped).toBe(true);
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("shutdown does not wait for a peer that is gone", () => {
    const { sim, a, b } = sitesUp();
    b.dead = true;
    sim.input(a, { kind: "shutdown" });
    sim.run(2100);
    expect(a.stopped).toBe(true);
    expectNothingLeft(a);
  });

  it("shutdown with nothing up stops at once", () => {
    const { sim, a } = twoSites({ a: { start: "passive" } });
    sim.start(a);
    sim.input(a, { kind: "shutdown" });
    expect(a.stopped).toBe(true);
  });
});

describe("liveness (RFC 7296 §2.4)", () => {
  it("asks when nothing was heard for the interval, from one side only", () => {
    const sites = sitesUp();
    sites.sim.run(60_000);
    expect(sites.sim.network.trace.filter((t) => t.includes("request")).length).toBeGreaterThanOrEqual(5);
    expect(sites.sim.network.trace.filter((t) => t.includes("request")).length).toBeLessThanOrEqual(7);
    expectUp(sites);
  });

  it("restart: a dead peer is noticed, its SAs removed, and it is called until it answers", () => {
    const sites = sitesUp();
    const { sim, a, b } = sites;
    b.dead = true;
    sim.run(60_000);
    expectNothingLeft(a);
    expect(a.failures.map((f) => f.code)).toContain("DPD_TIMEOUT");
    b.dead = false;
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
    sim.run(60_000);
    expectUp(sites);
  });

  it("clear: waits for traffic", () => {
    const sites = sitesUp({ a: { dpd: { action: "clear" } } });
    const { sim, a, b } = sites;
    b.dead = true;
    sim.run(120_000);
    expect(tunnelStatus(sim, a).state).toBe("waiting");
    const sent = sim.network.trace.length;
    b.dead = false;
    sim.run(120_000);
    expect(sim.network.trace.length).toBe(sent);
    const packet = { source: IpAddress.parse("10.1.0.1"), destination: IpAddress.parse("10.2.0.1") };
    sim.event(a, {
      kind: "acquire",
      connection: 0,
      ...packet,
      protocol: 1,
      sourcePort: 0,
      destinationPort: 0,
    });
    sim.run(40_000);
    expectUp(sites);
  });

  it("disabled: nobody asks", () => {
    const sites = sitesUp({ both: { dpd: { enabled: false } } });
    sites.sim.run(3_600_000);
    expect(sites.sim.network.trace).toEqual([]);
  });

  it("a path that loses half of everything for a while does not end the tunnel", () => {
    const sites = sitesUp();
    sites.sim.network.weather = { loss: 0.5, duplication: 0, delayMs: 10, jitterMs: 20 };
    sites.sim.run(120_000);
    sites.sim.network.weather = { loss: 0, duplication: 0, delayMs: 10, jitterMs: 0 };
    sites.sim.run(60_000);
    expectUp(sites);
  });
});

describe("a peer that restarts", () => {
  it("INITIAL_CONTACT: the old SAs go as soon as the new ones are there", () => {
    const sites = sitesUp();
    const { sim, a, b, configA } = sites;
    sim.crash(a, configA);
    sim.run(1000);
    expectUp(sites);
    expect(b.logs.some((l) => l.fields["why"] === "superseded")).toBe(true);
  });

  it("the responder crashed: liveness finds out and the tunnel comes back", () => {
    const sites = sitesUp();
    const { sim, a, b, configB } = sites;
    sim.crash(b, configB);
    expect(sim.runUntil(() => b.installed.length > 0, 120_000)).toBe(true);
    sim.run(60_000);
    expectUp(sites);
    expect(pairsOf(a, b).unmatched).toEqual([]);
  });
});
