/** Which version of IKE two sites speak, when each is configured for one or for both, and what is said about it. */
import { describe, expect, it } from "vitest";
import type { SiteOptions } from "./config.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { expectUp, type Sites, twoSites } from "./two-sites.ts";

type Version = NonNullable<SiteOptions["version"]>;

const words = {
  ike: ["aes128gcm16-prfsha256-x25519", "aes128-sha256-ecp256"],
  esp: ["aes128-sha256"],
} as const;

function started(a: SiteOptions, b: SiteOptions): Sites {
  const own = ({ version = "ikev2" }: SiteOptions) => ({
    ...words,
    ...(version === "ikev1" && { ike: [words.ike[1]] }),
  });
  const sites = twoSites({ a: { ...own(a), ...a }, b: { ...own(b), ...b } });
  sites.sim.start(sites.a, sites.b);
  return sites;
}

const spoken = ({ sim }: Sites, node: Node) => {
  const { ike } = tunnelStatus(sim, node);
  return ike && [ike.version, ike.mode];
};

describe("a tunnel speaks", () => {
  it.each<[a: Version, b: Version, version: 1 | 2]>([
    ["ikev1", "ikev1", 1],
    ["ikev1", "auto", 1],
    ["auto", "auto", 2],
    ["auto", "ikev2", 2],
    ["ikev2", "auto", 2],
  ])("A %s calls B %s: IKEv%d", (a, b, version) => {
    const sites = started({ version: a }, { version: b });
    sites.sim.run(2000);
    expectUp(sites);
    const mode = version === 1 ? "main" : undefined;
    expect([spoken(sites, sites.a), spoken(sites, sites.b)]).toEqual([
      [version, mode],
      [version, mode],
    ]);
  });

  it("aggressive mode where both sides say so, and the status shows it", () => {
    const aggressive = { version: "ikev1", mode: "aggressive" } as const;
    const sites = started(aggressive, aggressive);
    sites.sim.run(2000);
    expectUp(sites);
    expect(spoken(sites, sites.a)).toEqual([1, "aggressive"]);
    const { weak } = sites.a.gateway.status(sites.sim.now).connections[0]!;
    expect(weak.map((line) => line.split(":")[0])).toEqual(["ikev1", "aggressive"]);
  });

  it("IKEv1 when auto calls in vain and its peer, which has nothing newer, calls back", () => {
    const sites = started({ version: "auto" }, { version: "ikev1", start: "immediately" });
    sites.sim.run(3000);
    expectUp(sites);
    expect(spoken(sites, sites.a)).toEqual([1, "main"]);
    sites.sim.run(120_000);
    expectUp(sites);
    expect(sites.a.gateway.ike.sas()).toHaveLength(1);
  });

  it("nothing where the versions differ, and either side's record says why", () => {
    for (const [a, b] of [
      ["ikev1", "ikev2"],
      ["ikev2", "ikev1"],
    ] as const) {
      const sites = started({ version: a }, { version: b });
      sites.sim.run(2000);
      expect(tunnelStatus(sites.sim, sites.b).ike).toBeUndefined();
      expect(sites.b.failures[0]).toMatchObject({
        code: "IKE_VERSION_MISMATCH",
        connection: "site",
        difference: `version: ours ${b}, theirs ${a}`,
      });
    }
  });
});

describe("a connection of auto", () => {
  it("moves to IKEv2 when its peer does, and ends what it had in IKEv1", () => {
    const old = { version: "ikev1", start: "immediately" } as const;
    const sites = started({ version: "auto", start: "passive" }, old);
    const { sim, a, b } = sites;
    sim.run(2000);
    expect(spoken(sites, a)).toEqual([1, "main"]);
    const newer = twoSites({
      a: { ...words, version: "auto", start: "passive" },
      b: { ...words, start: "immediately" },
    });
    sim.crash(b, newer.configB);
    sim.run(5000);
    expectUp(sites);
    expect(spoken(sites, a)).toEqual([2, undefined]);
    expect(
      a.gateway.ike
        .sas()
        .filter((sa) => !sa.closed)
        .map((sa) => sa.version),
    ).toEqual([2]);
  });

  it("is told of in events and the log with its version", () => {
    const sites = started({ version: "ikev1" }, { version: "auto" });
    sites.sim.run(2000);
    for (const node of [sites.a, sites.b]) {
      expect(node.events).toContainEqual(
        expect.objectContaining({ type: "ikeSa", change: "up", version: 1 }),
      );
      expect(node.logs.find(({ message }) => message === "IKE SA up")!.fields).toMatchObject({ version: 1 });
    }
  });
});
