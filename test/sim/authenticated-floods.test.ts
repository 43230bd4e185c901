import { describe, expect, it } from "vitest";
import { CraftedPeer } from "./crafted-peer.ts";
import { impair } from "./network.ts";
import { addressA, addressB, expectUp, twoSites } from "./two-sites.ts";

describe("a peer that rekeys its IKE SA again and again, and deletes nothing", () => {
  it("is told to wait (TEMPORARY_FAILURE) while sixteen of them are left, and goes on afterwards", () => {
    const sites = twoSites({
      a: { dpd: { enabled: false } },
      b: { start: "passive", dpd: { enabled: false } },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    sim.network.faults.push(impair.drop("INFORMATIONAL request", Number.POSITIVE_INFINITY, a.name));
    let most = 0;
    for (let i = 0; i < 300; i++) {
      sim.input(a, { kind: "command", command: { verb: "rekey", connection: "site", ike: true } });
      sim.run(100);
      most = Math.max(most, b.gateway.ike.sas().filter((sa) => !sa.closed).length);
    }
    expect(most).toBeGreaterThan(10);
    expect(most).toBeLessThan(20);
    sim.network.faults.length = 0;
    sim.run(120_000);
    expectUp(sites);
    expect(b.gateway.ike.sas()).toHaveLength(1);
  });
});

describe("a peer that authenticates again and again, and deletes nothing", () => {
  it("has a few IKE SAs at any time, the newest, whatever it can afford to begin", () => {
    const { sim, b } = twoSites();
    sim.start(b);
    for (let i = 1; i <= 30; i++) {
      sim.network.faults.length = 0;
      const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
      peer.spiInitiator = BigInt(i);
      peer.init();
      expect(peer.auth()).toBeDefined();
      sim.run(50);
      const sas = b.gateway.ike.sas().filter((sa) => !sa.closed);
      expect(sas.length).toBeLessThanOrEqual(9);
      expect(sas.at(-1)).toMatchObject({ spiRemote: BigInt(i), established: true });
    }
  });
});
