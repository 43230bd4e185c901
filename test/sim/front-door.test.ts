import { describe, expect, it } from "vitest";
import { NotifyType } from "../../src/registry/index.ts";
import {
  decodeMessage,
  encodeMessage,
  findNotify,
  ikeSpiBytes,
  type PlainPayload,
} from "../../src/wire/index.ts";
import { impair } from "./network.ts";
import { endpoint, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectUp, ikeSuite, twoSites } from "./two-sites.ts";

describe("COOKIE (RFC 7296 §2.6)", () => {
  it("HDR, SAi1, KEi, Ni --> <-- HDR, N(COOKIE); HDR, N(COOKIE), SAi1, KEi, Ni --> <-- HDR, SAr1, KEr, Nr", () => {
    const sites = twoSites({ sim: { limits: { cookieThreshold: 0 } } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    expect(sim.network.trace).toEqual([
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      "A: IKE_AUTH request 1",
      "B: IKE_AUTH response 1",
    ]);
    expectUp(sites);
  });

  it("together with INVALID_KE_PAYLOAD the cookie is kept", () => {
    const sites = twoSites({
      a: { ike: ["aes128gcm16-prfsha256-x25519-modp2048"] },
      b: { ike: ["aes128gcm16-prfsha256-modp2048"] },
      sim: { limits: { cookieThreshold: 0 } },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    expectUp(sites);
    expect(sim.network.trace.filter((t) => t === "A: IKE_SA_INIT request 0")).toHaveLength(3);
  });

  it("a secret that changed in between costs nothing but one more round", () => {
    const sites = twoSites({ sim: { limits: { cookieThreshold: 0, cookieSecretMs: 5 } } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    // Every cookie is too old when it comes back: the initiator stops following and the attempt fails in peace.
    expect(sites.sim.network.trace.filter((t) => t === "A: IKE_SA_INIT request 0").length).toBeLessThan(10);
    expect(tunnelStatus(sites.sim, sites.a).state).not.toBe("up");
  });

  it("is stateless: no number of first messages without cookie makes the responder keep anything", () => {
    const { sim, a, b } = twoSites({ sim: { limits: { cookieThreshold: 0 } } });
    sim.network.faults.push(impair.drop("IKE_SA_INIT response"));
    sim.start(a, b);
    sim.run(60_000);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(0);
  });
});

describe("INVALID_KE_PAYLOAD (RFC 7296 §1.2)", () => {
  it("repeats the request with the group that the responder prefers, once", () => {
    const sites = twoSites({
      a: { ike: ["aes128gcm16-prfsha256-x25519-ecp256-modp2048"] },
      b: { ike: ["aes128gcm16-prfsha256-modp2048"] },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    expectUp(sites);
    expect(ikeSuite(sites, a)).toBe("aes128gcm16-prfsha256-modp2048");
    expect(sim.network.trace.filter((t) => t.startsWith("A: IKE_SA_INIT"))).toHaveLength(2);
  });
});

describe("the front door under attack", () => {
  /** First messages that look like A's, each with an SPI and a nonce of its own. */
  function flood(count: number, sourceOf: (i: number) => string) {
    const sites = twoSites({
      b: { peers: ["any"] },
      sim: { limits: { cookieThreshold: 20, halfOpenTotal: 40, halfOpenPerAddress: 8 } },
    });
    const { sim, a, b } = sites;
    let sample: Uint8Array | undefined;
    sim.network.faults.push((packet) => {
      sample ??= packet.datagram;
      return "drop";
    });
    sim.start(a, b);
    sim.run(1);
    sim.network.faults.length = 0;
    const { header, payloads } = decodeMessage(sample!);
    for (let i = 0; i < count; i++) {
      const changed = payloads.map((p) => (p.kind === "Nonce" ? { ...p, nonce: sim.random.bytes(32) } : p));
      const datagram = encodeMessage({
        header: { ...header, spiInitiator: BigInt(i + 1) },
        payloads: changed as PlainPayload[],
      });
      sim.deliver(endpoint(sourceOf(i), 500 + i), endpoint(addressB), datagram);
    }
    return { ...sites, sample: sample! };
  }

  it("from many addresses: cookies stop it at the threshold", () => {
    const { sim, b } = flood(500, (i) => `10.${i >> 8}.${i & 255}.1`);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(20);
  });

  it("from one address: stops at what one address may have", () => {
    const { sim, b } = flood(500, () => "203.0.113.5");
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(8);
    expect(b.gateway.status(sim.now).ike.drops["half_open_limit_address"]).toBe(492);
    expect(b.failures.filter((f) => f.code === "HALF_OPEN_LIMIT").length).toBeLessThanOrEqual(6);
  });

  it("never grows past the total, even for an attacker who owns the addresses and returns every cookie", () => {
    const sites = flood(0, () => "");
    const { sim, b } = sites;
    const { header, payloads } = decodeMessage(sites.sample);
    let cookie: PlainPayload | undefined;
    sim.network.faults.push((packet) => {
      cookie = findNotify(decodeMessage(packet.datagram).payloads, NotifyType.code.COOKIE);
      return "drop";
    });
    for (let i = 0; i < 300; i++) {
      const source = endpoint(`10.${i >> 8}.${i & 255}.1`);
      const nonce = sim.random.bytes(32);
      const plain = payloads.map((p) => (p.kind === "Nonce" ? { ...p, nonce } : p)) as PlainPayload[];
      const first = { ...header, spiInitiator: BigInt(i + 1) };
      cookie = undefined;
      sim.deliver(source, endpoint(addressB), encodeMessage({ header: first, payloads: plain }));
      if (!cookie) continue;
      sim.deliver(source, endpoint(addressB), encodeMessage({ header: first, payloads: [cookie, ...plain] }));
    }
    expect(b.gateway.status(sim.now).ike).toMatchObject({ halfOpen: 40, drops: { half_open_limit: 260 } });
  });

  it("a cookie of another address, nonce or SPI is worth nothing", () => {
    const sites = flood(20, (i) => `10.0.${i}.1`);
    const { sim, b } = sites;
    const { header, payloads } = decodeMessage(sites.sample);
    const answers: (PlainPayload | undefined)[] = [];
    sim.network.faults.push((packet) => {
      answers.push(findNotify(decodeMessage(packet.datagram).payloads, NotifyType.code.COOKIE));
      return "drop";
    });
    const send = (address: string, spiInitiator: bigint, over: readonly PlainPayload[]) =>
      sim.deliver(
        endpoint(address),
        endpoint(addressB),
        encodeMessage({ header: { ...header, spiInitiator }, payloads: over }),
      );
    const plain = payloads as PlainPayload[];
    send("203.0.113.1", 1000n, plain);
    const cookie = answers[0]!;
    const otherNonce = plain.map((p) => (p.kind === "Nonce" ? { ...p, nonce: new Uint8Array(32) } : p));
    send("203.0.113.2", 1000n, [cookie, ...plain]);
    send("203.0.113.1", 1001n, [cookie, ...plain]);
    send("203.0.113.1", 1000n, [cookie, ...otherNonce]);
    expect(answers.slice(1).every((a) => a !== undefined)).toBe(true);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(20);
    send("203.0.113.1", 1000n, [cookie, ...plain]);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(21);
  });

  it("a genuine peer still gets in, with a cookie, and the flood's states expire", () => {
    const sites = flood(500, (i) => `10.${i >> 8}.${i & 255}.1`);
    const { sim, a, b } = sites;
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 60_000)).toBe(true);
    sim.run(40_000);
    expectUp(sites);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(0);
  });
});

describe("datagrams that are no first message", () => {
  it("are dropped and counted by reason, without an answer", () => {
    const { sim, a, b } = twoSites();
    sim.start(b);
    const send = (bytes: Uint8Array) => sim.deliver(endpoint(addressA), endpoint(addressB), bytes);
    for (let length = 0; length < 28; length++) send(new Uint8Array(length).fill(0x22));
    const header = (
      over: Partial<Record<"version" | "type" | "flags" | "id" | "length", number>>,
      spiR = 0n,
    ) => {
      const bytes = new Uint8Array(28);
      bytes.set(ikeSpiBytes(7n));
      bytes.set(ikeSpiBytes(spiR), 8);
      bytes[17] = over.version ?? 0x20;
      bytes[18] = over.type ?? 34;
      bytes[19] = over.flags ?? 0x08;
      bytes[23] = over.id ?? 0;
      bytes[27] = over.length ?? 28;
      return bytes;
    };
    send(header({ length: 29 }));
    send(header({ length: 27 }));
    for (let major = 0; major < 2; major++) send(header({ version: major << 4 }));
    send(header({ type: 35 }));
    send(header({ type: 37 }));
    send(header({ type: 240 }));
    send(header({ id: 1 }));
    send(header({ flags: 0 }));
    send(header({}));
    send(header({ flags: 0x20 }));
    send(header({ type: 35 }, 9n));
    expect(sim.network.trace).toEqual([]);
    expect(b.gateway.status(sim.now).ike.drops).toMatchObject({
      malformed: 30,
      wrong_version: 2,
      unexpected: 5,
      payloads: 1,
      unknown_spi: 2,
    });
    expect(a.installed).toEqual([]);
  });

  it("a newer IKE is told INVALID_MAJOR_VERSION (§2.5)", () => {
    const { sim, b } = twoSites();
    sim.start(b);
    let answer: Uint8Array | undefined;
    sim.network.faults.push((packet) => {
      answer = packet.datagram;
      return "drop";
    });
    const bytes = new Uint8Array(28);
    bytes.set(ikeSpiBytes(7n));
    bytes.set([0, 0x30, 34, 0x08], 16);
    bytes[27] = 28;
    sim.deliver(endpoint(addressA), endpoint(addressB), bytes);
    expect(findNotify(decodeMessage(answer!).payloads, NotifyType.code.INVALID_MAJOR_VERSION)).toBeDefined();
  });
});
