/** `ipsec.dontFragment` on a path whose MTU is smaller than the gateways were told, with a router that fragments. */
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import type { Site, Topology } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network } from "./support.ts";

/** The router of a network with NAT, without the NAT: what it forwards has at most `mtu` bytes. */
async function routed({ a, b, nat }: Topology, mtu: number): Promise<{ a: Site; b: Site }> {
  await must(["nft", "flush", "ruleset"], { netns: nat! });
  await must(["ip", "-n", b.gateway, "route", "add", "198.51.100.0/24", "via", a.seenAddress]);
  // Not the devices' MTU: a veth drops what is larger than its far end takes.
  for (const [subnet, device] of [
    ["198.51.100.0/24", "left"],
    ["192.0.2.0/24", "right"],
  ] as const)
    await must(["ip", "-n", nat!, "route", "change", subnet, "dev", device, "mtu", String(mtu)]);
  return { a: { ...a, seenAddress: a.outerAddress }, b };
}

const inV6 = (site: Site): Site => ({
  ...site,
  outerAddress: site.outerAddress6,
  seenAddress: site.outerAddress6,
});

/** The hosts' answers have no DF: they believe no ICMP about a path's MTU. */
async function answerWithoutDf({ a, b }: { a: Site; b: Site }): Promise<void> {
  for (const host of [a.host, b.host])
    await must(["sysctl", "-qw", "net.ipv4.ip_no_pmtu_disc=1"], { netns: host });
}

/** How many of three packets of `length` bytes, and their answers, pass. */
async function passing({ a, b }: { a: Site; b: Site }, length: number, dontFragment: boolean) {
  const df = dontFragment ? "do" : "dont";
  const argv = ["ping", "-q", "-c3", "-i0.05", "-W1", "-M", df, "-s", `${length - 28}`, b.hostAddress];
  const counts = /(\d+) received/.exec(
    await must(["sh", "-c", '"$@" || true', "sh", ...argv], { netns: a.host }),
  );
  return Number(counts?.[1]);
}

describeInNamespaces("ipsec.dontFragment (RFC 4301 §8.1)", [], () => {
  for (const [dontFragment, forceEncapsulation, whole] of [
    ["clear", true, 3],
    ["copy", false, 0],
  ] as const) {
    it(`${dontFragment}: what a router makes of it, ${forceEncapsulation ? "UDP" : "protocol 50"}`, async () => {
      const { bed, ...topology } = await network({ nat: true });
      const ends = await routed(topology, 1400);
      const { a, b } = ends;
      // A path that is believed to be wider than it is: what arrives, a router has fragmented.
      const connection = {
        ipsec: { proposals: [espProposal], rehearseRekey: false, pathMtu: 1500, dontFragment },
      };
      const options = { forceEncapsulation, connection };
      await Culvert.start(bed, gatewayOn(b, a, "b", { ...options, start: "passive" }));
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
      const { tunnels } = await culvert.waitUp();
      expect(tunnels[0]?.children).toMatchObject([{ encapsulation: forceEncapsulation ? "udp" : "esp" }]);
      await waitForPing(a.host, b.hostAddress);
      await answerWithoutDf(ends);
      expect(await passing(ends, 1400, false)).toBe(3);
      expect(await passing(ends, 1400, true)).toBe(whole);
      expect(await passing(ends, 1300, true)).toBe(3);
    });
  }

  it("set: the path is found, and what does not fit is fragmented before encryption", async () => {
    const { bed, ...topology } = await network({ nat: true });
    const ends = await routed(topology, 1400);
    const { a, b } = ends;
    const connection = { ipsec: { proposals: [espProposal], rehearseRekey: false, dontFragment: "set" } };
    const options = { forceEncapsulation: true, connection };
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...options, start: "passive" }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await culvert.waitUp();
    const state = { timeout: 30_000, interval: 200 };
    await expect
      .poll(async () => (await culvert.connection()).tunnels[0]?.pathMtu, state)
      .toEqual({ bytes: 1400, state: "complete" });
    await waitForPing(a.host, b.hostAddress);
    await answerWithoutDf(ends);
    // No fragment of an outer packet arrives anywhere.
    await must(["nft", "-f", "-"], {
      netns: topology.nat!,
      input: `table ip watch { chain in { type filter hook prerouting priority -450;
        ip frag-off & 0x3fff != 0 drop
      }
      }`,
    });
    await expect.poll(() => passing(ends, 1400, false), state).toBe(3);
  });

  it("IPv6: what the path does not take whole arrives in fragments", async () => {
    const { bed, ...topology } = await network();
    // The far end of a veth drops what is larger than its MTU, and says nothing.
    await must(["ip", "-n", topology.b.gateway, "link", "set", "wan", "mtu", "1280"]);
    const [a, b] = [inV6(topology.a), inV6(topology.b)];
    const ipsec = { proposals: [espProposal], rehearseRekey: false, pathMtu: 1280 };
    const options = { connection: { ipsec } };
    const [toA, toB] = [
      { remoteSubnets: [a.subnet, a.subnet6], start: "passive" as const },
      { remoteSubnets: [b.subnet, b.subnet6] },
    ];
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...options, ...toA }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...options, ...toB }));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    await answerWithoutDf({ a, b });
    expect(await passing({ a, b }, 1400, false)).toBe(3);
    // The least that IPv6 must carry, inside as well (RFC 8200 §5).
    expect(await ping(a.host, b.hostAddress6, { count: 3, size: 1280 - 48 })).toMatchObject({
      lossPercent: 0,
    });
  });
});
