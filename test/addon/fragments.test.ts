/** Fragments inside SAs whose selectors name ports (RFC 4301 §7.3), against scapy as the peer and as the hosts. */
import { expect, it } from "vitest";
import { delay } from "../../testbed/exec.ts";
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
  routeThroughTunnel,
} from "./support.ts";

/** An SA pair for one UDP port at either end; inbound SPIs name the workers. */
interface PortSa {
  readonly port: number;
  readonly inbound: number;
  readonly outbound: number;
  readonly nonFirstFragments: boolean;
}
const sas: readonly PortSa[] = [
  { port: 5000, inbound: 0x5000_0000, outbound: 0x5000_1000, nonFirstFragments: true },
  { port: 6000, inbound: 0x6000_0001, outbound: 0x6000_1000, nonFirstFragments: true },
  { port: 7000, inbound: 0x7000_0002, outbound: 0x7000_1000, nonFirstFragments: false },
];
const saOf = (port: number): PortSa => sas.find((sa) => sa.port === port)!;

interface Packets {
  readonly packets: string[];
  readonly digest: string;
}

class Bench {
  readonly plane: Plane;
  readonly peer: EspPeer;
  readonly host: EspPeer;
  readonly #topology: Topology;
  #sequence = 0;
  #id = 100;

  private constructor(topology: Topology, plane: Plane, peer: EspPeer, host: EspPeer) {
    this.#topology = topology;
    this.plane = plane;
    this.peer = peer;
    this.host = host;
  }

  /** culvert on gA, scapy on gB in the place of a gateway and its hosts, and scapy on hA in the place of hA. */
  static async open(bed: Testbed, topology: Topology, workers: number): Promise<Bench> {
    const { a, b } = topology;
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress], workers });
    const peer = await EspPeer.start(bed, b.gateway);
    await peer.call("listen", { local: b.outerAddress, port: 4500 });
    for (const { port, inbound, outbound, nonFirstFragments } of sas) {
      const selectors = {
        nonFirstFragments,
        localSelectors: ["0.0.0.0/0[17/0-65535]", "::/0[17/0-65535]"],
        remoteSelectors: [`0.0.0.0/0[17/${port}-${port}]`, `::/0[17/${port}-${port}]`],
      };
      await plane.call("installSa", manualSa("inbound", inbound, a.outerAddress, b.outerAddress, selectors));
      await plane.call(
        "installSa",
        manualSa("outbound", outbound, a.outerAddress, b.outerAddress, selectors),
      );
      const ends = { local: b.outerAddress, remote: a.outerAddress };
      await peer.call("associate", { name: `${inbound}`, spi: inbound, key: keyFor(inbound), ...ends });
      const back = { local: a.outerAddress, remote: b.outerAddress };
      await peer.call("associate", { name: `${outbound}`, spi: outbound, key: keyFor(outbound), ...back });
    }
    await plane.call("publish", {
      policyRoutes: [],
      destinationRoutes: [b.subnet, b.subnet6].map((destination) => ({ destination, connection: 0 })),
      connections: [
        { connection: 0, outbound: sas.map((sa) => ({ spi: sa.outbound, remote: b.outerAddress })) },
      ],
    });
    await routeThroughTunnel(a.gateway, [b.subnet, b.subnet6]);
    const host = await EspPeer.start(bed, a.host);
    await host.call("listen", { local: a.hostAddress, port: 9000 });
    await host.call("listen", { local: a.hostAddress6, port: 9006 });
    return new Bench(topology, plane, peer, host);
  }

  /** A datagram of 2000 bytes in three fragments, from hA to `port`, or from that port of hB to hA's. */
  datagram(way: "out" | "in", port: number, options: Record<string, unknown> = {}): Promise<Packets> {
    const { v6 = false, ...others } = options;
    const { a, b } = this.#topology;
    const [near, far] = v6 ? [a.hostAddress6, b.hostAddress6] : [a.hostAddress, b.hostAddress];
    const listening = v6 ? 9006 : 9000;
    const ends =
      way === "out"
        ? { source: near, destination: far, source_port: listening, destination_port: port }
        : { source: far, destination: near, source_port: port, destination_port: listening };
    return this.peer.call("fragments", { ...ends, size: 2000, step: 800, id: this.#id++, ...others });
  }

  /** Seals `packet` on the inbound SA for `port`, whatever is in it, and sends it. */
  async send(port: number, packet: string): Promise<void> {
    const data = await this.peer.call("seal", {
      name: `${saOf(port).inbound}`,
      inner: packet,
      sequence: ++this.#sequence,
    });
    await this.peer.call("send", {
      socket_name: "udp4500",
      to: this.#topology.a.outerAddress,
      port: 4500,
      data,
    });
  }

  /** The next `count` packets out of the tunnel: which SA they came on, and the packet. */
  async arrivals(count: number): Promise<{ port: number; packet: string }[]> {
    const found = [];
    for (let i = 0; i < count; i++) {
      const esp: string | undefined = (await this.peer.call("receive", { socket_name: "udp4500" }))?.data;
      if (esp === undefined) break;
      const spi = Number.parseInt(esp.slice(0, 8), 16);
      const sa = sas.find((one) => one.outbound === spi)!;
      found.push({ port: sa.port, packet: await this.peer.call("open", { name: `${spi}`, esp }) });
    }
    return found;
  }

  /** Fragment-related and selector drops, waited for until they are `expected`. */
  async expectDrops(expected: Record<string, number>): Promise<void> {
    const until = performance.now() + 5_000;
    const read = async () => {
      const all: Record<string, number> = await this.plane.call("drops");
      return Object.fromEntries(
        Object.entries(all).filter(
          ([name, n]) => n > 0 && !["link_scope", "no_route", "no_sa"].includes(name),
        ),
      );
    };
    let found = await read();
    while (JSON.stringify(found) !== JSON.stringify(expected) && performance.now() < until) {
      await delay(20);
      found = await read();
    }
    expect(found).toEqual(expected);
  }

  async saRow(spi: number): Promise<{ packets: number; drops: Record<string, number> }> {
    return (await this.plane.call("traffic")).find((row: { spi: number }) => row.spi === spi);
  }
}

/** A fragment's bytes as a router may change them: without TTL and checksum. */
const unrouted = (packet: string): string =>
  packet.startsWith("6")
    ? `${packet.slice(0, 14)}..${packet.slice(16)}`
    : `${packet.slice(0, 16)}..${packet.slice(18, 20)}....${packet.slice(24)}`;

describeWithKernel("fragments on SAs for certain ports (RFC 4301 §7.3)", { scapy: true }, () => {
  it("take the SA of their first one, whatever their order", async () => {
    const { bed, ...topology } = await network();
    const bench = await Bench.open(bed, topology, 3);
    for (const options of [{}, { v6: true }, { v6: true, options: true }]) {
      for (const order of [
        [0, 1, 2],
        [1, 2, 0],
        [2, 0, 1],
      ]) {
        const note = `${JSON.stringify(options)} ${order}`;
        for (const port of [5000, 6000]) {
          const { packets } = await bench.datagram("out", port, options);
          await bench.host.call("inject", { packets: order.map((i) => packets[i]) });
          const arrived = await bench.arrivals(3);
          expect(
            arrived.map((one) => one.port),
            note,
          ).toEqual([port, port, port]);
          const ours = packets.map(unrouted).sort();
          expect(arrived.map((one) => unrouted(one.packet)).sort(), note).toEqual(ours);
        }
        const { packets, digest } = await bench.datagram("in", 5000, options);
        for (const i of order) await bench.send(5000, packets[i]!);
        const socket_name = "v6" in options ? "udp9006" : "udp9000";
        expect(await bench.host.call("digest", { socket_name }), note).toBe(digest);
      }
    }
    await bench.expectDrops({});
    const { tun_packets_in, esp_packets_out } = await bench.plane.call("counters");
    const { link_scope, no_route, no_sa } = await bench.plane.call("drops");
    expect(tun_packets_in).toBe(esp_packets_out + link_scope + no_route + no_sa);
  });

  it("are judged by one worker although they come to several", async () => {
    const { bed, ...topology } = await network();
    const bench = await Bench.open(bed, topology, 4);
    for (let round = 0; round < 6; round++) {
      const out = await bench.datagram("out", 5000);
      const back = await bench.datagram("in", [5000, 6000][round % 2]!);
      // What a worker writes to its queue of the device draws the other direction of the flow, fragments of the same
      // two hosts, to that queue.
      for (const [i, packet] of out.packets.entries()) {
        await bench.host.call("inject", { packets: [packet] });
        await bench.send([5000, 6000][round % 2]!, back.packets[i]!);
        await bench.host.call("inject", { packets: [(await bench.datagram("out", 6000)).packets[0]] });
      }
      expect((await bench.arrivals(6)).map((one) => one.port).sort()).toEqual([
        5000, 5000, 5000, 6000, 6000, 6000,
      ]);
      expect(await bench.host.call("digest", { socket_name: "udp9000" })).toBe(back.digest);
    }
    expect((await bench.plane.call("counters"))["handed_over"]).toBeGreaterThan(0);
    await bench.expectDrops({});
  });

  it("are dropped by reason, per SA where one was found, and never pass for want of knowledge", async () => {
    const { bed, ...topology } = await network();
    const bench = await Bench.open(bed, topology, 2);
    // Not agreed to: the first passes, what is behind it does not, in either direction.
    const refused = await bench.datagram("out", 7000);
    await bench.host.call("inject", { packets: refused.packets });
    expect((await bench.arrivals(1)).map((one) => one.port)).toEqual([7000]);
    await bench.expectDrops({ fragment_refused: 2 });
    expect((await bench.saRow(saOf(7000).outbound)).drops).toEqual({ fragment_refused: 2 });
    const inbound = await bench.datagram("in", 7000);
    for (const packet of inbound.packets) await bench.send(7000, packet);
    await bench.expectDrops({ fragment_refused: 4 });
    expect(await bench.saRow(saOf(7000).inbound)).toMatchObject({
      packets: 1,
      drops: { fragment_refused: 2 },
    });

    // On the SA for another port than their first fragment has.
    const mixed = await bench.datagram("in", 5000);
    await bench.send(5000, mixed.packets[0]!);
    await bench.send(6000, mixed.packets[1]!);
    // Two workers: the other one does not know the first fragment, and waits for it in vain.
    await bench.expectDrops({ fragment_refused: 4, fragment_orphan: 1 });
    expect((await bench.saRow(saOf(6000).inbound)).drops).toEqual({ fragment_orphan: 1 });

    // Without a first one.
    const orphans = await bench.datagram("out", 5000);
    await bench.host.call("inject", { packets: orphans.packets.slice(1) });
    await bench.expectDrops({ fragment_refused: 4, fragment_orphan: 3 });

    // Reaching into the first one.
    const overlap = await bench.datagram("in", 5000, { id: 4242, size: 1500 });
    const finer = await bench.datagram("in", 5000, { id: 4242, size: 1500, step: 400 });
    await bench.send(5000, overlap.packets[0]!);
    await bench.send(5000, finer.packets[1]!);
    await bench.expectDrops({ fragment_refused: 4, fragment_orphan: 3, fragment_overlap: 1 });
    expect((await bench.saRow(saOf(5000).inbound)).drops).toEqual({ fragment_overlap: 1 });

    // None of them reached a program.
    expect(await bench.host.call("digest", { socket_name: "udp9000", timeout: 0.2 })).toBeNull();
  });

  it("on the SA for another port, at the same worker, are outside its selectors", async () => {
    const { bed, ...topology } = await network();
    const bench = await Bench.open(bed, topology, 1);
    const mixed = await bench.datagram("in", 5000);
    await bench.send(5000, mixed.packets[0]!);
    await bench.send(6000, mixed.packets[1]!);
    await bench.expectDrops({ selector_mismatch: 1 });
    expect(await bench.saRow(saOf(6000).inbound)).toMatchObject({ drops: { selector_mismatch: 1 } });
    // Before the first one, the same.
    const before = await bench.datagram("in", 5000);
    await bench.send(6000, before.packets[1]!);
    await bench.send(5000, before.packets[0]!);
    await bench.expectDrops({ selector_mismatch: 2 });
  });
});
