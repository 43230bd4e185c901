/** Several CHILD_SAs in one IKE SA, with strongSwan on the other end: each pair of subnets carries its own traffic. */
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import type { StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Site, Topology } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network, strongSwanOn } from "./support.ts";

describeInNamespaces("several CHILD_SAs with strongSwan", ["strongswan"], () => {
  it.each(["auto", true] as const)(
    "culvert initiates with perSubnetPair %s; strongSwan has a child for each pair",
    async (perSubnetPair) => {
      const { bed, a, b } = await widerNetwork();
      await strongSwanOn(bed, b, a, pairwise(a, b));
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", flows(a, b, { perSubnetPair })));
      await allUp(culvert, 5);
      await expectAllPairs(a, b);
      expect((await culvert.connection()).tunnels[0]?.children).toHaveLength(5);
    },
  );

  it("strongSwan initiates its children one by one", async () => {
    const { bed, a, b } = await widerNetwork();
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...flows(a, b), start: "passive" }));
    const peer = await strongSwanOn(bed, b, a, pairwise(a, b));
    for (const { name } of pairwise(a, b).children!) expect((await peer.initiate(10, name)).code).toBe(0);
    await allUp(culvert, 5);
    await expectAllPairs(a, b);
    expect((await peer.sas()).match(/INSTALLED/g)).toHaveLength(5);
  });

  it("one that strongSwan closes comes back, and the others stay", async () => {
    const { bed, a, b } = await widerNetwork();
    const peer = await strongSwanOn(bed, b, a, pairwise(a, b));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", flows(a, b)));
    const before = (await allUp(culvert, 5)).tunnels[0]!.children.map((child) => child.spiIn);
    expect((await peer.swanctl(["--terminate", "--child", "p11"])).code).toBe(0);
    const after = await culvert.waitFor("all pairs up anew", ({ tunnels }) => {
      const [tunnel] = tunnels;
      return tunnel?.pairs?.up === 5 && tunnel.children.some((child) => !before.includes(child.spiIn));
    });
    expect(after.tunnels[0]!.children.filter((child) => before.includes(child.spiIn))).toHaveLength(4);
    await expectAllPairs(a, b);
  });

  it("on traffic: a pair without an SA drops its packets as no_sa, and they bring it up", async () => {
    const { bed, a, b } = await widerNetwork();
    const peer = await strongSwanOn(bed, b, a, pairwise(a, b));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...flows(a, b), start: "on-traffic" }));
    await waitForPing(a.host, b.hostAddress);
    await allUp(culvert, 5);
    expect((await peer.swanctl(["--terminate", "--child", "p11"])).code).toBe(0);
    await culvert.waitFor("one pair down", ({ tunnels }) => tunnels[0]?.pairs?.up === 4);
    const noSa = async () =>
      (await culvert.status()).drops.find(({ reason }) => reason === "no_sa")?.packets ?? 0;
    const before = await noSa();
    expect((await ping(a.host, second.b, { source: second.a, count: 200 })).received).toBeGreaterThan(0);
    expect(await noSa()).toBeGreaterThan(before);
    await allUp(culvert, 5);
    await expectAllPairs(a, b);
  });

  it.each(["culvert", "strongSwan"] as const)("narrows both ways when %s initiates", async (initiator) => {
    const { bed, a, b } = await widerNetwork();
    // Each has more than the other at one end.
    const peer = await strongSwanOn(bed, b, a, {
      localSubnets: ["10.2.0.0/16"],
      remoteSubnets: ["10.1.0.0/25", "10.1.1.0/25"],
    });
    const options = {
      localSubnets: ["10.1.0.0/16"],
      remoteSubnets: ["10.2.0.0/25", "10.2.1.0/25"],
      start: initiator === "culvert" ? ("immediately" as const) : ("passive" as const),
    };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...options, forceEncapsulation: true }));
    if (initiator === "strongSwan") expect((await peer.initiate()).code).toBe(0);
    const { tunnels } = await culvert.waitUp();
    expect(
      tunnels[0]?.children.map(({ localSelectors, remoteSelectors }) => [localSelectors, remoteSelectors]),
    ).toEqual([
      [
        ["10.1.0.0/25", "10.1.1.0/25"],
        ["10.2.0.0/25", "10.2.1.0/25"],
      ],
    ]);
    await expectPings(a, b, ipv4Pairs);
  });

  it("asks for a pair that strongSwan does not have, says so, and keeps the others", async () => {
    const { bed, a, b } = await widerNetwork();
    const children = pairwise(a, b).children!.filter(({ name }) => name !== "p10");
    await strongSwanOn(bed, b, a, { children });
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", flows(a, b)));
    const { tunnels, lastFailure } = await culvert.waitFor(
      "one pair refused",
      (connection) => connection.tunnels[0]?.pairs?.up === 4 && connection.lastFailure !== undefined,
    );
    expect(tunnels[0]?.pairs?.missing).toMatchObject([{ local: "10.1.1.0/24", remote: "10.2.0.0/24" }]);
    expect(lastFailure).toMatchObject({ code: "TS_UNACCEPTABLE", ours: ["10.1.1.0/24 === 10.2.0.0/24"] });
    expect((await culvert.cli(["status"])).stdout).toContain("1 of 5 subnet pairs of peer is not up");
  });

  it("carries 60 subnets a side in one CHILD_SA, in fragments", async () => {
    const { bed, a, b } = await network();
    const subnets = (n: 1 | 2) => Array.from({ length: 60 }, (_, i) => `10.${n}.${i}.0/24`);
    // kernel-libipsec installs a route for each policy, from an address in its local subnet. Without one it answers
    // TS_UNACCEPTABLE, whatever was asked for.
    const batch = [...subnets(2)].slice(1).map((s) => `addr add ${s.replace(".0/24", ".1/24")} dev lan`);
    await must(["ip", "-n", b.gateway, "-batch", bed.file("addresses", `${batch.join("\n")}\n`)]);
    await must(["ip", "-n", a.gateway, "addr", "add", "10.1.59.1/24", "dev", "lan"]);
    await must(["ip", "-n", a.host, "addr", "add", "10.1.59.2/24", "dev", "eth0"]);
    await must(["ip", "-n", b.host, "addr", "add", "10.2.59.2/24", "dev", "eth0"]);
    const peer = await strongSwanOn(bed, b, a, { localSubnets: subnets(2), remoteSubnets: subnets(1) });
    const ends = { localSubnets: subnets(1), remoteSubnets: subnets(2), forceEncapsulation: true };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", ends));
    const [tunnel] = (await culvert.waitUp()).tunnels;
    expect(tunnel?.pairs).toEqual({ total: 3600, up: 3600, missing: [] });
    expect(tunnel?.children).toHaveLength(1);
    await peer.waitForLog(/reassembled fragmented IKE message/, 1_000);
    await expectPings(a, b, [
      ["10.1.0.2", "10.2.59.2"],
      ["10.1.59.2", "10.2.59.2"],
    ]);
  });
});

/** The second addresses of the hosts, in subnets of their own. */
const second = { a: "10.1.1.2", b: "10.2.1.2" };
const ipv4Pairs = [
  ["10.1.0.2", "10.2.0.2"],
  ["10.1.0.2", second.b],
  [second.a, "10.2.0.2"],
  [second.a, second.b],
] as const;

async function widerNetwork(): Promise<{ bed: Testbed } & Topology> {
  const topology = await network();
  for (const [site, n] of [
    [topology.a, 1],
    [topology.b, 2],
  ] as const) {
    await must(["ip", "-n", site.gateway, "addr", "add", `10.${n}.1.1/24`, "dev", "lan"]);
    await must(["ip", "-n", site.host, "addr", "add", `10.${n}.1.2/24`, "dev", "eth0"]);
  }
  return topology;
}

function flows(a: Site, b: Site, ipsec: Record<string, unknown> = {}) {
  return {
    localSubnets: [a.subnet, "10.1.1.0/24", a.subnet6],
    remoteSubnets: [b.subnet, "10.2.1.0/24", b.subnet6],
    forceEncapsulation: true,
    connection: { ipsec: { proposals: [espProposal], ...ipsec } },
  };
}

/** `p01` is between A's first and B's second subnet. */
function pairwise(a: Site, b: Site): Partial<StrongSwanOptions> {
  const [local, remote] = [
    [b.subnet, "10.2.1.0/24"],
    [a.subnet, "10.1.1.0/24"],
  ];
  const ipv4 = remote.flatMap((theirs, i) =>
    local.map((ours, j) => ({ name: `p${i}${j}`, localSubnets: [ours], remoteSubnets: [theirs] })),
  );
  return { children: [...ipv4, { name: "six", localSubnets: [b.subnet6], remoteSubnets: [a.subnet6] }] };
}

const allUp = (culvert: Culvert, pairs: number) =>
  culvert.waitFor(`${pairs} pairs up`, ({ tunnels }) => tunnels[0]?.pairs?.up === pairs);

const expectAllPairs = (a: Site, b: Site) =>
  expectPings(a, b, [...ipv4Pairs, [a.hostAddress6, b.hostAddress6]]);

async function expectPings(a: Site, b: Site, pairs: readonly (readonly [string, string])[]): Promise<void> {
  for (const [inA, inB] of pairs) {
    // That none is lost is proven elsewhere; here each pair has to find its own way, in both directions. A host's IPv6
    // address takes a while to come up.
    await waitForPing(a.host, inB, 10_000, inA);
    await waitForPing(b.host, inA, 10_000, inB);
  }
}
