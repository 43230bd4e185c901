import { describe, expect, it } from "vitest";
import { impair } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectNothingLeft, expectUp, twoSites } from "./two-sites.ts";

const setUp = ["IKE_SA_INIT request", "IKE_SA_INIT response", "IKE_AUTH request", "IKE_AUTH response"];

describe("lost messages (RFC 7296 §2.1)", () => {
  it.each(setUp)("one %s lost: the request is repeated and the same answer comes again", (message) => {
    const sites = twoSites();
    sites.sim.network.faults.push(impair.drop(message, 1));
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(2000);
    expectUp(sites);
  });

  it.each(setUp)("five times %s lost", (message) => {
    const sites = twoSites();
    sites.sim.network.faults.push(impair.drop(message, 5));
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(30_000);
    expectUp(sites);
  });

  it.each(setUp)(
    "%s never arrives: the attempt is given up, another follows, for ever, and nothing is left",
    (message) => {
      const sites = twoSites();
      const { sim, a, b } = sites;
      const fault = impair.drop(message);
      sim.network.faults.push(fault);
      sim.start(a, b);
      sim.run(600_000);
      expect(tunnelStatus(sim, a).state).not.toBe("up");
      expectNothingLeft(a);
      expect(a.failures.at(-1)).toMatchObject({
        code: message.startsWith("IKE_AUTH") ? "IKE_AUTH_UNANSWERED" : "PEER_UNREACHABLE",
        connection: "site",
      });
      sim.network.faults.length = 0;
      expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
      // What earlier attempts left on B goes with its own timers.
      sim.run(60_000);
      expectUp(sites);
    },
  );

  it("waits longer between repetitions, up to eight seconds", () => {
    const { sim, a, b } = twoSites();
    const times: number[] = [];
    sim.network.faults.push(() => {
      times.push(sim.now);
      return "drop";
    });
    sim.start(a, b);
    sim.run(29_000);
    const gaps = times.slice(1).map((t, i) => Math.round(t - times[i]!));
    expect(gaps).toEqual([500, 900, 1620, 2916, 5249, 8000, 8000]);
  });

  it("every message twice: nothing is done twice", () => {
    const sites = twoSites();
    sites.sim.network.weather = { loss: 0, duplication: 1, delayMs: 10, jitterMs: 5 };
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(120_000);
    expectUp(sites);
    expect(sites.a.logs.filter((l) => l.message === "CHILD_SA up")).toHaveLength(1);
    expect(sites.b.logs.filter((l) => l.message === "CHILD_SA up")).toHaveLength(1);
  });

  it("a late copy of an old message changes nothing", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    const copies: (() => void)[] = [];
    sim.network.faults.push((packet) => {
      copies.push(() => sim.deliver(packet.source, packet.destination, packet.datagram));
      return "pass";
    });
    sim.start(a, b);
    sim.run(45_000);
    const before = sim.network.trace.length;
    for (const copy of copies) copy();
    sim.run(5_000);
    expectUp(sites);
    expect(sim.network.trace.slice(before).filter((t) => t.includes("IKE_SA_INIT"))).toEqual([]);
  });
});
