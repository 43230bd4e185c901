import { describe, expect, it } from "vitest";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import {
  decodeMessage,
  encodePayloads,
  findNotify,
  findPayload,
  IKE_HEADER_BYTES,
  type NotifyPayload,
  type PlainPayload,
} from "../../src/wire/index.ts";
import { CraftedPeer, notifyOf } from "./crafted-peer.ts";
import { fair, impair, messageName, type Packet } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { storm } from "./storm.ts";
import { addressA, addressB, expectNothingLeft, expectUp, type Sites, twoSites } from "./two-sites.ts";

const X = ExchangeType.code;
const tiny = { fragmentIpBytes: 200 };
const fragmentation: NotifyPayload = {
  kind: "N",
  protocolId: 0,
  spi: new Uint8Array(0),
  type: NotifyType.code.IKEV2_FRAGMENTATION_SUPPORTED,
  data: new Uint8Array(0),
};
const withFragmentation = (payloads: PlainPayload[]) => [...payloads, fragmentation];

/** Everything that was sent. */
function sent({ sim }: Sites): Packet[] {
  const packets: Packet[] = [];
  sim.network.faults.push((packet) => {
    packets.push(packet);
    return "pass";
  });
  return packets;
}
const fragmentOf = (datagram: Uint8Array) => findPayload(decodeMessage(datagram).payloads, "SKF");
const named = (packets: readonly Packet[], prefix: string) =>
  packets.filter((p) => messageName(p.datagram).startsWith(prefix));

describe("IKE fragmentation between two gateways (RFC 7383)", () => {
  it("is offered and answered in IKE_SA_INIT", () => {
    const sites = twoSites();
    const packets = sent(sites);
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(2000);
    for (const name of ["IKE_SA_INIT request", "IKE_SA_INIT response"]) {
      const { payloads } = decodeMessage(named(packets, name)[0]!.datagram);
      expect(findNotify(payloads, fragmentation.type)).toEqual(fragmentation);
    }
  });

  it.each([
    ["IPv4", {}, [addressA, addressB], 200 - 20 - 8],
    ["IPv4 with NAT traversal", { natTraversal: { forceEncapsulation: true } }, [addressA, addressB], 168],
    ["IPv6", {}, ["2001:db8::1", "2001:db8::2"], 200 - 40 - 8],
    ["IPv6 with CBC", { ike: ["aes256-sha512-x25519"] }, ["2001:db8::1", "2001:db8::2"], 152],
  ] as const)(
    "comes up over %s in datagrams of at most 200 octets, rekeys, and closes",
    (_, both, ends, max) => {
      const sites = twoSites({
        both: { ...both, esp: ["aes128gcm16-x25519"], lifetimeSeconds: 60, ikeLifetimeSeconds: 100 },
        a: { addresses: [ends[0]], peers: [ends[1]] },
        b: { addresses: [ends[1]], peers: [ends[0]] },
        sim: { limits: tiny },
      });
      const packets = sent(sites);
      const { sim, a, b } = sites;
      sim.start(a, b);
      sim.run(300_000);
      // Not in the middle of a rekey, while the old inbound SA still receives.
      sim.runUntil(() => a.installed.length + b.installed.length === 4, 30_000);
      expectUp(sites);
      for (const name of ["IKE_AUTH", "CREATE_CHILD_SA"])
        for (const direction of ["request", "response"]) {
          const some = named(packets, `${name} ${direction}`);
          expect(some.length).toBeGreaterThan(1);
          expect(some.map((p) => fragmentOf(p.datagram)?.totalFragments)).not.toContain(1);
        }
      const encrypted = packets.filter((p) => !messageName(p.datagram).startsWith("IKE_SA_INIT"));
      expect(Math.max(...encrypted.map((p) => p.datagram.length))).toBeLessThanOrEqual(max);
      // RFC 7383 §2.4: nothing is gained with liveness checks in fragments.
      expect(named(packets, "INFORMATIONAL").filter((p) => fragmentOf(p.datagram))).toEqual([]);
      // Rekeyed IKE SAs keep to it.
      const spis = new Set(
        packets
          .filter((p) => fragmentOf(p.datagram))
          .map((p) => decodeMessage(p.datagram).header.spiInitiator),
      );
      expect(spis.size).toBeGreaterThan(2);
      sim.command(a, "down");
      sim.run(10_000);
      expectNothingLeft(a);
      expectNothingLeft(b);
    },
  );

  it("sends what fits in 1280 octets in one piece, and cuts what does not", () => {
    const subnets = (n: number, site: number) => Array.from({ length: n }, (_, i) => `10.${site}.${i}.0/24`);
    for (const [n, fragments] of [
      [1, 0],
      [60, 2],
    ] as const) {
      const routing = { routing: "protected-data-flows" } as const;
      const sites = twoSites({
        a: { ...routing, localSubnets: subnets(n, 1), remoteSubnets: subnets(n, 2) },
        b: { ...routing, localSubnets: subnets(n, 2), remoteSubnets: subnets(n, 1) },
      });
      const packets = sent(sites);
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(2000);
      expectUp(sites);
      expect(named(packets, "IKE_AUTH request").filter((p) => fragmentOf(p.datagram))).toHaveLength(
        fragments,
      );
      const sizes = packets.map((p) => p.datagram.length);
      if (fragments > 0) expect(Math.max(...sizes)).toBe(1280 - 20 - 8 - 4);
    }
  });

  it.each(["IKE_AUTH request", "IKE_AUTH response"])(
    "one fragment of the %s lost: all are sent again",
    (name) => {
      const sites = twoSites({ sim: { limits: tiny } });
      const packets = sent(sites);
      let n = 0;
      sites.sim.network.faults.push((_, each) => (each.startsWith(name) && ++n === 2 ? "drop" : "pass"));
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(400);
      const once = named(packets, name).length;
      expect(tunnelStatus(sites.sim, sites.a).state).not.toBe("up");
      sites.sim.run(1600);
      expectUp(sites);
      expect(named(packets, name)).toHaveLength(2 * once);
    },
  );

  it("comes up under loss, duplication and reordering", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const sites = twoSites({ both: { esp: ["aes128gcm16-x25519"] }, sim: { seed, limits: tiny } });
      sites.sim.network.weather = { loss: 0.25, duplication: 0.3, delayMs: 10, jitterMs: 300 };
      sites.sim.start(sites.a, sites.b);
      expect(
        sites.sim.runUntil(() => tunnelStatus(sites.sim, sites.a).state === "up", 120_000),
        `${seed}`,
      ).toBe(true);
      sites.sim.network.weather = fair;
      sites.sim.run(60_000);
      expectUp(sites);
    }
  });

  it("in any weather both sides have one matching pair of SAs, and none after down", () => {
    for (let seed = 1; seed <= 40; seed++) {
      try {
        storm(seed, tiny);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
  });

  it("a damaged fragment is dropped, and the genuine one completes the message", () => {
    const sites = twoSites({ sim: { limits: tiny } });
    const damage = (packet: Packet) => {
      const datagram = Uint8Array.from(packet.datagram);
      datagram[60]! ^= 1;
      return [{ ...packet, datagram }, packet];
    };
    sites.sim.network.faults.push(impair.replace("IKE_AUTH request", damage, 2));
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(200);
    expectUp(sites);
    expect(sites.b.gateway.status(sites.sim.now).ike.drops["not_authentic"]).toBe(2);
  });
});

/** B answers; A is the crafted peer. */
function atTheDoor(options: { support?: boolean; limits?: object } = {}) {
  const sites = twoSites({ sim: { limits: { ...tiny, ...options.limits } } });
  const { sim, b } = sites;
  sim.start(b);
  const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
  const init = peer.init((options.support ?? true) ? withFragmentation : undefined)!;
  const status = () => b.gateway.status(sim.now).ike;
  const drops = (reason: string) => status().drops[reason];
  /** Every datagram that the node sends in return. */
  const deliver = (...datagrams: Uint8Array[]) =>
    datagrams.flatMap((datagram) => {
      const first = peer.raw(datagram);
      return first ? [first, ...peer.received.splice(0)] : [];
    });
  return { ...sites, peer, init, status, drops, deliver };
}

/** IKE_AUTH is done, in fragments; the next request is INFORMATIONAL 2. */
function established(options: Parameters<typeof atTheDoor>[0] = {}) {
  const door = atTheDoor(options);
  const request = door.peer.sealFragments(X.IKE_AUTH, door.peer.authPayloads(), 160);
  const answer = door.deliver(...request);
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  door.peer.acknowledge();
  return { ...door, request, answer };
}

describe("a peer without IKE fragmentation", () => {
  it("initiates: is answered without it, in one piece, and its fragments are dropped and counted", () => {
    const { peer, init, drops, deliver, sim, b } = atTheDoor({ support: false });
    expect(findNotify(init.payloads, fragmentation.type)).toBeUndefined();
    const request = peer.sealFragments(X.IKE_AUTH, peer.authPayloads(), 160);
    expect(request.length).toBeGreaterThan(1);
    expect(deliver(...request)).toEqual([]);
    expect(drops("fragment")).toBe(request.length);
    const answer = peer.auth()!;
    expect(answer.datagram.length).toBeGreaterThan(tiny.fragmentIpBytes);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("responds: is asked in one piece", () => {
    const { sim, a } = twoSites({ sim: { limits: tiny } });
    const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    peer.answerInit();
    expect(peer.received).toHaveLength(1);
    expect(fragmentOf(peer.received[0]!)).toBeUndefined();
    peer.answerAuth();
    expect(tunnelStatus(sim, a).state).toBe("up");
  });
});

describe("fragments of a peer (RFC 7383 §2.6)", () => {
  it("complete a request in any order, and its answer comes in fragments", () => {
    const { peer, deliver, sim, b } = atTheDoor();
    const request = peer.sealFragments(X.IKE_AUTH, peer.authPayloads(), 160).reverse();
    expect(deliver(...request.slice(0, -1))).toEqual([]);
    const answer = deliver(request.at(-1)!);
    expect(answer.map((d) => fragmentOf(d)?.fragmentNumber)).toEqual(answer.map((_, i) => i + 1));
    expect(answer.map((d) => (fragmentOf(d)?.firstPayload ?? 0) !== 0)).toEqual(
      answer.map((_, i) => i === 0),
    );
    expect(findPayload(peer.openFragments(answer), "AUTH")).toBeDefined();
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("repeat an answer only when the first of an answered request comes again (§2.6.1)", () => {
    const { peer, deliver, drops, request, answer } = established();
    for (const fragment of request.slice(1)) expect(deliver(fragment)).toEqual([]);
    expect(drops("fragment_repeated")).toBe(request.length - 1);
    expect(deliver(request[0]!)).toEqual(answer);
    // The same request, cut anew after losses on the way.
    const again = peer.sealFragments(X.IKE_AUTH, peer.authPayloads(), 120, 1);
    expect(again.length).toBeGreaterThan(request.length);
    expect(deliver(...again)).toEqual(answer);
    const forged = Uint8Array.from(again[0]!);
    forged[forged.length - 1]! ^= 1;
    expect(deliver(forged)).toEqual([]);
  });

  it("twice or from a smaller set are dropped; a larger set begins anew", () => {
    const { peer, deliver, drops, sim, b } = atTheDoor();
    const [few, many] = [160, 120].map((max) => peer.sealFragments(X.IKE_AUTH, peer.authPayloads(), max));
    expect(few!.length).toBeLessThan(many!.length);
    expect(deliver(few![0]!, few![0]!)).toEqual([]);
    expect(drops("fragment_repeated")).toBe(1);
    expect(deliver(many![0]!, ...few!.slice(1))).toEqual([]);
    expect(drops("fragment")).toBe(few!.length - 1);
    expect(deliver(...many!.slice(1)).length).toBeGreaterThan(0);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("a forged larger set does not throw away what was collected", () => {
    const { peer, deliver, drops, sim, b } = atTheDoor();
    const request = peer.sealFragments(X.IKE_AUTH, peer.authPayloads(), 160);
    deliver(request[0]!);
    const forged = peer.sealFragment(X.IKE_AUTH, { number: 1, total: 60, chunk: new Uint8Array(9) });
    forged[forged.length - 1]! ^= 1;
    expect(deliver(forged)).toEqual([]);
    expect(drops("not_authentic")).toBe(1);
    deliver(...request.slice(1));
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("with a gap wait, then are forgotten, and the whole request works afterwards", () => {
    const { peer, deliver, sim, b, drops } = established({ limits: { reassemblyMs: 5_000 } });
    const { first, bytes } = encodePayloads([fragmentation]);
    const cut = (number: number) => {
      const chunk = bytes.subarray((number - 1) * 3, number === 3 ? undefined : number * 3);
      const fragment = { number, total: 3, chunk, ...(number === 1 && { first }) };
      return peer.sealFragment(X.INFORMATIONAL, fragment);
    };
    expect(deliver(cut(1), cut(3))).toEqual([]);
    sim.run(5_001);
    expect(deliver(cut(2))).toEqual([]);
    expect(deliver(cut(1))).toEqual([]);
    expect(deliver(cut(3))).toHaveLength(1);
    expect(drops("fragment_repeated")).toBe(0);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("with numbers that cannot be are malformed (0 of n, n of 0, 3 of 2)", () => {
    const { peer, deliver, drops } = established();
    for (const [number, total] of [
      [0, 2],
      [1, 0],
      [0, 0],
      [3, 2],
      [65535, 1],
    ] as const)
      expect(
        deliver(peer.sealFragment(X.INFORMATIONAL, { number, total, chunk: new Uint8Array(4) })),
      ).toEqual([]);
    expect(drops("malformed")).toBe(5);
    expect(peer.request(X.INFORMATIONAL, [])?.payloads).toEqual([]);
  });

  it("of more than 64 in all, or of more octets than we collect, are dropped", () => {
    const { peer, deliver, drops } = established({ limits: { reassemblyBytes: 4_000 } });
    for (const total of [65, 1000, 65535])
      expect(
        deliver(peer.sealFragment(X.INFORMATIONAL, { number: 1, total, chunk: new Uint8Array(4) })),
      ).toEqual([]);
    expect(drops("fragment")).toBe(3);
    const big = (number: number) => ({ number, total: 64, chunk: new Uint8Array(1500) });
    for (const number of [2, 3, 4]) deliver(peer.sealFragment(X.INFORMATIONAL, big(number)));
    expect(drops("fragment")).toBe(4);
    // Nothing is left of them: the same numbers are no repetition.
    deliver(peer.sealFragment(X.INFORMATIONAL, big(2)));
    expect(drops("fragment_repeated")).toBe(0);
    expect(peer.request(X.INFORMATIONAL, [])?.payloads).toEqual([]);
  });

  it("of two exchanges do not make one message", () => {
    const { peer, deliver, drops, sim, b } = established();
    const chunk = new Uint8Array(4);
    deliver(peer.sealFragment(X.INFORMATIONAL, { number: 1, total: 2, chunk }));
    expect(deliver(peer.sealFragment(X.CREATE_CHILD_SA, { number: 2, total: 2, chunk }))).toEqual([]);
    expect(drops("fragment")).toBe(1);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("of one request and of the next do not mix: an answered request leaves nothing", () => {
    const { peer, deliver } = established();
    deliver(peer.sealFragment(X.INFORMATIONAL, { number: 2, total: 2, chunk: new Uint8Array(4) }));
    expect(peer.request(X.INFORMATIONAL, [])?.payloads).toEqual([]);
    expect(deliver(...peer.sealFragments(X.INFORMATIONAL, [], 1))).toHaveLength(1);
  });

  it("whose whole does not decode are answered with INVALID_SYNTAX (RFC 7296 §2.21.3)", () => {
    const { peer, deliver, b } = established();
    const chunk = Uint8Array.of(41, 0, 0);
    const fragments = [1, 2].map((number) => peer.sealFragment(X.INFORMATIONAL, { number, total: 2, chunk }));
    const [answer] = deliver(...fragments);
    expect(notifyOf({ datagram: answer!, payloads: peer.open(answer!)! })).toBe(
      NotifyType.code.INVALID_SYNTAX,
    );
    expectNothingLeft(b);
  });

  it("behind 1 to 200 unknown payloads are taken, and what is not protected is ignored (CVE-2026-12413)", () => {
    const outer = (type: number): PlainPayload => ({
      kind: "unknown",
      type,
      critical: true,
      body: new Uint8Array(0),
    });
    const { peer, deliver } = established();
    const { first, bytes } = encodePayloads([fragmentation]);
    for (let n = 1; n <= 200; n++) {
      const behind = Array.from({ length: n }, (_, i) => outer(200 + (i % 50)));
      const one = { number: 1, total: 2, chunk: bytes.subarray(0, 5), first };
      const two = { number: 2, total: 2, chunk: bytes.subarray(5) };
      expect(deliver(peer.sealFragmentBehind(X.INFORMATIONAL, behind, one))).toEqual([]);
      expect(deliver(peer.sealFragment(X.INFORMATIONAL, two))).toHaveLength(1);
      peer.acknowledge();
    }
  });

  it("in IKE_SA_INIT are refused: nothing can protect them", () => {
    const { peer, sim, b, init } = atTheDoor();
    const before = b.gateway.status(sim.now).ike.sas;
    const fragment = peer.sealFragment(X.IKE_SA_INIT, { number: 1, total: 1, chunk: new Uint8Array(8) }, 0);
    fragment.fill(0, 8, 16);
    expect(peer.raw(fragment)).toBeUndefined();
    expect(b.gateway.status(sim.now).ike.sas).toBe(before);
    expect(init.datagram.length).toBeGreaterThan(IKE_HEADER_BYTES);
    peer.auth();
    expect(tunnelStatus(sim, b).state).toBe("up");
  });
});
