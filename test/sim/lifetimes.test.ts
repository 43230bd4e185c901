import { describe, expect, it } from "vitest";
import type { InstalledSa, Node } from "./simulation.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectUp, type Sites, twoSites } from "./two-sites.ts";

function up(options: Parameters<typeof twoSites>[0] = {}): Sites {
  const sites = twoSites(options);
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  expectUp(sites);
  return sites;
}

const limits = ({ softBytes, hardBytes, softPackets, hardPackets }: InstalledSa) => ({
  softBytes,
  hardBytes,
  softPackets,
  hardPackets,
});

describe("what wears an SA out (RFC 4301 §4.4.2.1)", () => {
  it("bytes and packets, in both directions: hard as configured, soft earlier, the initiator's before the responder's", () => {
    const both = { lifetimeKilobytes: 4096, lifetimePackets: 100_000 };
    const parts = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      const { a, b } = up({ both, sim: { seed } });
      for (const [node, from, to] of [
        [a, 0.8, 0.86],
        [b, 0.88, 0.94],
      ] as const) {
        expect(node.installed).toHaveLength(2);
        for (const sa of node.installed) {
          const { softBytes, hardBytes, softPackets, hardPackets } = limits(sa);
          expect([hardBytes, hardPackets]).toEqual([4096 * 1024, 100_000]);
          for (const part of [softBytes / hardBytes, softPackets / hardPackets]) {
            expect(part).toBeGreaterThan(from - 0.001);
            expect(part).toBeLessThanOrEqual(to);
          }
        }
        parts.add(node.installed[0]!.softPackets);
      }
    }
    // Jitter: many tunnels that came up together are not rekeyed together.
    expect(parts.size).toBeGreaterThan(30);
  });

  it("sequence numbers: without ESN an SA has 2^32 − 1 packets to give, whatever is configured (RFC 4303 §3.3.3)", () => {
    const last = 2 ** 32 - 1;
    for (const [esp, lifetimePackets, hard] of [
      ["aes128gcm16-noesn", 0, last],
      ["aes128gcm16-noesn", 2 ** 40, last],
      ["aes128gcm16-noesn", 5000, 5000],
      ["aes128gcm16-esn", 0, 0],
      ["aes128gcm16-esn", 2 ** 40, 2 ** 40],
    ] as const) {
      const { a } = up({ both: { esp: [esp], lifetimePackets } });
      for (const sa of a.installed) {
        expect(sa.hardPackets).toBe(hard);
        expect(sa.softPackets).toBeLessThanOrEqual(0.86 * hard);
        expect(sa.softPackets).toBeGreaterThanOrEqual(Math.floor(0.8 * hard));
      }
    }
  });

  it.each(["inbound", "outbound"] as const)("a soft limit of the %s SA replaces both, once", (direction) => {
    for (const party of ["a", "b"] as const) {
      const sites = up({ both: { lifetimePackets: 1000 } });
      const node: Node = sites[party];
      const { spi, remote } = node[direction][0]!;
      for (let i = 0; i < 2; i++) sites.sim.event(node, { kind: "softLifetime", spi, direction, remote });
      sites.sim.run(10_000);
      expectUp(sites);
      expect(node[direction][0]!.spi).not.toBe(spi);
      expect(node.logs.filter((l) => l.message === "CHILD_SA rekeyed")).toHaveLength(1);
    }
  });

  it("the successor has the limits anew", () => {
    const sites = up({ both: { lifetimePackets: 1000, lifetimeKilobytes: 4096 } });
    sites.sim.rekey(sites.a);
    sites.sim.run(10_000);
    for (const sa of [...sites.a.installed, ...sites.b.installed])
      expect(limits(sa)).toMatchObject({ hardPackets: 1000, hardBytes: 4096 * 1024 });
    expect(tunnelStatus(sites.sim, sites.a).children).toHaveLength(1);
  });

  it("an SA at its hard limit is left for the peer's successor, evidence or not", () => {
    const sites = up();
    const { sim, a, b } = sites;
    const old = b.outbound[0]!;
    sim.network.faults.push((packet, name) =>
      packet.from === "A" && name.startsWith("INFORMATIONAL") ? "drop" : "pass",
    );
    sim.rekey(a);
    sim.run(100);
    const preferred = () => b.plan?.connections[0]?.outbound[0]?.spi;
    expect(preferred()).toBe(old.spi);
    sim.event(b, { kind: "hardLifetime", spi: old.spi, direction: "outbound", remote: old.remote });
    expect(preferred()).not.toBe(old.spi);
    sim.network.faults.length = 0;
    sim.run(10_000);
    expectUp(sites);
  });
});
