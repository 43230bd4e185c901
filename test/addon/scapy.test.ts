import { expect, it } from "vitest";
import { delay, must } from "../../testbed/exec.ts";
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

const toCulvert = 0x11220010;
const toScapy = 0x33440020;

interface Setup {
  readonly plane: Plane;
  readonly peer: EspPeer;
  /** Sends ESP as the peer, over UDP port 4500 or protocol 50. */
  readonly send: (esp: string) => Promise<void>;
  /** The next ESP packet that the peer receives, or undefined after two seconds. */
  readonly receive: () => Promise<string | undefined>;
  readonly drops: () => Promise<Record<string, number>>;
}

/** culvert on gA and scapy on gB; hA is a real host, hB exists only in scapy's packets. */
async function setup(
  bed: Testbed,
  { a, b }: Topology,
  options: { raw?: boolean; esn?: boolean; workers?: number; sa?: Readonly<Record<string, unknown>> } = {},
): Promise<Setup> {
  const { raw = false, esn = false } = options;
  const plane = await openPlane(bed, a.gateway, "plane A", {
    addresses: [a.outerAddress],
    workers: options.workers ?? 1,
  });
  const overrides = { esn, ...(raw ? { encapsulation: { kind: "esp" } } : {}), ...options.sa };
  await plane.call("installSa", manualSa("inbound", toCulvert, a.outerAddress, b.outerAddress, overrides));
  await plane.call("installSa", manualSa("outbound", toScapy, a.outerAddress, b.outerAddress, overrides));
  await plane.call("publish", planFor([b.subnet, b.subnet6], toScapy, b.outerAddress));
  await routeThroughTunnel(a.gateway, [b.subnet, b.subnet6]);

  const peer = await EspPeer.start(bed, b.gateway);
  const socket = raw ? "esp0" : "udp4500";
  await peer.call("listen", { local: b.outerAddress, port: raw ? 0 : 4500, raw });
  const ends = { local: b.outerAddress, remote: a.outerAddress };
  await peer.call("associate", { name: "out", spi: toCulvert, key: keyFor(toCulvert), esn, ...ends });
  await peer.call("associate", {
    name: "in",
    spi: toScapy,
    key: keyFor(toScapy),
    esn,
    local: ends.remote,
    remote: ends.local,
  });
  return {
    plane,
    peer,
    send: (data) => peer.call("send", { socket_name: socket, to: a.outerAddress, port: 4500, data }),
    receive: async () => (await peer.call("receive", { socket_name: socket }))?.data,
    drops: async () => {
      const all: Record<string, number> = await plane.call("drops");
      return Object.fromEntries(Object.entries(all).filter(([name, n]) => n > 0 && name !== "link_scope"));
    },
  };
}

/** An echo request from hB, sealed by scapy. */
async function sealedEcho(peer: EspPeer, { a, b }: Topology, sequence: number, size = 56): Promise<string> {
  const inner = await peer.call("echo", {
    source: b.hostAddress,
    destination: a.hostAddress,
    id: 77,
    sequence,
    size,
  });
  return peer.call("seal", { name: "out", inner, sequence });
}

/** Polls until the drops are `expected`; packets are on their way. */
async function expectDrops(of: Setup, expected: Readonly<Record<string, number>>): Promise<void> {
  const until = performance.now() + 5_000;
  let found = await of.drops();
  while (JSON.stringify(found) !== JSON.stringify(expected) && performance.now() < until) {
    await delay(20);
    found = await of.drops();
  }
  expect(found).toEqual(expected);
}

describeWithKernel("culvert against scapy's ESP", { scapy: true }, () => {
  for (const { raw, esn, workers } of [
    { raw: false, esn: false, workers: 1 },
    { raw: false, esn: true, workers: 2 },
    { raw: true, esn: false, workers: 3 },
    { raw: true, esn: true, workers: 1 },
  ]) {
    const title = `${raw ? "protocol 50" : "UDP 4500"}${esn ? ", ESN" : ""}, ${workers} workers`;
    it(`opens what scapy seals and seals what scapy opens: ${title}`, async () => {
      const { bed, ...topology } = await network();
      const { a, b } = topology;
      const { peer, send, receive, drops } = await setup(bed, topology, { raw, esn, workers });
      for (const [sequence, size] of [0, 1, 2, 3, 4, 56, 700, 1340].entries()) {
        await send(await sealedEcho(peer, topology, sequence + 1, size));
        const esp = await receive();
        expect(esp, `size ${size}`).toBeDefined();
        expect(esp!.slice(0, 8)).toBe(toScapy.toString(16));
        const inner = await peer.call("open", { name: "in", esp });
        expect(await peer.call("describe", { inner })).toEqual({
          source: a.hostAddress,
          destination: b.hostAddress,
          type: 0,
          id: 77,
          sequence: sequence + 1,
          checksumsRight: true,
        });
      }
      expect(await drops()).toEqual({});
    });
  }

  it("carries IPv6 inside", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const { peer, send, receive } = await setup(bed, topology);
    const inner = await peer.call("echo", {
      source: b.hostAddress6,
      destination: a.hostAddress6,
      id: 9,
      sequence: 3,
    });
    // Until the hosts' addresses are theirs (duplicate address detection), nothing answers, or the gateway does with an
    // ICMPv6 error: only an echo reply, type 129, ends the wait.
    let answer: unknown;
    for (let sequence = 1; sequence <= 10; sequence++) {
      await send(await peer.call("seal", { name: "out", inner, sequence }));
      const esp = await receive();
      if (esp === undefined) continue;
      answer = await peer.call("describe", { inner: await peer.call("open", { name: "in", esp }) });
      if ((answer as { type?: number }).type === 129) break;
    }
    expect(answer).toMatchObject({
      source: a.hostAddress6,
      destination: b.hostAddress6,
      type: 129,
      id: 9,
      sequence: 3,
    });
  });

  it("counts replays, garbage, foreign SPIs and unauthentic packets by their reason, and answers none", async () => {
    const { bed, ...topology } = await network();
    const of = await setup(bed, topology);
    const { peer, send, receive } = of;
    const first = await sealedEcho(peer, topology, 100);
    await send(first);
    expect(await receive()).toBeDefined();

    await send(first);
    await expectDrops(of, { replayed: 1 });
    // Left of the window of 64.
    await send(await sealedEcho(peer, topology, 36));
    await expectDrops(of, { replayed: 2 });
    await send(`${first.slice(0, 8)}00000000${first.slice(16)}`);
    await expectDrops(of, { replayed: 2, sequence_zero: 1 });
    await send(`${"deadbeef"}${first.slice(8)}`);
    await expectDrops(of, { unknown_spi: 1, replayed: 2, sequence_zero: 1 });
    const altered = await sealedEcho(peer, topology, 101);
    await send(`${altered.slice(0, -2)}${altered.endsWith("00") ? "01" : "00"}`);
    await expectDrops(of, { unknown_spi: 1, replayed: 2, sequence_zero: 1, bad_icv: 1 });
    await send(altered.slice(0, 2 * 20));
    await send("01");
    await expectDrops(of, { truncated: 2, unknown_spi: 1, replayed: 2, sequence_zero: 1, bad_icv: 1 });
    await send(altered.slice(0, -2));
    await send("ff");
    await expectDrops(of, {
      truncated: 2,
      unknown_spi: 1,
      replayed: 2,
      sequence_zero: 1,
      bad_icv: 1,
      bad_alignment: 1,
      keepalive: 1,
    });
    // None of them moved the window or used up the number: the unaltered packet still counts as fresh.
    await send(altered);
    expect(await receive()).toBeDefined();
    const totals = await of.plane.call("saTotals", "inbound", toCulvert, "192.0.2.2");
    expect(totals).toMatchObject({ packets: 2, sequence: 101 });
    const sa = (await of.plane.call("traffic")).find((row: { spi: number }) => row.spi === toCulvert);
    expect(sa.drops).toEqual({ truncated: 1, replayed: 2, sequence_zero: 1, bad_icv: 1, bad_alignment: 1 });
  });

  it("accepts the window's left edge once, and refuses what is outside the selectors", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const of = await setup(bed, topology, {
      sa: { localSelectors: [a.subnet], remoteSelectors: [`${b.hostAddress}/32`] },
    });
    const { peer, send, receive } = of;
    await send(await sealedEcho(peer, topology, 100));
    expect(await receive()).toBeDefined();
    const edge = await sealedEcho(peer, topology, 37);
    await send(edge);
    expect(await receive()).toBeDefined();
    await send(edge);
    await expectDrops(of, { replayed: 1 });
    const foreign = await peer.call("echo", {
      source: "10.2.0.77",
      destination: a.hostAddress,
      id: 1,
      sequence: 1,
    });
    await send(await peer.call("seal", { name: "out", inner: foreign, sequence: 101 }));
    await expectDrops(of, { replayed: 1, selector_mismatch: 1 });
    // Outbound the same: a packet for another host of the routed network finds no SA.
    await must(["sh", "-c", "ping -q -c 2 -i 0.05 -W 0.1 10.2.0.99 || true"], { netns: a.host });
    await expectDrops(of, { replayed: 1, selector_mismatch: 1, no_sa: 2 });
  });

  it("hands packets of a train to the workers that own their SAs", async () => {
    const { bed, ...topology } = await network();
    const { a, b } = topology;
    const of = await setup(bed, topology, { workers: 4 });
    const { plane, peer, receive } = of;
    // UDP_GRO merges whatever has one five-tuple: a train with the SPIs of four workers, and one that nobody has.
    const spis = [0, 1, 2, 3].map((worker) => 0x5500_0000 + worker);
    const ends = { local: b.outerAddress, remote: a.outerAddress };
    const inner = await peer.call("echo", {
      source: b.hostAddress,
      destination: a.hostAddress,
      id: 5,
      sequence: 1,
    });
    const train: string[] = [];
    for (const spi of [...spis, 0x5500_0010]) {
      if (spis.includes(spi))
        await plane.call("installSa", manualSa("inbound", spi, a.outerAddress, b.outerAddress));
      await peer.call("associate", { name: `${spi}`, spi, key: keyFor(spi), ...ends });
    }
    for (let round = 0; round < 3; round++) {
      for (const spi of [...spis, 0x5500_0010])
        train.push(await peer.call("seal", { name: `${spi}`, inner, sequence: round + 1 }));
    }
    await peer.call("sendTrain", {
      socket_name: "udp4500",
      to: a.outerAddress,
      port: 4500,
      datagrams: train,
    });
    for (let i = 0; i < 12; i++) expect(await receive()).toBeDefined();
    await expectDrops(of, { unknown_spi: 3 });
    for (const spi of spis)
      expect(await plane.call("saTotals", "inbound", spi, b.outerAddress)).toMatchObject({ packets: 3 });
    const counters = await plane.call("counters");
    expect(counters).toMatchObject({ esp_packets_in: 15, esp_receives: 1, handed_over: 9 });
  });

  it("numbers what it seals from 1 without gaps", async () => {
    const { bed, ...topology } = await network();
    const { peer, send, receive } = await setup(bed, topology);
    for (let i = 1; i <= 5; i++) {
      await send(await sealedEcho(peer, topology, i));
      expect(await peer.call("sequenceOf", { esp: await receive() })).toBe(i);
    }
  });
});
