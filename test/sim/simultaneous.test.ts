import { describe, expect, it } from "vitest";
import { impair } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectCarrying, expectUp, twoSites } from "./two-sites.ts";

const both = { start: "immediately" } as const;

function bothStart(seed: number, skewMs = 0) {
  const sites = twoSites({ both, b: both, sim: { seed } });
  sites.sim.start(sites.a);
  sites.sim.run(skewMs);
  sites.sim.start(sites.b);
  return sites;
}

describe("both sides initiate at once", () => {
  it.each([0, 3, 9, 10, 11, 19, 20, 21, 29, 30, 31, 39, 40, 41, 60])(
    "B starts %d ms after A: one IKE SA and one pair of SAs are left",
    (skewMs) => {
      for (let seed = 1; seed <= 6; seed++) {
        const sites = bothStart(seed, skewMs);
        sites.sim.run(60_000);
        expectUp(sites);
      }
    },
  );

  it.each([
    "IKE_SA_INIT request",
    "IKE_SA_INIT response",
    "IKE_AUTH request",
    "IKE_AUTH response",
    "INFORMATIONAL request",
    "INFORMATIONAL response",
  ])("with one %s of either side lost", (message) => {
    for (const from of ["A", "B"]) {
      for (let seed = 1; seed <= 6; seed++) {
        const sites = twoSites({ both, b: both, sim: { seed } });
        sites.sim.network.faults.push(impair.drop(message, 1, from));
        sites.sim.start(sites.a, sites.b);
        sites.sim.run(60_000);
        expectUp(sites);
      }
    }
  });

  it.each(["IKE_SA_INIT request", "IKE_SA_INIT response", "IKE_AUTH request", "IKE_AUTH response"])(
    "with A's first %s held up on the way",
    (message) => {
      for (const delayMs of [15, 25, 35, 45, 100, 400, 3000]) {
        const sites = twoSites({ both, b: both, sim: { seed: delayMs } });
        sites.sim.network.faults.push(impair.delay(message, delayMs, 1, "A"));
        sites.sim.start(sites.a, sites.b);
        sites.sim.run(60_000);
        expectUp(sites);
      }
    },
  );

  it("the tunnel is up all the time after it first came up", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const sites = bothStart(seed);
      const { sim, a, b } = sites;
      sim.runUntil(() => [a, b].every((n) => tunnelStatus(sim, n).state === "up"), 10_000);
      for (let i = 0; i < 300; i++) {
        sim.run(10);
        expect([tunnelStatus(sim, a).state, tunnelStatus(sim, b).state]).toEqual(["up", "up"]);
        expectCarrying(sites);
      }
    }
  });
});
