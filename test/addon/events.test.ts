import { expect, it } from "vitest";
import { must } from "../../testbed/exec.ts";
import {
  describeWithKernel,
  EspPeer,
  keyFor,
  manualSa,
  network,
  openPlane,
  planFor,
  routeThroughTunnel,
} from "./support.ts";

const toCulvert = 0x11220010;
const toPeer = 0x33440020;
/** 28 bytes: an IKE header is enough for the data plane. */
const ikeMessage = "0102030405060708000000000000000021202208000000000000001c";

describeWithKernel("what a data plane reports", {}, () => {
  it("hands over IKE from both ports without the marker, and adds the marker when it sends from 4500", async () => {
    const { bed, a, b } = await network();
    const [left, right] = await Promise.all([
      openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress, a.outerAddress6], workers: 2 }),
      openPlane(bed, b.gateway, "plane B", { addresses: [b.outerAddress, b.outerAddress6], workers: 2 }),
    ]);
    let expected = 0;
    for (const port of [500, 4500]) {
      for (const [from, to] of [
        [a.outerAddress, b.outerAddress],
        [a.outerAddress6, b.outerAddress6],
      ] as const) {
        for (const datagram of [
          ikeMessage,
          ikeMessage + "5a".repeat(3000),
          ikeMessage + "5a".repeat(60_000),
        ]) {
          await left.call("sendIke", `${from}|${port}`, `${to}|${port}`, datagram);
          const [event] = await right.events("ike");
          expect(event).toEqual({ kind: "ike", local: `${to}|${port}`, remote: `${from}|${port}`, datagram });
          expected += 1;
        }
      }
    }
    expect((await right.call("counters"))["ike_datagrams_in"]).toBe(expected);
    await expect(left.call("sendIke", "192.0.2.99|500", "192.0.2.2|500", ikeMessage)).rejects.toMatchObject({
      code: "EADDRNOTAVAIL",
    });
    await left.call("sendKeepalive", `${a.outerAddress}|4500`, `${b.outerAddress}|4500`);
    await left.call("sendIke", `${a.outerAddress}|500`, `${b.outerAddress}|500`, "0102");
    await left.call("sendIke", `${a.outerAddress}|4500`, `${b.outerAddress}|4500`, ikeMessage);
    await right.events("ike");
    const drops = await right.call("drops");
    expect(drops).toMatchObject({ keepalive: 1 });
    expect(drops["bad_ike"]).toBeLessThanOrEqual(1);
  });

  it("sends a probe from the same ports whole or not at all, and hears what ICMP claims of it", async () => {
    const { bed, a, b, nat } = await network({ nat: true });
    const [left, right] = await Promise.all([
      openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress], workers: 2 }),
      openPlane(bed, b.gateway, "plane B", { addresses: [b.outerAddress], workers: 2 }),
    ]);
    await must(["ip", "-n", nat!, "link", "set", "right", "mtu", "1400"]);
    for (const port of [500, 4500]) {
      const sized = (bytes: number) =>
        ikeMessage + "5a".repeat(bytes - 28 - (port === 4500 ? 4 : 0) - ikeMessage.length / 2);
      const send = (bytes: number) =>
        left.call("sendIke", `${a.outerAddress}|${port}`, `${b.outerAddress}|${port}`, sized(bytes), true);
      await send(1401);
      await send(1501);
      await send(1400);
      const [event, ...others] = await right.events("ike");
      expect(others).toEqual([]);
      expect(event).toMatchObject({ local: `${b.outerAddress}|${port}`, datagram: sized(1400) });
    }
    // Only what left from the port of ESP is ours to hear of.
    expect(await left.events("pathMtu")).toEqual([{ kind: "pathMtu", remote: b.outerAddress, mtu: 1400 }]);
    await expect(
      left.call("sendIke", "192.0.2.99|500", `${b.outerAddress}|500`, ikeMessage, true),
    ).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
  });

  it("asks for an SA once a second, however many packets want one", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    await plane.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    await must(["sh", "-c", `ping -q -c 30 -i 0.01 -W 0.1 ${b.hostAddress} || true`], { netns: a.host });
    const events = await plane.events("acquire");
    expect(events).toEqual([
      {
        kind: "acquire",
        connection: 0,
        source: a.hostAddress,
        destination: b.hostAddress,
        protocol: 1,
        sourcePort: 0x0800,
        destinationPort: 0x0800,
      },
    ]);
    expect((await plane.call("drops"))["no_sa"]).toBe(30);
  });

  it("asks for each destination of a connection, and bounds what a scan can ask for", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    await plane.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    const prefix = b.hostAddress.replace(/\.\d+$/, "");
    const pings = (from: number, to: number) => {
      const one = `ping -q -c 1 -W 0.05 ${prefix}.$i & `;
      return must(["sh", "-c", `for i in $(seq ${from} ${to}); do ${one} done; wait`], { netns: a.host });
    };
    await pings(20, 22);
    const asked = (await plane.events("acquire")) as { destination: string }[];
    expect(asked.map((e) => e.destination).sort()).toEqual([20, 21, 22].map((i) => `${prefix}.${i}`));
    await pings(30, 129);
    await pings(130, 229);
    const { acquires, ...counters } = await plane.call("counters");
    expect(counters["tun_packets_in"]).toBeGreaterThanOrEqual(203);
    expect(acquires).toBeLessThan(100);
  });

  it("reports the first packet that an inbound SA accepts, once, and no forgery", async () => {
    const { bed, a, b } = await network();
    const [left, right] = await Promise.all([
      openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] }),
      openPlane(bed, b.gateway, "plane B", { addresses: [b.outerAddress], workers: 2 }),
    ]);
    await left.call("installSa", manualSa("outbound", toPeer, a.outerAddress, b.outerAddress));
    await left.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    const pings = () =>
      must(["sh", "-c", `ping -q -c 10 -i 0.01 -W 0.1 ${b.hostAddress} || true`], { netns: a.host });
    // With another key, and then outside of its selectors, nothing is accepted.
    const inbound = manualSa("inbound", toPeer, b.outerAddress, a.outerAddress);
    await right.call("installSa", { ...inbound, encrKey: keyFor(toPeer + 1) });
    await pings();
    expect((await right.call("drops"))["bad_icv"]).toBe(10);
    await right.call("removeSa", "inbound", toPeer, a.outerAddress);
    await right.call("installSa", { ...inbound, remoteSelectors: ["10.99.0.0/16"] });
    await pings();
    expect((await right.call("drops"))["selector_mismatch"]).toBe(10);
    expect(await right.events("saInUse", 0)).toEqual([]);
    await right.call("removeSa", "inbound", toPeer, a.outerAddress);
    await right.call("installSa", inbound);
    await pings();
    expect(await right.events("saInUse")).toEqual([{ kind: "saInUse", spi: toPeer }]);
    await pings();
    expect(await right.events("saInUse", 0)).toEqual([]);
    expect((await right.call("counters"))["tun_packets_out"]).toBe(20);
  });

  it("reports soft and hard limits once each, and stops at the hard one", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    const limits = { softPackets: 5, hardPackets: 10 };
    await plane.call("installSa", manualSa("outbound", toPeer, a.outerAddress, b.outerAddress, limits));
    await plane.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    await must(["sh", "-c", `ping -q -c 20 -i 0.01 -W 0.1 ${b.hostAddress} || true`], { netns: a.host });
    const about = { direction: "outbound", spi: toPeer, remote: b.outerAddress };
    expect(await plane.events("softLifetime")).toEqual([{ kind: "softLifetime", ...about }]);
    expect(await plane.events("hardLifetime")).toEqual([{ kind: "hardLifetime", ...about }]);
    expect((await plane.call("drops"))["lifetime"]).toBe(10);
    expect(await plane.call("saTotals", "outbound", toPeer, b.outerAddress)).toMatchObject({
      packets: 10,
      sequence: 10,
    });
  });

  it("keeps byte limits in both directions, exact to the packet", async () => {
    const { bed, a, b } = await network();
    const [left, right] = await Promise.all([
      openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] }),
      openPlane(bed, b.gateway, "plane B", { addresses: [b.outerAddress] }),
    ]);
    // An echo request of 56 bytes is an inner packet of 84.
    const outbound = { softBytes: 9 * 84, hardBytes: 15 * 84 };
    const inbound = { softBytes: 5 * 84, hardBytes: 10 * 84 };
    await left.call("installSa", manualSa("outbound", toPeer, a.outerAddress, b.outerAddress, outbound));
    await right.call("installSa", manualSa("inbound", toPeer, b.outerAddress, a.outerAddress, inbound));
    await left.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    await must(["sh", "-c", `ping -q -c 20 -i 0.01 -W 0.1 ${b.hostAddress} || true`], { netns: a.host });
    for (const [plane, direction, remote, packets] of [
      [left, "outbound", b.outerAddress, 15],
      [right, "inbound", a.outerAddress, 10],
    ] as const) {
      for (const kind of ["softLifetime", "hardLifetime"])
        expect(await plane.events(kind)).toEqual([{ kind, direction, spi: toPeer, remote }]);
      expect(await plane.call("saTotals", direction, toPeer, remote)).toMatchObject({
        packets,
        bytes: packets * 84,
      });
      expect((await plane.call("drops"))["lifetime"]).toBe(5);
    }
  });

  it("refuses what cannot be, with a code", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    const sa = manualSa("inbound", toCulvert, a.outerAddress, b.outerAddress);
    await plane.call("installSa", sa);
    await expect(plane.call("installSa", sa)).rejects.toMatchObject({ code: "EEXIST" });
    const refused = async (overrides: Record<string, unknown>) =>
      plane.call("installSa", { ...sa, spi: toCulvert + 1, ...overrides }).then(
        () => "installed",
        (error) => error.code,
      );
    expect(await refused({ local: "192.0.2.77" })).toBe("EADDRNOTAVAIL");
    expect(await refused({ remote: "2001:db8::2" })).toBe("EINVAL");
    expect(await refused({ encr: 999 })).toBe("EINVAL");
    expect(await refused({ encrKey: "00" })).toBe("EINVAL");
    expect(await refused({ spi: 255 })).toBe("EINVAL");
    expect(await refused({ encr: 11, encrKeyBits: 0, encrKey: "" })).toBe("EINVAL");
    expect(await refused({ replayWindow: 65537 })).toBe("EINVAL");
    expect(await refused({ localSelectors: [] })).toBe("EINVAL");
    expect(await refused({ encapsulation: { kind: "udp", localPort: 4501, remotePort: 4500 } })).toBe(
      "EINVAL",
    );
    expect(await refused({})).toBe("installed");
  });
});

describeWithKernel("a peer behind a NAT", { scapy: true }, () => {
  it("is followed only when an authentic, newer packet comes from elsewhere and control agrees", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    await plane.call("installSa", manualSa("inbound", toCulvert, a.outerAddress, b.outerAddress));
    await plane.call("installSa", manualSa("outbound", toPeer, a.outerAddress, b.outerAddress));
    await plane.call("publish", planFor([b.subnet], toPeer, b.outerAddress));
    await routeThroughTunnel(a.gateway, [b.subnet]);
    const peer = await EspPeer.start(bed, b.gateway);
    for (const port of [4500, 1024]) await peer.call("listen", { local: b.outerAddress, port });
    const ends = { local: b.outerAddress, remote: a.outerAddress };
    await peer.call("associate", { name: "out", spi: toCulvert, key: keyFor(toCulvert), ...ends });
    const sealed = async (sequence: number): Promise<string> => {
      const inner = await peer.call("echo", {
        source: b.hostAddress,
        destination: a.hostAddress,
        id: 1,
        sequence,
      });
      return peer.call("seal", { name: "out", inner, sequence });
    };
    const send = (port: number, data: string) =>
      peer.call("send", { socket_name: `udp${port}`, to: a.outerAddress, port: 4500, data });
    const receive = async (port: number) => (await peer.call("receive", { socket_name: `udp${port}` }))?.data;

    await send(4500, await sealed(10));
    expect(await receive(4500)).toBeDefined();
    const old = await sealed(5);
    const forged = `${(await sealed(11)).slice(0, -8)}00000000`;
    await send(1024, forged);
    await send(1024, old); // authentic, but older than the newest: it may be a copy that someone held back
    expect(await receive(4500)).toBeDefined();
    expect((await plane.call("drops"))["bad_icv"]).toBe(1);
    await send(1024, await sealed(12));
    // The answer still goes to where the peer was; only control moves it.
    expect(await receive(4500)).toBeDefined();
    expect(await plane.events("peerMoved")).toEqual([
      { kind: "peerMoved", spi: toCulvert, remote: `${b.outerAddress}|1024` },
    ]);
    const path = {
      local: a.outerAddress,
      remote: b.outerAddress,
      encapsulation: { kind: "udp", localPort: 4500, remotePort: 1024 },
    };
    expect(await plane.call("updateSa", "inbound", toCulvert, b.outerAddress, path)).toBe(true);
    expect(await plane.call("updateSa", "outbound", toPeer, b.outerAddress, path)).toBe(true);
    expect(await plane.call("updateSa", "outbound", 4242, b.outerAddress, path)).toBe(false);
    await send(1024, await sealed(13));
    expect(await receive(1024)).toBeDefined();
    expect(await plane.events("peerMoved", 0)).toEqual([]);
  });

  it("answers probes, which end in the data plane and are timed there", async () => {
    const { bed, a, b } = await network();
    const [left, right] = await Promise.all([
      openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress], workers: 2 }),
      openPlane(bed, b.gateway, "plane B", { addresses: [b.outerAddress] }),
    ]);
    await left.call("installSa", manualSa("outbound", toPeer, a.outerAddress, b.outerAddress));
    await left.call("installSa", manualSa("inbound", toCulvert, a.outerAddress, b.outerAddress));
    await right.call("installSa", manualSa("inbound", toPeer, b.outerAddress, a.outerAddress));
    await right.call("installSa", manualSa("outbound", toCulvert, b.outerAddress, a.outerAddress));
    // Nothing is routed at A: a standby tunnel is probed all the same.
    await left.call("publish", { ...planFor([], toPeer, b.outerAddress) });
    await right.call("publish", planFor([a.subnet], toCulvert, a.outerAddress));
    await routeThroughTunnel(b.gateway, [a.subnet]);
    for (const sequence of [1, 2, 65535]) {
      await left.call("sendProbe", 0, a.innerAddress, b.innerAddress, 0xabcd, sequence);
      const [reply] = await left.events("probeReply");
      expect(reply).toMatchObject({ kind: "probeReply", connection: 0, id: 0xabcd, sequence });
      expect(reply!["roundTripMs"]).toBeGreaterThan(0);
    }
    expect((await left.call("counters"))["tun_packets_out"]).toBe(0);
    await expect(left.call("sendProbe", 7, a.innerAddress, b.innerAddress, 1, 1)).rejects.toMatchObject({
      code: "ENOTCONN",
    });
  });
});
