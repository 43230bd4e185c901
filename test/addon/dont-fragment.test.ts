/** DF outside, and what is fragmented where (RFC 4301 §8.1, §8.2.1): seen on the wire, and put together by the peer. */
import { expect, it } from "vitest";
import { must } from "../../testbed/exec.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import {
  describeWithKernel,
  EspPeer,
  keyFor,
  manualSa,
  network,
  openPlane,
  type Plane,
  planFor,
  routeThroughTunnel,
} from "./support.ts";

const outbound = 0x1000_1000;

/** An outer packet as it came in at gB. */
interface OuterPacket {
  /** null over IPv6. */
  readonly df: boolean | null;
  readonly more: boolean;
  readonly offset: number;
  readonly length: number;
  readonly trafficClass: number;
}

interface Options {
  readonly outer?: 4 | 6;
  readonly encapsulation?: "udp" | "esp";
  readonly pathMtu?: number;
  readonly sa?: Readonly<Record<string, unknown>>;
}

/** One SA from culvert on gA to scapy on gB, where the kernel puts outer fragments together. */
class Bench {
  readonly plane: Plane;
  readonly #device: EspPeer;
  readonly #peer: EspPeer;
  readonly #socket: string;

  private constructor(plane: Plane, device: EspPeer, peer: EspPeer, socket: string) {
    this.plane = plane;
    this.#device = device;
    this.#peer = peer;
    this.#socket = socket;
  }

  static async open(bed: Testbed, { a, b }: Topology, options: Options): Promise<Bench> {
    const { outer = 4, encapsulation = "udp", pathMtu = 1500, sa = {} } = options;
    const [local, remote] =
      outer === 4 ? [a.outerAddress, b.outerAddress] : [a.outerAddress6, b.outerAddress6];
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [local], tunMtu: 1500, pathMtu });
    const ports = encapsulation === "udp" ? { localPort: 4500, remotePort: 4500 } : {};
    const kind = { encapsulation: { kind: encapsulation, ...ports }, ...sa };
    await plane.call("installSa", manualSa("outbound", outbound, local, remote, kind));
    await plane.call("publish", planFor([b.subnet, b.subnet6], outbound, remote));
    await routeThroughTunnel(a.gateway, [b.subnet, b.subnet6]);
    // The wire has packets one by one, as behind a device that does segmentation.
    await must(["ethtool", "-K", "wan", "tx-udp-segmentation", "off"], { netns: a.gateway });
    const device = await EspPeer.start(bed, a.gateway);
    await device.call("device", { interface: "culvert0" });
    const peer = await EspPeer.start(bed, b.gateway);
    await peer.call("listen", { local: remote, port: 4500, raw: encapsulation === "esp" });
    await peer.call("associate", { name: "sa", spi: outbound, key: keyFor(outbound), remote, local });
    await peer.call("watch", { interface: "wan" });
    return new Bench(plane, device, peer, `${encapsulation}4500`);
  }

  packet(source: string, destination: string, length: number, options: object = {}): Promise<string> {
    return this.#device.call("filler", { source, destination, length, ...options });
  }

  async put(packets: readonly string[], options: object = {}): Promise<void> {
    await this.#device.call("put", { interface: "culvert0", packets, ...options });
  }

  /** The next packets on the wire, which are `count`. */
  async wire(count: number): Promise<readonly OuterPacket[]> {
    const seen: OuterPacket[] = await this.#peer.call("outer", { interface: "wan", count });
    expect(seen).toHaveLength(count);
    return seen;
  }

  /** The inner packet that comes next out of the tunnel. */
  async arrival(): Promise<string> {
    const { data } = await this.#peer.call("receive", { socket_name: this.#socket });
    return this.#peer.call("open", { name: "sa", esp: data });
  }
}

/** IP, UDP, SPI and sequence number, IV, ICV, trailer: what fits a path, in fours (RFC 4303 §2.4). */
function innerMtu(pathMtu: number, { outer = 4, encapsulation = "udp" }: Options): number {
  const around = (outer === 4 ? 20 : 40) + (encapsulation === "udp" ? 8 : 0) + 8 + 8 + 16;
  return Math.floor((pathMtu - around) / 4) * 4 - 2;
}

const encapsulations = ["udp", "esp"] as const;

describeWithKernel("DF outside (RFC 4301 §8.1)", { scapy: true }, () => {
  const policies = [
    [undefined, [false, false, false]],
    ["clear", [false, false, false]],
    ["copy", [true, false, true]],
    ["set", [true, true, true]],
  ] as const;
  for (const encapsulation of encapsulations) {
    it(`is cleared, copied or set for each SA (${encapsulation})`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const bench = await Bench.open(bed, topology, { encapsulation });
      const four = [a.hostAddress, b.hostAddress] as const;
      const packets = await Promise.all([
        bench.packet(...four, 200, { tos: 0x28 }),
        bench.packet(...four, 200, { df: false, tos: 0x28 }),
        bench.packet(a.hostAddress6, b.hostAddress6, 200, { tos: 0x28 }),
      ]);
      for (const [dontFragment, expected] of policies) {
        await bench.plane.call("removeSa", "outbound", outbound, b.outerAddress);
        const ports = encapsulation === "udp" ? { localPort: 4500, remotePort: 4500 } : {};
        const sa = { encapsulation: { kind: encapsulation, ...ports }, dontFragment };
        await bench.plane.call(
          "installSa",
          manualSa("outbound", outbound, a.outerAddress, b.outerAddress, sa),
        );

        await bench.put(packets);
        const seen = await bench.wire(3);
        expect(
          seen.map((packet) => packet.df),
          dontFragment,
        ).toEqual(expected);
        expect(seen.map((packet) => packet.trafficClass)).toEqual([0x28, 0x28, 0x28]);
        for (const packet of packets) expect(await bench.arrival()).toBe(packet);
      }
      // The last policy goes with an SA that moves.
      const ports = encapsulation === "udp" ? { localPort: 4500, remotePort: 4500 } : {};
      const path = { local: a.outerAddress, remote: b.outerAddress, pathMtu: 1400 };
      const moved = { ...path, encapsulation: { kind: encapsulation, ...ports } };
      expect(await bench.plane.call("updateSa", "outbound", outbound, b.outerAddress, moved)).toBe(true);
      await bench.put([packets[1]!]);
      expect(await bench.wire(1)).toMatchObject([{ df: true }]);
      expect((await bench.plane.call("drops"))["send_failed"]).toBe(0);
    });
  }

  it("goes with a superpacket's whole run", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology, { sa: { dontFragment: "copy" } });
    const segment = 1000;
    const superpacket = await bench.packet(a.hostAddress, b.hostAddress, 40 + 20 * segment, { kind: "tcp" });
    const first = await bench.packet(a.hostAddress, b.hostAddress, 40 + segment, { kind: "tcp" });
    await bench.put([superpacket], { segment });
    const seen = await bench.wire(20);
    expect(seen.map((packet) => packet.df)).toEqual(seen.map(() => true));
    expect(await bench.arrival()).toBe(first);
    expect(await bench.plane.call("counters")).toMatchObject({ esp_sends: 1, esp_packets_out: 20 });
  });
});

describeWithKernel("packets larger than the tunnel without DF (RFC 4301 §8.2.1)", { scapy: true }, () => {
  for (const encapsulation of encapsulations) {
    it(`are fragmented after encryption with copy (${encapsulation})`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const bench = await Bench.open(bed, topology, { encapsulation, sa: { dontFragment: "copy" } });
      const packet = await bench.packet(a.hostAddress, b.hostAddress, 1500, { df: false });
      await bench.put([packet]);
      const [first, second] = await bench.wire(2);
      expect(first).toMatchObject({ df: false, more: true, offset: 0, length: 1500 });
      expect(second).toMatchObject({ df: false, more: false, offset: 1480 });
      expect(await bench.arrival()).toBe(packet);
    });

    it(`are fragmented before it with set, and no outer packet exceeds the path (${encapsulation})`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const bench = await Bench.open(bed, topology, {
        encapsulation,
        pathMtu: 600,
        sa: { dontFragment: "set" },
      });
      const packet = await bench.packet(a.hostAddress, b.hostAddress, 1500, { df: false });
      await bench.put([packet]);
      const seen = await bench.wire(3);
      expect(seen.map(({ df, more, offset }) => ({ df, more, offset }))).toEqual(
        seen.map(() => ({ df: true, more: false, offset: 0 })),
      );
      expect(Math.max(...seen.map((outer) => outer.length))).toBeLessThanOrEqual(600);
      // What a receiver makes of the fragments: the payload in order.
      let payload = "";
      for (const _ of seen) {
        const fragment = await bench.arrival();
        expect(fragment.length / 2).toBeLessThanOrEqual(innerMtu(600, { encapsulation }));
        expect(Number.parseInt(fragment.slice(12, 16), 16) & 0x1fff).toBe(payload.length / 16);
        payload += fragment.slice(40);
      }
      expect(payload).toBe(packet.slice(40));
    });
  }

  it("are cut to segments first, each of which is fragmented with its own checksum", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology, { pathMtu: 1000, sa: { dontFragment: "set" } });
    const segment = 1200;
    const whole = { kind: "tcp", df: false };
    const superpacket = await bench.packet(a.hostAddress, b.hostAddress, 40 + 3 * segment, whole);
    const first = await bench.packet(a.hostAddress, b.hostAddress, 40 + segment, whole);
    await bench.put([superpacket], { segment });
    const fragments = [];
    for (let i = 0; i < 6; i++) fragments.push(await bench.arrival());
    expect(`${fragments[0]!.slice(40)}${fragments[1]!.slice(40)}`).toBe(first.slice(40));
    expect((await bench.plane.call("drops"))["malformed"]).toBe(0);
  });

  it("are refused with set where the SA's peer takes no later fragments (RFC 4301 §7)", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const sa = { dontFragment: "set", remoteSelectors: ["0.0.0.0/0[17/5000-5000]"] };
    const bench = await Bench.open(bed, topology, { pathMtu: 1000, sa });
    const packet = await bench.packet(a.hostAddress, b.hostAddress, 900, { df: false });
    await bench.put([await bench.packet(a.hostAddress, b.hostAddress, 1200, { df: false }), packet]);
    expect(await bench.arrival()).toBe(packet);
    expect((await bench.plane.call("drops"))["fragment_refused"]).toBe(1);
  });
});

describeWithKernel("packets that must pass although they are larger than the tunnel", { scapy: true }, () => {
  for (const encapsulation of encapsulations) {
    it(`IPv6 of 1280 bytes leaves in outer fragments, whatever DF is to be (${encapsulation})`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const bench = await Bench.open(bed, topology, {
        encapsulation,
        pathMtu: 1300,
        sa: { dontFragment: "set" },
      });
      const packet = await bench.packet(a.hostAddress6, b.hostAddress6, 1280);
      await bench.put([packet]);
      expect(await bench.wire(1)).toMatchObject([{ df: false, more: false }]);
      expect(await bench.arrival()).toBe(packet);
    });

    it(`over IPv6 the fragments fit the path, not the interface (${encapsulation})`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const bench = await Bench.open(bed, topology, { outer: 6, encapsulation, pathMtu: 1320 });
      const tos = 0x28;
      for (const packet of [
        await bench.packet(a.hostAddress, b.hostAddress, 1500, { df: false, tos }),
        await bench.packet(a.hostAddress6, b.hostAddress6, 1280, { tos }),
      ]) {
        await bench.put([packet]);
        const [first, second] = await bench.wire(2);
        expect(first).toMatchObject({ more: true, offset: 0, length: 1320, trafficClass: tos });
        expect(second).toMatchObject({ more: false, offset: 1320 - 48, trafficClass: tos });
        expect(await bench.arrival()).toBe(packet);
      }
      // What fits is not touched, and what may not be fragmented is refused.
      const fits = innerMtu(1320, { outer: 6, encapsulation });
      const packet = await bench.packet(a.hostAddress, b.hostAddress, fits, { df: false });
      await bench.put([packet, await bench.packet(a.hostAddress, b.hostAddress, fits + 1)]);
      const [whole] = await bench.wire(1);
      expect(whole).toMatchObject({ more: false, offset: 0 });
      expect(await bench.arrival()).toBe(packet);
      expect((await bench.plane.call("drops"))["too_big"]).toBe(1);
    });
  }

  it("over IPv6 they fit an interface narrower than the path is taken for", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology, { outer: 6 });
    const packet = await bench.packet(a.hostAddress, b.hostAddress, 1500, { df: false });
    await must(["ip", "-n", a.gateway, "link", "set", "wan", "mtu", "1300"]);
    await bench.put([packet]);
    expect(await bench.wire(2)).toMatchObject([
      { more: true, length: 1280 },
      { more: false, offset: 1280 - 48 },
    ]);
    expect(await bench.arrival()).toBe(packet);
  });
});
