/** What the data plane tells senders of packets that are too big (RFC 1191, RFC 4443), looked at on the device. */
import { expect, it } from "vitest";
import { delay } from "../../testbed/exec.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import {
  describeWithKernel,
  EspPeer,
  manualSa,
  network,
  openPlane,
  type Plane,
  planFor,
  routeThroughTunnel,
} from "./support.ts";

const outbound = 0x1000_1000;

interface IcmpError {
  readonly source: string;
  readonly destination: string;
  readonly type: number;
  readonly code: number;
  readonly mtu: number;
  readonly quoted: string;
  readonly checksumsRight: boolean;
}

interface Suite {
  readonly name: string;
  readonly sa: Readonly<Record<string, unknown>>;
  readonly ivAndIcv: number;
  readonly block: number;
}
const gcm: Suite = { name: "AES-GCM", sa: {}, ivAndIcv: 8 + 16, block: 4 };
const cbc: Suite = {
  name: "AES-CBC with HMAC-SHA2-256",
  sa: { encr: 12, encrKeyBits: 256, integ: 12, encrKey: "11".repeat(32), integKey: "22".repeat(32) },
  ivAndIcv: 16 + 16,
  block: 16,
};

/** One SA from gA to gB, and scapy at gA's device. */
class Bench {
  readonly plane: Plane;
  readonly scapy: EspPeer;

  private constructor(plane: Plane, scapy: EspPeer) {
    this.plane = plane;
    this.scapy = scapy;
  }

  static async open(
    bed: Testbed,
    { a, b }: Topology,
    options: { outer?: 4 | 6; sa?: Readonly<Record<string, unknown>>; pathMtu?: number } = {},
  ): Promise<Bench> {
    const { outer = 4, sa = {}, pathMtu = 1500 } = options;
    const [local, remote] =
      outer === 4 ? [a.outerAddress, b.outerAddress] : [a.outerAddress6, b.outerAddress6];
    const plane = await openPlane(bed, a.gateway, "plane A", {
      addresses: [local],
      tunMtu: 1500,
      pathMtu,
    });
    await plane.call("installSa", manualSa("outbound", outbound, local, remote, sa));
    const groups = ["239.0.0.0/8", "ff0e::/16"];
    await plane.call("publish", planFor([b.subnet, b.subnet6, ...groups], outbound, remote));
    await routeThroughTunnel(a.gateway, [b.subnet, b.subnet6]);
    const scapy = await EspPeer.start(bed, a.gateway);
    await scapy.call("device", { interface: "culvert0" });
    return new Bench(plane, scapy);
  }

  packet(source: string, destination: string, length: number, kind = "udp"): Promise<string> {
    return this.scapy.call("filler", { source, destination, length, kind });
  }

  async put(packets: readonly string[], options: Record<string, unknown> = {}): Promise<void> {
    await this.scapy.call("put", { interface: "culvert0", packets, ...options });
  }

  /** The ICMP error that comes next. */
  async nextError(): Promise<IcmpError> {
    const [packet, ...more]: string[] = await this.scapy.call("taken", { interface: "culvert0", timeout: 5 });
    expect(more).toEqual([]);
    return this.scapy.call("readError", { packet });
  }

  /** Packets refused as too big, for all and of the SA, and errors sent, once `refused` have been refused. */
  async refused(refused: number): Promise<{ all: number; ofSa: number; errors: number }> {
    const until = performance.now() + 10_000;
    for (;;) {
      const { too_big } = await this.plane.call("drops");
      if (too_big >= refused || performance.now() > until) break;
      await delay(10);
    }
    const { too_big } = await this.plane.call("drops");
    const { too_big_sent } = await this.plane.call("counters");
    const [row] = await this.plane.call("traffic");
    return { all: too_big, ofSa: row.drops.too_big ?? 0, errors: too_big_sent };
  }
}

describeWithKernel("ICMP about packets that are too big for the tunnel", { scapy: true }, () => {
  for (const outer of [4, 6] as const) {
    for (const encapsulation of ["udp", "esp"] as const) {
      for (const suite of [gcm, cbc]) {
        it(`names the MTU of ${suite.name} in ${encapsulation} over IPv${outer}`, async () => {
          const { bed, ...topology } = await network();
          const kind = encapsulation === "udp" ? { localPort: 4500, remotePort: 4500 } : {};
          const sa = { ...suite.sa, encapsulation: { kind: encapsulation, ...kind } };
          const bench = await Bench.open(bed, topology, { outer, sa });
          const { a, b } = topology;
          // RFC 4303 §2: SPI and sequence number, IV, whole blocks that end in pad length and next header, ICV.
          const around = (outer === 4 ? 20 : 40) + (encapsulation === "udp" ? 8 : 0) + 8 + suite.ivAndIcv;
          const mtu = Math.floor((1500 - around) / suite.block) * suite.block - 2;
          for (const [from, to] of [
            [a.hostAddress, b.hostAddress],
            [a.hostAddress6, b.hostAddress6],
          ] as const) {
            const v6 = from.includes(":");
            const tooBig = await bench.packet(from, to, mtu + 1);
            await bench.put([await bench.packet(from, to, mtu), tooBig]);
            const { quoted, ...error } = await bench.nextError();
            const kind = v6 ? { type: 2, code: 0 } : { type: 3, code: 4 };
            expect(error).toEqual({ ...kind, source: to, destination: from, mtu, checksumsRight: true });
            // RFC 1812 §4.3.2.3: up to 576 bytes. RFC 4443 §3.2: up to the least MTU of IPv6.
            expect(quoted).toBe(tooBig.slice(0, 2 * (v6 ? 1280 - 48 : 576 - 28)));
          }
          expect(await bench.refused(2)).toEqual({ all: 2, ofSa: 2, errors: 2 });
          const [row] = await bench.plane.call("traffic");
          expect(row.packets).toBe(2);
        });
      }
    }
  }

  it("never asks for less than what every link carries (RFC 791, RFC 8200)", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology, { pathMtu: 1300 });
    const mtu = 1300 - 20 - 8 - 8 - 24 - 2;
    await bench.put([await bench.packet(a.hostAddress, b.hostAddress, mtu + 1)]);
    expect((await bench.nextError()).mtu).toBe(mtu);
    await bench.put([
      await bench.packet(a.hostAddress6, b.hostAddress6, 1280),
      await bench.packet(a.hostAddress6, b.hostAddress6, 1281),
    ]);
    expect((await bench.nextError()).mtu).toBe(1280);
    const [row] = await bench.plane.call("traffic");
    expect(row).toMatchObject({ packets: 1, drops: { too_big: 2 } });
  });

  it("quotes one segment with its checksums where the kernel handed over many at once", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology);
    for (const [from, to, header, limit] of [
      [a.hostAddress, b.hostAddress, 20, 576],
      [a.hostAddress6, b.hostAddress6, 40, 1280],
    ] as const) {
      const segment = 1430;
      const first = await bench.packet(from, to, header + 20 + segment, "tcp");
      await bench.put([await bench.packet(from, to, header + 20 + 3 * segment, "tcp")], { segment });
      expect((await bench.nextError()).quoted).toBe(first.slice(0, 2 * (limit - header - 8)));
    }
    expect(await bench.refused(6)).toEqual({ all: 6, ofSa: 6, errors: 2 });
  });

  it("never answers ICMP errors, later fragments, groups, or nobody (RFC 1122 §3.2.2, RFC 4443 §2.4 e)", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology);
    const size = 1500;
    const four = [a.hostAddress, b.hostAddress] as const;
    const six = [a.hostAddress6, b.hostAddress6] as const;
    const silent = [
      ...[3, 4, 5, 11, 12].map((type) => bench.packet(...four, size, `icmp ${type}`)),
      ...[1, 2, 3, 4, 100, 127].map((type) => bench.packet(...six, size, `icmp ${type}`)),
      bench.packet(...four, size, "later fragment"),
      bench.packet(...six, size, "later fragment"),
      bench.packet(four[0], "239.1.1.1", size),
      bench.packet(six[0], "ff0e::1", size),
      bench.packet("0.0.0.0", four[1], size),
      bench.packet("127.0.0.1", four[1], size),
      bench.packet("::", six[1], size),
      bench.packet("::1", six[1], size),
    ];
    await bench.put(await Promise.all(silent));
    expect(await bench.refused(silent.length)).toEqual({
      all: silent.length,
      ofSa: silent.length,
      errors: 0,
    });
    // Queries are answered: path-MTU discovery of ping.
    const answered = [
      ...[0, 8, 13].map((type) => bench.packet(...four, size, `icmp ${type}`)),
      ...[128, 129].map((type) => bench.packet(...six, size, `icmp ${type}`)),
    ];
    await bench.put(await Promise.all(answered));
    const all = silent.length + answered.length;
    expect(await bench.refused(all)).toEqual({ all, ofSa: all, errors: answered.length });
  });

  it("is limited in rate for one source, and the others have theirs (RFC 4443 §2.4 f)", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const bench = await Bench.open(bed, topology);
    const times = 2000;
    await bench.put([await bench.packet(a.hostAddress, b.hostAddress, 1500)], { times });
    const flood = await bench.refused(times);
    // A burst of 50 and 100 per second: all of them would take twenty seconds.
    expect(flood).toMatchObject({ all: times, ofSa: times });
    expect(flood.errors).toBeGreaterThanOrEqual(50);
    expect(flood.errors).toBeLessThan(times);
    // Sources share places by a secret hash; three of them are not all where the flood is.
    const others = await Promise.all(
      [50, 51, 52].map((host) => bench.packet(a.hostAddress.replace(/\d+$/, `${host}`), b.hostAddress, 1500)),
    );
    await bench.put(others);
    expect((await bench.refused(times + 3)).errors).toBeGreaterThan(flood.errors);
  });
});
