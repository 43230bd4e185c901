import { describe, expect, it } from "vitest";
import { natDetectionHash } from "../../src/crypto/index.ts";
import { notify as n } from "../../src/ike/v2/notify.ts";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { decodeMessage, type NotifyPayload, type PlainPayload } from "../../src/wire/index.ts";
import { CraftedPeer, notifyOf } from "./crafted-peer.ts";
import { endpoint, type Node, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const { INFORMATIONAL } = ExchangeType.code;
const secondA = "203.0.113.9";

const pathOf = (node: Node) =>
  [...new Set(node.installed.map((sa) => `${sa.local} ${sa.remote} ${sa.encapsulation.kind}`))].join(", ");

describe("what a peer must not do to us", () => {
  const mobike = n(N.MOBIKE_SUPPORTED);
  /** B answers a peer of ours at A's address. */
  function answering(change: (p: PlainPayload[]) => PlainPayload[] = (p) => [...p, mobike]) {
    const sites = twoSites();
    const peer = new CraftedPeer(sites.sim, sites.b, { own: addressA, node: addressB });
    sites.sim.start(sites.b);
    peer.init();
    const answer = peer.auth(change);
    return { ...sites, peer, answer };
  }

  it("announces MOBIKE only to a peer that did", () => {
    expect(notifyOf(answering().answer)).toBe(N.MOBIKE_SUPPORTED);
    expect(notifyOf(answering((p) => p).answer)).toBeUndefined();
  });

  it.each([
    ["loopback", endpoint("127.0.0.1")],
    ["multicast", endpoint("224.0.0.1")],
    ["broadcast", endpoint("255.255.255.255")],
    ["nothing", endpoint("0.0.0.0")],
    ["our own address", endpoint(addressB)],
    ["port 0", endpoint("203.0.113.50", 0)],
  ])("UNACCEPTABLE_ADDRESSES: an update from %s moves nothing", (_, from) => {
    const { peer, b, sim } = answering();
    peer.moveTo(from);
    const answer = peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES), n(N.COOKIE2, new Uint8Array(8))]);
    expect(answer!.payloads).toMatchObject([{ type: N.UNACCEPTABLE_ADDRESSES }, { type: N.COOKIE2 }]);
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
    expect(tunnelStatus(sim, b).remote).toBe(`${addressA}:500`);
  });

  it("an update without MOBIKE is an unknown status notification: nothing moves", () => {
    const { peer, b } = answering((p) => p);
    peer.moveTo(endpoint("203.0.113.50"));
    const answer = peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES), n(N.COOKIE2, new Uint8Array(8))]);
    expect(answer!.payloads).toEqual([]);
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
  });

  it("with MOBIKE any other message from elsewhere is answered there, and moves nothing (§3.8)", () => {
    const { peer, b, sim } = answering();
    peer.moveTo(endpoint("203.0.113.50"));
    expect(peer.request(INFORMATIONAL, [])!.payloads).toEqual([]);
    expect(tunnelStatus(sim, b).remote).toBe(`${addressA}:500`);
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
  });

  it("a copy of an old update from elsewhere gets its old answer, and moves nothing", () => {
    const { peer, b, sim } = answering();
    peer.moveTo(endpoint(addressA));
    const update = peer.seal(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES)]);
    expect(peer.raw(update)).toBeDefined();
    peer.acknowledge();
    peer.moveTo(endpoint("203.0.113.50"));
    peer.raw(update);
    expect(tunnelStatus(sim, b).remote).toBe(`${addressA}:500`);
    peer.request(INFORMATIONAL, []);
    expect(peer.raw(update)).toBeUndefined();
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
  });

  it("UNEXPECTED_NAT_DETECTED: NO_NATS_ALLOWED that does not fit the packet (§3.9)", () => {
    const { peer, b } = answering();
    const from = endpoint("203.0.113.50", 500);
    const data = (source: string, port: number) =>
      Uint8Array.from([
        ...endpoint(source).address.bytes,
        ...endpoint(addressB).address.bytes,
        port >> 8,
        port & 255,
        1,
        0xf4,
      ]);
    peer.moveTo(from);
    for (const bad of [
      data("10.0.0.1", 500),
      data("203.0.113.50", 501),
      new Uint8Array(0),
      new Uint8Array(36),
    ]) {
      const answer = peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES), n(N.NO_NATS_ALLOWED, bad)]);
      expect(notifyOf(answer)).toBe(N.UNEXPECTED_NAT_DETECTED);
      expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
    }
    const fits = n(N.NO_NATS_ALLOWED, data("203.0.113.50", 500));
    const answer = peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES), fits]);
    expect(notifyOf(answer)).toBeUndefined();
  });

  it("UNEXPECTED_NAT_DETECTED in IKE_AUTH: no IKE SA comes to be", () => {
    const { answer, b } = answering((p) => [...p, mobike, n(N.NO_NATS_ALLOWED, new Uint8Array(12))]);
    expect(notifyOf(answer)).toBe(N.UNEXPECTED_NAT_DETECTED);
    expect(b.failures.at(-1)!.code).toBe("OTHER_NOTIFY");
    expectNothingLeft(b);
  });

  it("return routability: an answer with another COOKIE2, or none, closes the IKE SA (§3.7)", () => {
    for (const answerWith of [[n(N.COOKIE2, new Uint8Array(16))], []]) {
      const { peer, b } = answering();
      peer.moveTo(endpoint("203.0.113.50"));
      peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES)]);
      const check = peer.received.at(-1)!;
      expect(peer.open(check)).toMatchObject([{ type: N.COOKIE2 }]);
      expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
      peer.answer(check, answerWith);
      expect(b.failures.at(-1)).toMatchObject({ code: "PEER_PROTOCOL_ERROR" });
      expectNothingLeft(b);
    }
  });

  it("return routability: the right COOKIE2 moves ESP", () => {
    const { peer, b } = answering();
    peer.moveTo(endpoint("203.0.113.50"));
    peer.request(INFORMATIONAL, [n(N.UPDATE_SA_ADDRESSES)]);
    const check = peer.received.at(-1)!;
    peer.answer(check, [...peer.open(check)!]);
    expect(pathOf(b)).toBe(`${addressB} 203.0.113.50 esp`);
  });

  it("copies COOKIE2 and answers NAT detection in any request (§3.7, §3.8)", () => {
    const { peer } = answering();
    const data = Uint8Array.from({ length: 64 }, (_, i) => i);
    const hash = new Uint8Array(20);
    const answer = peer.request(INFORMATIONAL, [
      n(N.NAT_DETECTION_SOURCE_IP, hash),
      n(N.NAT_DETECTION_DESTINATION_IP, hash),
      n(N.COOKIE2, data),
    ]);
    // This peer has no NAT traversal (it said nothing of it in IKE_SA_INIT): no hashes for it.
    expect(answer!.payloads).toHaveLength(1);
    const [copy] = answer!.payloads as NotifyPayload[];
    expect([copy!.type, ...copy!.data]).toEqual([N.COOKIE2, ...data]);
  });

  it("any set of its notifications with any data: no throw, one answer each, bounded", () => {
    const types = [
      N.UPDATE_SA_ADDRESSES,
      N.ADDITIONAL_IP4_ADDRESS,
      N.ADDITIONAL_IP6_ADDRESS,
      N.NO_ADDITIONAL_ADDRESSES,
      N.COOKIE2,
      N.NO_NATS_ALLOWED,
      N.NAT_DETECTION_SOURCE_IP,
      N.NAT_DETECTION_DESTINATION_IP,
      N.UNACCEPTABLE_ADDRESSES,
      N.UNEXPECTED_NAT_DETECTED,
      N.MOBIKE_SUPPORTED,
    ];
    const { sim, peer, b } = answering();
    const pick = (below: number) => Math.floor(sim.random.unit() * below);
    const sizes = [0, 1, 4, 8, 12, 16, 20, 36, 64, 65, 300];
    for (let i = 0; i < 2000; i++) {
      const payloads = Array.from({ length: pick(12) }, () =>
        n(types[pick(types.length)]!, sim.random.bytes(sizes[pick(sizes.length)]!)),
      );
      peer.moveTo(endpoint(`203.0.${pick(3)}.${pick(256)}`, pick(3) * 4500));
      expect(peer.request(INFORMATIONAL, payloads)).toBeDefined();
      for (const check of peer.received.splice(0)) {
        const opened = peer.open(check);
        if (opened && !decodeMessage(check).header.response) peer.answer(check, [...opened]);
      }
      expect(b.installed).toHaveLength(2);
    }
    expect(tunnelStatus(sim, b).state).toBe("up");
  });
});

describe("what a responder must not do to us", () => {
  /** A has called a responder of ours, and has lost its address. */
  function moved() {
    const id = { kind: "fqdn", fqdn: "a.example" } as const;
    const sites = twoSites({ a: { addresses: [addressA, secondA], localId: id } });
    const peer = new CraftedPeer(sites.sim, sites.a, { own: addressB, node: addressA });
    sites.sim.start(sites.a);
    const hash = natDetectionHash;
    peer.answerInit((p) => {
      const ids = [peer.spiInitiator, peer.spiResponder] as const;
      return [
        ...p,
        n(N.NAT_DETECTION_SOURCE_IP, hash(...ids, endpoint(addressB))),
        n(N.NAT_DETECTION_DESTINATION_IP, hash(...ids, endpoint(addressA))),
      ];
    });
    peer.moveTo(endpoint(addressB, 4500), endpoint(addressA, 4500));
    peer.answerAuth((p) => [...p, n(N.MOBIKE_SUPPORTED)]);
    peer.received.length = 0;
    sites.sim.setAddresses(sites.a, secondA);
    peer.moveTo(endpoint(addressB, 4500), endpoint(secondA, 4500));
    const update = peer.received.splice(0).at(-1)!;
    return { ...sites, peer, update, said: peer.open(update)! };
  }
  const cookieOf = (said: readonly PlainPayload[]) =>
    said.filter((p) => p.kind === "N" && p.type === N.COOKIE2);

  it("sends what §3.5 says, and moves ESP at once to a peer that the configuration names", () => {
    const { said, a } = moved();
    expect(said.map((p) => p.kind === "N" && NotifyType.nameOf(p.type))).toEqual([
      "UPDATE_SA_ADDRESSES",
      "NAT_DETECTION_SOURCE_IP",
      "NAT_DETECTION_DESTINATION_IP",
      "NO_ADDITIONAL_ADDRESSES",
      "COOKIE2",
    ]);
    expect(pathOf(a)).toBe(`${secondA} ${addressB} esp`);
  });

  it("another COOKIE2, or none, closes the IKE SA", () => {
    for (const bad of [[n(N.COOKIE2, new Uint8Array(16))], []]) {
      const { a, peer, update } = moved();
      peer.answer(update, bad);
      expect(a.failures.at(-1)).toMatchObject({ code: "PEER_PROTOCOL_ERROR" });
      expectNothingLeft(a);
    }
  });

  it("UNACCEPTABLE_ADDRESSES: with no other pair to try it begins anew, and the operator is told", () => {
    const { a, peer, update, sim } = moved();
    peer.answer(update, [n(N.UNACCEPTABLE_ADDRESSES)]);
    expect(a.failures.at(-1)).toMatchObject({ code: "OTHER_NOTIFY", theirs: ["UNACCEPTABLE_ADDRESSES"] });
    expectNothingLeft(a);
    sim.run(10_000);
    expect(sim.network.trace.filter((t) => t === "A: IKE_SA_INIT request 0").length).toBeGreaterThan(1);
  });

  it("UNEXPECTED_NAT_DETECTED: asks some more times, and then begins anew (§3.9)", () => {
    const { a, peer, update, said } = moved();
    let request = update;
    let payloads: readonly PlainPayload[] = said;
    for (let i = 0; i < 5; i++) {
      expect(a.failures).toEqual([]);
      peer.answer(request, [n(N.UNEXPECTED_NAT_DETECTED), ...cookieOf(payloads)]);
      request = peer.received.splice(0).at(-1)!;
      payloads = peer.open(request)!;
    }
    expect(a.failures.at(-1)).toMatchObject({ code: "OTHER_NOTIFY", theirs: ["UNEXPECTED_NAT_DETECTED"] });
    expectNothingLeft(a);
  });

  it("an answer that claims to come from elsewhere does not take us there", () => {
    const { a, peer, update, said, sim } = moved();
    peer.moveTo(endpoint("203.0.113.66", 4500), endpoint(secondA, 4500));
    peer.answer(update, cookieOf(said));
    sim.run(500);
    expect(tunnelStatus(sim, a).remote).toBe(`${addressB}:4500`);
    expect(pathOf(a)).toBe(`${secondA} ${addressB} esp`);
  });
});
