import { describe, expect, it } from "vitest";
import { expectUp, twoSites } from "./two-sites.ts";

describe("an IKEv1 tunnel (RFC 2409)", () => {
  it.each(["main", "aggressive"] as const)("comes up in %s mode", (mode) => {
    const sites = twoSites({ both: { version: "ikev1", mode } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expect([...sites.a.failures, ...sites.b.failures]).toEqual([]);
    expectUp(sites);
  });
});
