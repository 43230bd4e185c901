import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import type { Site, Topology } from "../../testbed/topology.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

/**
 * The router between the gateways carries `mtu` bytes and says so to nobody, and whoever would get the fragments that
 * it makes drops them.
 */
async function blackHole({ a, b, nat }: Topology, mtu: number): Promise<void> {
  for (const device of ["left", "right"])
    await must(["ip", "-n", nat!, "link", "set", device, "mtu", String(mtu)]);
  await must(["nft", "-f", "-"], {
    netns: nat!,
    input: `table ip mute {
      chain out { type filter hook output priority 0;
        ip protocol icmp drop
      }
      }`,
  });
  for (const { gateway } of [a, b])
    await must(["nft", "-f", "-"], {
      netns: gateway,
      // Before the kernel puts fragments together again (priority -400).
      input: `table ip whole {
      chain in { type filter hook prerouting priority -450;
        iifname wan ip frag-off & 0x3fff != 0 drop
      }
      }`,
    });
}

const pathMtuOf = async (culvert: Culvert) => (await culvert.connection()).tunnels[0]?.pathMtu;

async function expectPathMtu(culvert: Culvert, bytes: number, state = "complete"): Promise<void> {
  await expect.poll(() => pathMtuOf(culvert), { timeout: 30_000, interval: 200 }).toEqual({ bytes, state });
}

/** Bytes of the largest ping that arrives whole: its IP packet has as many as the inner MTU. */
async function expectInnerMtu(from: Site, to: Site, innerMtu: number): Promise<void> {
  await waitForPing(from.host, to.hostAddress);
  const sized = (bytes: number) => ping(from.host, to.hostAddress, { size: bytes - 28 });
  expect(await sized(innerMtu)).toMatchObject({ lossPercent: 0 });
}

describeInNamespaces("a path that is narrower than it says (RFC 8899)", [], () => {
  it("is found through a NAT without ICMP, and a large transfer works within seconds", async () => {
    const { bed, ...topology } = await network({ nat: true });
    const { a, b } = topology;
    await blackHole(topology, 1400);
    const responder = await Culvert.start(
      bed,
      gatewayOn(b, a, "b", { start: "passive", remoteId: a.outerAddress }),
    );
    const options = gatewayOn(a, b, "a", { connection: { dpd: { intervalSeconds: 2 } } });
    const initiator = await Culvert.start(bed, options);
    await initiator.waitUp();
    await expectPathMtu(initiator, 1400);
    await expectPathMtu(responder, 1400);
    const [child] = (await initiator.connection()).tunnels[0]!.children;
    // 1400 less IP, UDP, ESP header, IV and ICV, in fours, less the trailer (RFC 4303 §2.4).
    expect(child?.innerMtu).toBe(1338);
    await iperfServer(bed, b.host);
    await expectInnerMtu(a, b, 1338);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1 })).gbps).toBeGreaterThan(0.01);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1, reverse: true })).gbps).toBeGreaterThan(0.01);
    // A path that becomes narrower still is noticed by the next liveness check.
    for (const device of ["left", "right"])
      await must(["ip", "-n", topology.nat!, "link", "set", device, "mtu", "1300"]);
    await expectPathMtu(initiator, 1300);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1 })).gbps).toBeGreaterThan(0.01);
  });

  it("is found for ESP as a protocol of its own, over IPv6, and on the interface itself", async () => {
    const { bed, a, b } = await network();
    const v6 = ({ outerAddress6 }: Site) => ({ outerAddress: outerAddress6, seenAddress: outerAddress6 });
    const [a6, b6] = [
      { ...a, ...v6(a) },
      { ...b, ...v6(b) },
    ];
    // The far end of a veth drops what is larger than its MTU with a VLAN tag's four bytes, and says nothing.
    await must(["ip", "-n", b.gateway, "link", "set", "wan", "mtu", "1300"]);
    const responder = await Culvert.start(bed, gatewayOn(b6, a6, "b", { start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a6, b6, "a"));
    await initiator.waitUp();
    expect((await initiator.connection()).tunnels[0]?.children).toMatchObject([{ encapsulation: "esp" }]);
    await expectPathMtu(initiator, 1304);
    await expectPathMtu(responder, 1300);
    await iperfServer(bed, b.host);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1 })).gbps).toBeGreaterThan(0.01);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1, reverse: true })).gbps).toBeGreaterThan(0.01);
  });
});

describeInNamespaces("a path to strongSwan", ["strongswan"], () => {
  it("is found with the peer's own answers", async () => {
    const { bed, ...topology } = await network({ nat: true });
    const { a, b } = topology;
    await blackHole(topology, 1400);
    await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await culvert.waitUp();
    await expectPathMtu(culvert, 1400);
    await expectInnerMtu(a, b, 1338);
  });
});

describeInNamespaces("forged ICMP", ["scapy"], () => {
  it("changes nothing", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive", forceEncapsulation: true }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    await culvert.waitUp();
    await expectPathMtu(culvert, 1500);
    await waitForPing(a.host, b.hostAddress);
    const forge = `
from scapy.all import *
quoted = IP(src="${a.outerAddress}", dst="${b.outerAddress}", flags="DF") / UDP(sport=4500, dport=4500) / (b"x" * 1400)
for mtu in (0, 68, 552, 576, 1280):
    send(IP(src="${b.outerAddress}", dst="${a.outerAddress}") / ICMP(type=3, code=4, nexthopmtu=mtu) / quoted, count=20, verbose=0)
`;
    await must(["/usr/bin/python3", "-c", forge], { netns: b.gateway });
    expect(await ping(a.host, b.hostAddress, { count: 20, intervalMs: 10, size: 1410 })).toMatchObject({
      received: 20,
    });
    expect(await pathMtuOf(culvert)).toEqual({ bytes: 1500, state: "complete" });
    // Nor does the kernel fragment what leaves here.
    const route = await must(["ip", "-n", a.gateway, "route", "get", b.outerAddress]);
    expect(route).not.toContain("mtu");
  });
});
