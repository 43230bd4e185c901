import { describe, expect, it } from "vitest";
import { siteConfig } from "./config.ts";
import { pairsOf, Simulation, tunnelStatus } from "./simulation.ts";

describe("a tunnel comes up (RFC 7296 §1.2)", () => {
  it("HDR, SAi1, KEi, Ni --> <-- HDR, SAr1, KEr, Nr; HDR, SK {IDi, AUTH, ...} --> <-- HDR, SK {IDr, AUTH, ...}", () => {
    const sim = new Simulation();
    const a = sim.add("A", siteConfig({ addresses: ["192.0.2.1"], peers: ["198.51.100.7"] }));
    const b = sim.add(
      "B",
      siteConfig({ addresses: ["198.51.100.7"], peers: ["192.0.2.1"], start: "passive" }),
    );
    sim.start(a, b);
    sim.run(1000);
    expect(sim.network.trace).toEqual([
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      "A: IKE_AUTH request 1",
      "B: IKE_AUTH response 1",
    ]);
    expect(tunnelStatus(sim, a).state).toBe("up");
    expect(tunnelStatus(sim, b).state).toBe("up");
    expect(pairsOf(a, b)).toEqual({ matched: 2, unmatched: [] });
  });
});
