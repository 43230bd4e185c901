/** A gateway whose own loop comes late: what it did not do, and did not read, is no silence of its peers. */
import { describe, expect, it } from "vitest";
import { Prefix } from "../../src/core/address.ts";
import { connectionConfig, siteConfig } from "./config.ts";
import { type Node, Simulation } from "./simulation.ts";
import { addressA, addressB, expectUp, sitesUp } from "./two-sites.ts";

const codes = (node: Node) => node.failures.map(({ code }) => code);

describe("a gateway whose loop comes late", () => {
  it.each([2_000, 30_000, 60_000, 600_000])("%d ms: nobody counts as dead whose answer waits", (lateMs) => {
    // The other one, which is not late, would rightly give us up.
    const sites = sitesUp({ b: { dpd: { enabled: false } } });
    const { sim, a } = sites;
    // Its question is out, and from here on nothing that arrives is read, and no timer runs.
    expect(sim.runUntil(() => sim.network.trace.length > 0, 11_000)).toBe(true);
    sim.stall(a, lateMs);
    sim.run(lateMs + 1_000);
    expect(codes(a)).toEqual([]);
    expectUp(sites);
    expect(sim.network.trace.filter((line) => line.startsWith("A: IKE_SA_INIT"))).toEqual([]);
  });

  it("asks once more before it gives up, and gives up when nobody answers", () => {
    const { sim, a, b } = sitesUp();
    expect(sim.runUntil(() => sim.network.trace.length > 0, 11_000)).toBe(true);
    b.dead = true;
    sim.network.trace.length = 0;
    sim.stall(a, 60_000);
    sim.run(60_100);
    expect(codes(a)).toEqual([]);
    expect(sim.network.trace[0]).toBe("A: INFORMATIONAL request 2");
    // What patience there was when it stopped, and no more.
    sim.run(31_000);
    expect(codes(a)[0]).toBe("DPD_TIMEOUT");
  });

  it("that is late again and again gives a dead peer up all the same", () => {
    const { sim, a, b } = sitesUp();
    expect(sim.runUntil(() => sim.network.trace.length > 0, 11_000)).toBe(true);
    b.dead = true;
    for (let i = 0; i < 12 && codes(a).length === 0; i++) {
      sim.stall(a, 30_000);
      sim.run(30_100);
    }
    expect(codes(a)[0]).toBe("DPD_TIMEOUT");
  });
});

describe("many liveness checks that are due at once", () => {
  it("are spread over time, and each peer is asked", () => {
    const names = Array.from({ length: 100 }, (_, i) => `c${i}`);
    const sim = new Simulation();
    const add = (name: "A" | "B", other: "A" | "B") => {
      const config = siteConfig({ name, addresses: [addresses[name]] });
      const connections = names.map((connection, i) => {
        const localId = { kind: "fqdn", fqdn: `${connection}.${name}` } as const;
        const remoteId = { kind: "fqdn", fqdn: `${connection}.${other}` } as const;
        const start = name === "A" ? "immediately" : "passive";
        const options = {
          peers: [addresses[other]],
          start,
          localId,
          remoteId,
          rehearseRekey: false,
        } as const;
        return connectionConfig(options, connection, i);
      });
      const destination = names.map((connection, i) => ({
        ...{ destination: Prefix.parse(`10.${name === "A" ? 1 : 2}.0.${i}/32`), connection },
        ...{ weight: 100, publish: false },
      }));
      return sim.add(name, { ...config, connections, routes: { destination, policy: [] } });
    };
    const [a, b] = [add("A", "B"), add("B", "A")];
    sim.start(b, a);
    sim.run(8_000);
    expect([a, b].map(({ gateway }) => gateway.connectionCount.up)).toEqual([100, 100]);
    // Packets of all of them came just now, and then none.
    for (const node of [a, b]) for (const { spi } of node.inbound) node.lastInbound.set(spi, sim.now);
    const sent = new Map<number, number>();
    sim.network.faults.push(({ from }) => {
      if (from === "A") sent.set(sim.now, (sent.get(sim.now) ?? 0) + 1);
      return "pass";
    });
    sim.run(9_990);
    expect(sent.size).toBe(0);
    sim.run(1_000);
    const counts = [...sent.values()];
    expect(counts.reduce((sum, n) => sum + n, 0)).toBe(names.length);
    expect(counts.length).toBeGreaterThanOrEqual(3);
    expect(Math.max(...counts)).toBeLessThanOrEqual(65);
    expect([...codes(a), ...codes(b)]).toEqual([]);
  });
});

const addresses = { A: addressA, B: addressB };
