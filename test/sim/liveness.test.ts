import { describe, expect, it } from "vitest";
import { Secret } from "../../src/core/secret.ts";
import { UnknownSaAnswers } from "../../src/ike/v2/crash-detection.ts";
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from "../../src/registry/index.ts";
import { decodeHeader, decodeMessage, findNotify } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { endpoint, type Node, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, expectUp, sitesUp, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const { INFORMATIONAL } = ExchangeType.code;

/** Both have a secret that survives restarts, of which the simulation wipes nothing. */
const secrets = (name: string) => Secret.fromText(`${name}'s 32 octets, more or less fixed`);
const withSecrets = { sim: { crashSecretOf: secrets } };

const codes = (node: Node) => node.failures.map(({ code }) => code);

describe("liveness (RFC 7296 §2.4)", () => {
  it("asks when nothing was heard for the interval, the responder a little later: HDR, SK {} -->", () => {
    const { sim } = sitesUp();
    sim.run(9_000);
    expect(sim.network.trace).toEqual([]);
    sim.run(1_500);
    expect(sim.network.trace).toEqual(["A: INFORMATIONAL request 2", "B: INFORMATIONAL response 2"]);
  });

  it("asks nobody whose ESP arrives", () => {
    const { sim, a, b } = sitesUp();
    const seen = () => {
      for (const node of [a, b]) for (const { spi } of node.inbound) node.lastInbound.set(spi, sim.now);
    };
    for (let i = 0; i < 60; i++) {
      seen();
      sim.run(1_000);
    }
    expect(sim.network.trace).toEqual([]);
    // The packets stop: 10 s after the last one it is asked.
    sim.run(8_900);
    expect(sim.network.trace).toEqual([]);
    sim.run(300);
    expect(sim.network.trace).toEqual(["A: INFORMATIONAL request 2", "B: INFORMATIONAL response 2"]);
  });

  it("asks in spite of a data plane whose clock is ahead, or that knows of packets long ago", () => {
    for (const at of [5, 10 ** 12]) {
      const { sim, a } = sitesUp();
      sim.run(5_000);
      for (const { spi } of a.inbound) a.lastInbound.set(spi, at);
      sim.run(20_000);
      expect(sim.network.trace.length).toBeGreaterThan(0);
    }
  });

  it("outbound ESP alone is no sign of life", () => {
    const { sim, a, b } = sitesUp();
    b.dead = true;
    for (let i = 0; i < 60; i++) {
      for (const { spi } of a.outbound) a.lastInbound.set(spi, sim.now);
      sim.run(1_000);
    }
    expect(codes(a)).toContain("DPD_TIMEOUT");
    expectNothingLeft(a);
  });

  it.each(["restart", "clear"] as const)("action %s: the path is cut and restored", (action) => {
    const sites = sitesUp({ both: { dpd: { action } } });
    const { sim, a } = sites;
    let cut = true;
    sim.network.faults.push(() => (cut ? "drop" : "pass"));
    sim.run(60_000);
    expectNothingLeft(a);
    expect(codes(a)).toContain("DPD_TIMEOUT");
    cut = false;
    sim.run(120_000);
    if (action === "restart") expectUp(sites);
    else {
      expect(tunnelStatus(sim, a).state).toBe("waiting");
      const [source, destination] = ["10.1.0.1", "10.2.0.1"].map((text) => endpoint(text).address);
      sim.event(a, {
        kind: "acquire",
        connection: 0,
        source: source!,
        destination: destination!,
        protocol: 17,
        sourcePort: 1,
        destinationPort: 2,
      });
      sim.run(1_000);
      expectUp(sites);
    }
  });

  it("repeats an unanswered question for as long as the connection says", () => {
    for (const timeoutSeconds of [5, 30, 600]) {
      const { sim, a, b } = sitesUp({ both: { dpd: { timeoutSeconds } } });
      b.dead = true;
      // Ten seconds of silence came before the question.
      sim.run((timeoutSeconds + 8) * 1000);
      expect(codes(a)).toEqual([]);
      sim.run(3_000);
      expect(codes(a)).toEqual(["DPD_TIMEOUT"]);
    }
  });

  it("tries for ever, at most a minute and a quarter between the ends of attempts, and never in step", () => {
    const sites = sitesUp();
    const { sim, a, b } = sites;
    b.dead = true;
    sim.run(50_000);
    const times: number[] = [];
    sim.network.faults.push((packet) => {
      if (packet.from === "A" && decodeHeader(packet.datagram).exchangeType === ExchangeType.code.IKE_SA_INIT)
        times.push(sim.now);
      return "pass";
    });
    sim.run(6 * 3_600_000);
    // 30 s of asking and up to 75 s of rest each.
    const gaps = times.slice(1).map((at, i) => at - times[i]!);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(83_000);
    const rests = gaps.filter((gap) => gap > 10_000);
    expect(rests.length).toBeGreaterThan(150);
    expect(new Set(rests).size).toBeGreaterThan(100);
    b.dead = false;
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
    sim.run(20_000);
    expectUp(sites);
  });
});

describe("a request for an IKE SA that is unknown (RFC 7296 §2.21.4)", () => {
  function door(options: Parameters<typeof twoSites>[0] = {}) {
    const sites = twoSites(options);
    sites.sim.start(sites.b);
    const peer = new CraftedPeer(sites.sim, sites.b, { own: addressA, node: addressB });
    const drops = () => sites.b.gateway.status(sites.sim.now).ike.drops;
    return { ...sites, peer, drops };
  }
  function established(options: Parameters<typeof twoSites>[0] = {}) {
    const open = door(options);
    open.peer.init();
    open.peer.auth();
    expect(tunnelStatus(open.sim, open.b).state).toBe("up");
    return open;
  }

  it("gets INVALID_IKE_SPI with its own SPIs and message ID, unprotected", () => {
    const { peer, sim, b, configB } = established();
    const request = peer.seal(INFORMATIONAL, [], 7);
    sim.crash(b, configB);
    const { header, payloads } = decodeMessage(peer.raw(request)!);
    const { spiInitiator, spiResponder } = peer;
    expect(header).toMatchObject({ spiInitiator, spiResponder, messageId: 7, exchangeType: INFORMATIONAL });
    expect(header).toMatchObject({ response: true, initiator: false });
    expect(payloads).toMatchObject([{ kind: "N", type: N.INVALID_IKE_SPI }]);
  });

  it("but not when it is a response, unprotected, an IKE_SA_INIT, or one of very many", () => {
    const { peer, sim, b, configB } = established();
    const request = peer.seal(INFORMATIONAL, [], 7);
    sim.crash(b, configB);
    const changed = (at: number, value: number) => {
      const bytes = Uint8Array.from(request);
      bytes[at] = value;
      return bytes;
    };
    expect(peer.raw(changed(19, 0x28))).toBeUndefined();
    expect(peer.raw(changed(16, PayloadType.code.N))).toBeUndefined();
    expect(peer.raw(changed(18, ExchangeType.code.IKE_SA_INIT))).toBeUndefined();
    let answers = 0;
    for (let i = 0; i < 5_000; i++) if (peer.raw(changed(8, i & 0xff))) answers++;
    expect(answers).toBe(1200);
    sim.run(60_001);
    expect(peer.raw(request)).toBeDefined();
  });

  it("about an IKE SA that exists is never answered, whatever the I flag and the peer's SPI: no token leaves", () => {
    const { peer, drops } = established(withSecrets);
    const request = peer.seal(INFORMATIONAL, [], 7);
    for (const flags of [0x00, 0x08]) {
      for (const flip of [0x00, 0x01]) {
        const bytes = Uint8Array.from(request);
        bytes[19] = flags;
        bytes[0]! ^= flip;
        expect(peer.raw(bytes)).toBeUndefined();
      }
    }
    expect(drops()).toMatchObject({ unknown_spi: 3, message_id: 1 });
  });

  it("a node that is told so, by anybody, asks its peer at once and at most every five seconds", () => {
    const sites = sitesUp();
    const { sim, a } = sites;
    const { ike } = tunnelStatus(sim, a);
    const forged = invalidIkeSpi(ike!);
    const tell = () => sim.deliver(endpoint(addressB), endpoint(addressA), forged);
    for (let i = 0; i < 100; i++) tell();
    sim.run(1_000);
    expect(sim.network.trace).toEqual(["A: INFORMATIONAL request 2", "B: INFORMATIONAL response 2"]);
    for (let i = 0; i < 100; i++) {
      sim.run(50);
      tell();
    }
    sim.run(100);
    expect(sim.network.trace).toHaveLength(4);
    expectUp(sites);
    expect(a.gateway.status(sim.now).ike.drops["unknown_to_peer"]).toBe(200);
  });
});

/** What anybody can send who has seen the SPIs. */
function invalidIkeSpi(ike: { spiInitiator: string; spiResponder: string }, tokens: Uint8Array[] = []) {
  const notifies = [
    Buffer.from([0, 0, 0, 8, 0, 0, 0, N.INVALID_IKE_SPI]),
    ...tokens.map((token) =>
      Buffer.concat([Buffer.from([0, 0, 0, 8 + token.length, 1, 0, 0x40, 0x23]), token]),
    ),
  ];
  // Next payload of all but the last: another Notify.
  for (const n of notifies.slice(0, -1)) n[0] = PayloadType.code.N;
  const header = Buffer.alloc(28);
  Buffer.from(ike.spiInitiator + ike.spiResponder, "hex").copy(header);
  header.set([PayloadType.code.N, 0x20, INFORMATIONAL, 0x20], 16);
  const datagram = Buffer.concat([header, ...notifies]);
  datagram.writeUInt32BE(datagram.length, 24);
  return Uint8Array.from(datagram);
}

describe("Quick Crash Detection (RFC 6290)", () => {
  it.each(["a", "b"] as const)(
    "%s restarts, and its peer knows at the next request, not after DPD",
    (who) => {
      const sites = sitesUp({ ...withSecrets, a: { start: "immediately" } });
      const { sim } = sites;
      const crashed = sites[who];
      const other = who === "a" ? sites.b : sites.a;
      // The one that restarted starts nothing of its own: what brings the tunnel back is the other's question.
      const config = who === "a" ? sites.configA : sites.configB;
      sim.crash(crashed, {
        ...config,
        connections: config.connections.map((c) => ({ ...c, start: "passive" as const })),
      });
      sim.run(13_000);
      expect(codes(other)).toEqual(["PEER_RESTARTED"]);
      if (who === "b") {
        sim.run(3_000);
        expectUp(sites);
      } else expectNothingLeft(other);
    },
  );

  it("without a secret that survives, the token is another and the peer is only asked", () => {
    let life = 0;
    const sites = sitesUp({
      sim: {
        crashSecretOf: (name) =>
          Secret.fromText(name === "B" ? `${name} ${life++} of at least 32 octets` : name),
      },
    });
    const { sim, a, b } = sites;
    sim.crash(b, sites.configB);
    sim.run(15_000);
    expect(codes(a)).toEqual([]);
    sim.run(60_000);
    expect(codes(a)).toEqual(["DPD_TIMEOUT"]);
    expectUp(sites);
  });

  it("goes on after rekeys of the IKE SA from either side: each successor has a token of its own", () => {
    for (const rekeyer of ["a", "b"] as const) {
      const sites = sitesUp({
        ...withSecrets,
        [rekeyer]: { ikeLifetimeSeconds: 60, start: rekeyer === "a" ? "immediately" : "passive" },
      });
      const { sim, a, b } = sites;
      const before = tunnelStatus(sim, a).ike!.spiInitiator;
      sim.run(65_000);
      expect(tunnelStatus(sim, a).ike!.spiInitiator).not.toBe(before);
      expect(codes(a)).toEqual([]);
      sim.crash(b, sites.configB);
      sim.run(14_000);
      expect(codes(a)).toEqual(["PEER_RESTARTED"]);
    }
  });

  it("a token that is wrong, short, long, the other direction's or the fifth ends nothing", () => {
    const sites = sitesUp(withSecrets);
    const { sim, a } = sites;
    const ike = tunnelStatus(sim, a).ike!;
    const junk = (octets: number) => new Uint8Array(octets).fill(7);
    const token = (initiator: boolean) => {
      const spiInitiator = BigInt(`0x${ike.spiInitiator}`);
      const spiResponder = BigInt(`0x${ike.spiResponder}`);
      const head = { ...decodeHeader(invalidIkeSpi(ike)), firstPayload: PayloadType.code.SK };
      const asked = { ...head, spiInitiator, spiResponder, response: false, initiator };
      const answer = new UnknownSaAnswers(secrets("B")).to(0, asked)!;
      return Uint8Array.from(findNotify(decodeMessage(answer).payloads, N.QUICK_CRASH_DETECTION)!.data);
    };
    const lists = [0, 16, 31, 32, 33, 200].map((octets) => [junk(octets)]);
    lists.push([token(false)], [junk(32), junk(32), junk(32), junk(32), token(true)]);
    for (const list of lists) sim.deliver(endpoint(addressB), endpoint(addressA), invalidIkeSpi(ike, list));
    sim.run(2_000);
    expectUp(sites);
    expect(codes(a)).toEqual([]);
    // The fourth counts.
    const good = invalidIkeSpi(ike, [junk(32), junk(32), junk(32), token(true)]);
    sim.deliver(endpoint(addressB), endpoint(addressA), good);
    expect(codes(a)).toEqual(["PEER_RESTARTED"]);
  });

  it("a peer's token of fewer than 16 or more than 128 octets is not taken", () => {
    for (const [octets, taken] of [
      [15, false],
      [16, true],
      [128, true],
      [129, false],
    ] as const) {
      const { sim, b } = twoSites();
      sim.start(b);
      const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
      const data = new Uint8Array(octets).fill(3);
      const token = {
        kind: "N",
        protocolId: ProtocolId.code.IKE,
        spi: new Uint8Array(0),
        type: N.QUICK_CRASH_DETECTION,
        data,
      } as const;
      peer.init();
      peer.auth((payloads) => [...payloads, token]);
      const ike = tunnelStatus(sim, b).ike!;
      const shown = invalidIkeSpi(ike, [data]);
      // From the original initiator.
      shown[19] = 0x28;
      sim.deliver(endpoint(addressA), endpoint(addressB), shown);
      expect(tunnelStatus(sim, b).ike === undefined, `${octets} octets`).toBe(taken);
    }
  });

  it("the token is in IKE_AUTH of both roles, and never the same for two IKE SAs or two sides", () => {
    const tokens = new Set<string>();
    for (const seed of [1, 2]) {
      const { sim, b } = twoSites({ sim: { seed, crashSecretOf: secrets } });
      sim.start(b);
      const peer = new CraftedPeer(sim, b, { own: addressA, node: addressB });
      peer.init();
      const answer = peer.auth();
      const token = findNotify(answer!.payloads, N.QUICK_CRASH_DETECTION)!;
      expect(token.protocolId).toBe(ProtocolId.code.IKE);
      expect(token.spi).toHaveLength(0);
      expect(token.data).toHaveLength(32);
      tokens.add(Buffer.from(token.data).toString("hex"));
    }
    const { sim, a } = twoSites({ sim: { crashSecretOf: secrets } });
    const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    peer.answerInit();
    const token = findNotify(peer.answerAuth()!, N.QUICK_CRASH_DETECTION)!;
    tokens.add(Buffer.from(token.data).toString("hex"));
    expect(tokens.size).toBe(3);
  });
});

describe("a peer that is known by its name", () => {
  const named = (dns: () => readonly string[]) => twoSites({ a: { peers: ["b.example"] }, sim: { dns } });

  it("is resolved again about every minute while the tunnel stands, and not when it is down", () => {
    const sites = named(() => [addressB]);
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    expectUp(sites);
    expect(a.resolves).toHaveLength(1);
    sim.run(10 * 60_000);
    expect(a.resolves.length).toBeGreaterThanOrEqual(10);
    expect(a.resolves.length).toBeLessThanOrEqual(13);
    sim.command(a, "down");
    const then = a.resolves.length;
    sim.run(10 * 60_000);
    expect(a.resolves).toHaveLength(then);
  });

  it("whose name moves while it lives on where it was is asked, and stays", () => {
    let addresses = [addressB];
    const sites = named(() => addresses);
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1_000);
    const spi = a.inbound[0]!.spi;
    addresses = ["203.0.113.9"];
    sim.network.trace.length = 0;
    for (const node of [a, b]) for (const sa of node.inbound) node.lastInbound.set(sa.spi, sim.now + 300_000);
    sim.run(70_000);
    expect(sim.network.trace).toContain("A: INFORMATIONAL request 2");
    expectUp(sites);
    expect(a.inbound[0]!.spi).toBe(spi);
  });

  it("whose name moves and who is dead is found at its new address, without DPD", () => {
    let addresses = [addressB];
    const sites = twoSites({
      a: { peers: ["b.example"], dpd: { enabled: false }, remoteId: { kind: "fqdn", fqdn: "b.example" } },
      b: { localId: { kind: "fqdn", fqdn: "b.example" }, addresses: [addressB, "203.0.113.9"] },
      sim: { dns: () => addresses },
    });
    const { sim, a, b, configB } = sites;
    sim.start(a, b);
    sim.run(1_000);
    expectUp(sites);
    // It moves: nothing reaches its old address any more, and it remembers nothing.
    sim.crash(b, configB);
    sim.network.faults.push((packet) =>
      packet.destination.address.toString() === addressB ? "drop" : "pass",
    );
    addresses = ["203.0.113.9"];
    sim.run(120_000);
    expect(tunnelStatus(sim, a).state).toBe("up");
    expect(tunnelStatus(sim, a).remote).toContain("203.0.113.9");
    expectUp(sites);
  });

  it("that does not resolve for a while keeps its tunnel", () => {
    let addresses: string[] = [addressB];
    const sites = named(() => addresses);
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1_000);
    addresses = [];
    sites.sim.run(10 * 60_000);
    expectUp(sites);
    expect(sites.a.failures).toEqual([]);
  });
});
