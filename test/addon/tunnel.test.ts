import { expect, it } from "vitest";
import { must, run } from "../../testbed/exec.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import {
  describeWithKernel,
  manualSa,
  network,
  openPlane,
  type Plane,
  type PlaneOptions,
  planFor,
  routeThroughTunnel,
} from "./support.ts";

interface TunnelOptions {
  readonly encapsulation: "udp" | "esp";
  readonly outer: 4 | 6;
  readonly workers: number;
  readonly backend?: "auto" | "portable";
  readonly esn?: boolean;
}

/** Two data planes with manual keys; inner networks of both families. */
async function tunnel(
  bed: Testbed,
  { a, b }: Topology,
  options: TunnelOptions,
): Promise<{ planeA: Plane; planeB: Plane }> {
  const outerA = options.outer === 4 ? a.outerAddress : a.outerAddress6;
  const outerB = options.outer === 4 ? b.outerAddress : b.outerAddress6;
  const plane: Omit<PlaneOptions, "addresses"> = {
    workers: options.workers,
    backend: options.backend ?? "auto",
  };
  const [planeA, planeB] = await Promise.all([
    openPlane(bed, a.gateway, "plane A", { ...plane, addresses: [outerA] }),
    openPlane(bed, b.gateway, "plane B", { ...plane, addresses: [outerB] }),
  ]);
  const overrides = {
    esn: options.esn ?? false,
    encapsulation:
      options.encapsulation === "udp" ? { kind: "udp", localPort: 4500, remotePort: 4500 } : { kind: "esp" },
  };
  // SPIs whose low bits name different workers at the two ends.
  const toB = 0x1001;
  const toA = 0x2000;
  for (const [plane, own, other, spiIn, spiOut, far] of [
    [planeA, outerA, outerB, toA, toB, b],
    [planeB, outerB, outerA, toB, toA, a],
  ] as const) {
    await plane.call("installSa", manualSa("inbound", spiIn, own, other, overrides));
    await plane.call("installSa", manualSa("outbound", spiOut, own, other, overrides));
    await plane.call("publish", planFor([far.subnet, far.subnet6], spiOut, other));
  }
  await routeThroughTunnel(a.gateway, [b.subnet, b.subnet6]);
  await routeThroughTunnel(b.gateway, [a.subnet, a.subnet6]);
  return { planeA, planeB };
}

/** Drops that say that a packet was mangled or lost by us; the others are the network's background. */
async function suspiciousDrops(plane: Plane): Promise<Record<string, number>> {
  const drops: Record<string, number> = await plane.call("drops");
  const background = ["link_scope", "no_route", "keepalive", "send_failed", "tun_write_failed"];
  return Object.fromEntries(Object.entries(drops).filter(([name, n]) => n > 0 && !background.includes(name)));
}

describeWithKernel("two data planes with manual keys", {}, () => {
  for (const options of [
    { encapsulation: "udp", outer: 4, workers: 1 },
    { encapsulation: "udp", outer: 4, workers: 3, esn: true },
    { encapsulation: "udp", outer: 6, workers: 2 },
    { encapsulation: "esp", outer: 4, workers: 1 },
    { encapsulation: "esp", outer: 4, workers: 2, esn: true },
    { encapsulation: "esp", outer: 6, workers: 2, backend: "portable" },
  ] as const) {
    const title = `${options.encapsulation} over IPv${options.outer} with ${options.workers} workers`;
    it(`carry ping and TCP of both families: ${title}`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const { planeA, planeB } = await tunnel(bed, topology, options);
      for (const destination of [b.hostAddress, b.hostAddress6]) {
        await waitForPing(a.host, destination);
        for (const size of [0, 56, 1300]) {
          expect((await ping(a.host, destination, { count: 5, size })).lossPercent, `size ${size}`).toBe(0);
        }
        // Fragments: the first ones teach both hosts the path MTU, and a host may forget it once.
        let large = await ping(a.host, destination, { count: 5, size: 8000 });
        for (let i = 0; i < 3 && large.lossPercent > 0; i++)
          large = await ping(a.host, destination, { count: 5, size: 8000 });
        expect(large.lossPercent, `size 8000 to ${destination}`).toBe(0);
      }
      await iperfServer(bed, b.host);
      for (const destination of [b.hostAddress, b.hostAddress6]) {
        for (const reverse of [false, true]) {
          const result = await iperfTcp(a.host, destination, { seconds: 1, reverse });
          expect(result.gbps).toBeGreaterThan(0.01);
        }
      }
      expect(await suspiciousDrops(planeA)).toEqual({});
      expect(await suspiciousDrops(planeB)).toEqual({});
      // The receiver first: the last packets of a connection may still be on their way.
      const [toB, toA] =
        options.outer === 4 ? [b.outerAddress, a.outerAddress] : [b.outerAddress6, a.outerAddress6];
      const receivedByB = await planeB.call("saTotals", "inbound", 0x1001, toA);
      const sentByA = await planeA.call("saTotals", "outbound", 0x1001, toB);
      expect(receivedByB.packets).toBeGreaterThan(100);
      expect(sentByA.sequence).toBeGreaterThanOrEqual(receivedByB.sequence);
    });
  }

  it("use the kernel's superpackets both ways", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA, planeB } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    await iperfServer(bed, b.host);
    await iperfTcp(a.host, b.hostAddress, { seconds: 1 });
    const from = await planeA.call("counters");
    const to = await planeB.call("counters");
    // A wire would have brought one packet each.
    expect(from["tun_packets_in"] / from["tun_reads"]).toBeGreaterThan(10);
    expect(from["esp_packets_out"] / from["esp_sends"]).toBeGreaterThan(10);
    expect(to["esp_packets_in"] / to["esp_receives"]).toBeGreaterThan(10);
    expect(to["tun_packets_out"] / to["tun_writes"]).toBeGreaterThan(10);
  });

  it("tell the sender of a packet that is too big, and lower the MSS of TCP on the way", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    // The device lets pass what the tunnel cannot carry.
    await must(["ip", "-n", a.gateway, "link", "set", "culvert0", "mtu", "1500"]);
    await waitForPing(a.host, b.hostAddress);
    // 1500 − 20 − 8 (UDP) − 8 (ESP) − 8 (IV) − 16 (ICV) = 1440, less two bytes of trailer.
    const fits = await ping(a.host, b.hostAddress, { count: 3, size: 1438 - 28, dontFragment: true });
    expect(fits.lossPercent).toBe(0);
    const tooBig = await ping(a.host, b.hostAddress, { count: 3, size: 1439 - 28, dontFragment: true });
    expect(tooBig.received).toBe(0);
    const route = await must(["ip", "-n", a.host, "route", "get", b.hostAddress]);
    expect(route).toContain("mtu 1438");
    expect((await planeA.call("counters"))["too_big_sent"]).toBeGreaterThan(0);
    expect((await planeA.call("drops"))["too_big"]).toBeGreaterThan(0);
    await iperfServer(bed, b.host);
    await iperfTcp(a.host, b.hostAddress, { seconds: 1 });
    expect((await planeA.call("counters"))["mss_clamped"]).toBeGreaterThan(0);
  });

  it("fragment outside what is too big and may be fragmented", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    await must(["ip", "-n", a.gateway, "link", "set", "culvert0", "mtu", "1500"]);
    await must(["ip", "-n", b.gateway, "link", "set", "culvert0", "mtu", "1500"]);
    await must(["sysctl", "-qw", "net.ipv4.ip_no_pmtu_disc=1"], { netns: a.host });
    await must(["sysctl", "-qw", "net.ipv4.ip_no_pmtu_disc=1"], { netns: b.host });
    await waitForPing(a.host, b.hostAddress);
    expect((await ping(a.host, b.hostAddress, { count: 5, size: 1472 })).lossPercent).toBe(0);
  });

  it("keep carrying over an outer path that is narrower than assumed, and report its MTU", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    await must(["ip", "-n", a.gateway, "link", "set", "wan", "mtu", "1300"]);
    await iperfServer(bed, b.host);
    await waitForPing(a.host, b.hostAddress);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1 })).gbps).toBeGreaterThan(0.01);
    const [event] = await planeA.events("pathMtu");
    expect(event).toEqual({ kind: "pathMtu", remote: b.outerAddress, mtu: 1300 });
    expect((await planeA.call("drops"))["send_failed"]).toBe(0);
  });

  it("tell the sender of what exceeds the path MTU that an SA was given", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    await waitForPing(a.host, b.hostAddress);
    const path = {
      local: a.outerAddress,
      remote: b.outerAddress,
      encapsulation: { kind: "udp", localPort: 4500, remotePort: 4500 },
      pathMtu: 1400,
    };
    expect(await planeA.call("updateSa", "outbound", 0x1001, b.outerAddress, path)).toBe(true);
    await run(["ping", "-c1", "-W1", "-M", "do", "-s", "1360", b.hostAddress], { netns: a.host });
    expect(await must(["ip", "-n", a.host, "route", "get", b.hostAddress])).toContain("mtu 1338");
    expect(await ping(a.host, b.hostAddress, { size: 1338 - 28 })).toMatchObject({ lossPercent: 0 });
  });

  it("carry the DSCP outside and the congestion mark inside (RFC 6040)", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeB } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 1 });
    // The outer path marks congestion on ECT packets of one class: the class itself shows that DSCP was copied.
    const mark = `table ip outside { chain out { type filter hook postrouting priority 0;
      udp dport 4500 ip dscp af21 ip ecn ect0 ip ecn set ce
      udp dport 4500 ip dscp af22 ip ecn set ce
    }
    }`;
    await must(["nft", "-f", "-"], { netns: a.gateway, input: mark });
    const count = `table ip inside { chain in { type filter hook prerouting priority 0;
      icmp type echo-request ip dscp af21 ip ecn ce counter
    }
    }`;
    await must(["nft", "-f", "-"], { netns: b.host, input: count });
    await waitForPing(a.host, b.hostAddress);
    // TOS 0x4a: AF21 with ECT(0). 0x50: AF22 without ECN.
    await must(["ping", "-q", "-c", "4", "-i", "0.05", "-Q", "0x4a", b.hostAddress], { netns: a.host });
    const counted = await must(["nft", "list", "table", "ip", "inside"], { netns: b.host });
    expect(counted).toMatch(/counter packets 4 /);
    const lost = await ping(a.host, b.hostAddress, { count: 1 });
    expect(lost.lossPercent).toBe(0);
    const before = (await planeB.call("drops"))["ecn_not_supported"];
    await must(["sh", "-c", `ping -q -c 3 -i 0.05 -W 0.2 -Q 0x50 ${b.hostAddress} || true`], {
      netns: a.host,
    });
    expect((await planeB.call("drops"))["ecn_not_supported"]).toBe(before + 3);
  });

  it("stop carrying when an SA is removed, and give its final totals", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA, planeB } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 2 });
    await waitForPing(a.host, b.hostAddress);
    const before = await planeB.call("saTotals", "inbound", 0x1001, a.outerAddress);
    const totals = await planeB.call("removeSa", "inbound", 0x1001, a.outerAddress);
    expect(totals.packets).toBeGreaterThanOrEqual(before.packets);
    expect(totals.lastUsedMs).toBeGreaterThan(0);
    expect(await planeB.call("removeSa", "inbound", 0x1001, a.outerAddress)).toBeNull();
    expect((await ping(a.host, b.hostAddress, { count: 2 })).received).toBe(0);
    expect((await planeB.call("drops"))["unknown_spi"]).toBeGreaterThan(0);
    await planeA.call("removeSa", "outbound", 0x1001, b.outerAddress);
    expect((await ping(a.host, b.hostAddress, { count: 2 })).received).toBe(0);
    expect((await planeA.call("drops"))["no_sa"]).toBeGreaterThan(0);
  });

  it("end at once and leave no device behind", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { planeA, planeB } = await tunnel(bed, topology, { encapsulation: "udp", outer: 4, workers: 2 });
    await waitForPing(a.host, b.hostAddress);
    await planeA.call("close");
    await planeA.call("close");
    await expect(planeA.call("traffic")).rejects.toMatchObject({ code: "EBADF" });
    expect(await must(["ip", "-n", a.gateway, "link"])).not.toContain("culvert0");
    expect(await planeA.stop()).toBe(-1);
    expect(await planeB.stop()).toBe(-1);
  });
});
