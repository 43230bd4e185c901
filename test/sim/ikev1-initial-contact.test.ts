/**
 * INITIAL-CONTACT (RFC 2407 §4.6.3.3): who says it may have lost everything, or may have put a new ISAKMP SA into the
 * place of another and still use its IPsec SAs, as strongSwan does.
 */
import { describe, expect, it } from "vitest";
import { ikev1, modes } from "./ikev1.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { expectUp, type Sites, sitesUp } from "./two-sites.ts";

const sends = (node: Node) => node.plan?.connections[0]?.outbound.map(({ spi }) => spi) ?? [];

/** What A begins itself of phase 2 does not arrive; what it answers does. */
function muteQuickModeOfA({ sim }: Sites): void {
  const begunByB = new Set<string>();
  sim.network.faults.push(({ from }, name) => {
    if (!name.startsWith("QUICK_MODE")) return "pass";
    if (from === "B") begunByB.add(name);
    return begunByB.has(name) ? "pass" : "drop";
  });
}

describe.each(modes)("INITIAL-CONTACT in %s mode", (mode) => {
  it("leaves the IPsec SAs in use until a new pair is there, which we make if the peer does not", () => {
    const sites = sitesUp({ both: ikev1(mode) });
    const { sim, a, b, configA } = sites;
    sim.run(60_000);
    const before = sends(b);
    expect(before).toHaveLength(1);
    muteQuickModeOfA(sites);
    sim.crash(a, configA);
    for (let i = 0; i < 50; i++) {
      sim.run(10);
      expect(sends(b)[0]).toBeDefined();
    }
    // The new ISAKMP SA is there, and nothing else.
    expect(sends(b)).toEqual(before);
    expect(tunnelStatus(sim, b).ike?.ageMs).toBeLessThan(1_000);
    sim.run(5_000);
    expect(sends(b)[0]).not.toBe(before[0]);
    expect(sends(b)[0]).toBe(a.inbound.at(-1)?.spi);
    sim.run(120_000);
    expectUp(sites);
    expect(b.failures).toEqual([]);
  });

  it("ends what the peer does not want to replace", () => {
    const sites = sitesUp({ both: ikev1(mode, { esp: ["aes128-sha256"] }) });
    const { sim, a, b, configA } = sites;
    sim.run(60_000);
    const [connection] = configA.connections;
    const espProposals = [{ ...connection!.ipsec.proposals[0]!, encryption: [{ id: 12, keyBits: 256 }] }];
    const changed = { ...connection!, ipsec: { ...connection!.ipsec, proposals: espProposals } };
    sim.crash(a, { ...configA, connections: [changed] });
    sim.run(10_000);
    expect(sends(b)).toEqual([]);
    expect(b.installed).toEqual([]);
  });
});
