import { describe, expect, it } from "vitest";
import { IpAddress } from "../../src/core/address.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { expectUp, type Sites, twoSites } from "./two-sites.ts";

function up(): Sites {
  const sites = twoSites();
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  expectUp(sites);
  return sites;
}

const tell = ({ sim }: Sites, node: Node) =>
  sim.input(node, { kind: "installed", sas: node.installed.map((sa) => ({ ...sa })) });

const errors = (node: Node) => node.logs.filter((l) => l.level === "error").map((l) => l.message);

describe("the data plane is compared with what should be installed", () => {
  it("finds nothing at any moment of rekeys by both sides", () => {
    const sites = up();
    const { sim, a, b } = sites;
    for (let i = 0; i < 400; i++) {
      if (i % 20 === 0) sim.rekey(a);
      if (i % 30 === 0) sim.rekey(b);
      if (i % 70 === 0) sim.rekey(a, { ike: true });
      sim.run(25);
      for (const node of [a, b]) tell(sites, node);
    }
    expect([...errors(a), ...errors(b)]).toEqual([]);
    sim.run(20_000);
    expectUp(sites);
  });

  it.each(["inbound", "outbound"] as const)(
    "an %s SA that is not there: an error, and a new pair",
    (direction) => {
      const sites = up();
      const { sim, a } = sites;
      const old = tunnelStatus(sim, a).children[0]!.spiIn;
      a.installed.splice(a.installed.indexOf(a[direction][0]!), 1);
      tell(sites, a);
      expect(errors(a)).toEqual(["data plane differs: replacing a CHILD_SA that is not installed"]);
      // Known now, and being replaced.
      tell(sites, a);
      expect(errors(a)).toHaveLength(1);
      sim.run(10_000);
      expectUp(sites);
      expect(tunnelStatus(sim, a).children[0]!.spiIn).not.toBe(old);
    },
  );

  it("an SA of nobody: an error, and it is removed", () => {
    const sites = up();
    const { a } = sites;
    const stray = { ...a.outbound[0]!, spi: 0xdead, remote: IpAddress.parse("203.0.113.99") };
    const other = { ...a.inbound[0]!, spi: 0xbeef };
    a.installed.push(stray, other);
    tell(sites, a);
    expect(errors(a)).toEqual(Array(2).fill("data plane differs: removing an SA of nobody"));
    expectUp(sites);
  });
});
