/**
 * What quick mode agrees on, and what it refuses (RFC 2409 §5.5, RFC 2407 §4.5): algorithms, perfect forward secrecy,
 * lifetimes, encapsulation. Peers that say something strange change nothing that they should not.
 */
import { describe, expect, it } from "vitest";
import { exhaust } from "../../src/ike/v1/ipsec-sa.ts";
import { notifyEsp } from "../../src/ike/v1/quick-negotiation.ts";
import {
  EspTransform,
  formatSuite,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpNotifyType,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import { findIsakmpPayload, numberAttribute } from "../../src/wire/v1/index.ts";
import { alter, attributes, codes, open, run, toldOf } from "./quick-alter.ts";
import { expectOnePair, Lab } from "./quick-lab.ts";

const I = IpsecAttribute.code;

describe("algorithms", () => {
  it.each([
    "des-md5",
    "3des-sha1",
    "aes128-sha256",
    "aes192-sha384",
    "aes256-sha512",
    "aes128ctr-sha1",
    "aes256ctr-sha256",
    "aes128gcm16",
    "aes192gcm16",
    "aes256gcm16",
    "null-sha256",
  ])("agrees on %s, with the same keys on both sides, which are long enough", (text) => {
    const lab = run({ both: { esp: [text] } });
    expectOnePair(lab);
    expect(formatSuite(lab.a.children[0]!.suite)).toBe(text);
    const [sa] = lab.a.outbound;
    expect(sa!.encrKey.length * 8).toBe(sa!.encrKeyBits + (/gcm|ctr/.test(text) ? 32 : 0));
  });

  it("says esn only when asked to", () => {
    expect(run().a.outbound[0]).toMatchObject({ esn: false, hardPackets: 2 ** 32 - 1 });
    expect(run({ both: { esp: ["aes128-sha1-esn"] } }).a.outbound[0]).toMatchObject({
      esn: true,
      hardPackets: 0,
    });
  });

  it("refuses with NO-PROPOSAL-CHOSEN, and both operators are told what differs", () => {
    const lab = run({ a: { esp: ["aes128-sha1"] }, b: { esp: ["aes256-sha256"] } });
    expect([lab.a.installed, lab.b.installed, toldOf(lab, lab.b)]).toEqual([[], [], ["NO_PROPOSAL_CHOSEN"]]);
    expect(lab.b.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_ESP",
      difference: "encryption: ours aes256, theirs aes128",
      offered: { esp: ["aes128-sha1"], selectors: ["10.2.0.0/16 === 10.1.0.0/16"] },
    });
    expect(lab.a.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_ESP",
      theirs: ["NO_PROPOSAL_CHOSEN"],
    });
    // Nothing is left of the attempt.
    lab.run(5_000);
    expect([lab.a.spis.size, lab.b.spis.size, lab.a.events]).toEqual([0, 0, ["ended failed"]]);
  });

  it("says so when nothing that is configured exists in IKEv1", () => {
    const lab = run({ a: { esp: ["chacha20poly1305"] } });
    lab.run(5_000);
    expect([codes(lab.a), lab.a.events]).toEqual([["NO_PROPOSAL_CHOSEN_ESP"], ["ended failed"]]);
    expect(lab.a.failures[0]!.difference).toBe("none of our proposals can be said in IKEv1");
    // Nothing was asked for: all that the peer hears of is the end.
    expect(toldOf(lab, lab.a)).toEqual(["D", "D"]);
    expect(lab.sent).toHaveLength(2);
  });

  it("does not agree to AES-GMAC, whose key would have no length (CVE-2024-3652)", () => {
    for (const [both, changes, id] of [
      [{ esp: ["aes128gcm16"] }, {}, EspTransform.code.ESP_NULL_AUTH_AES_GMAC],
      [
        { esp: ["null-sha1"] },
        { [I.AUTHENTICATION_ALGORITHM]: IpsecAuthentication.code.AES_128_GMAC },
        undefined,
      ],
    ] as const) {
      const lab = new Lab({ both });
      lab.a.start();
      alter(lab, attributes(changes, id));
      lab.settle();
      expect([lab.b.installed, codes(lab.b)]).toEqual([[], ["NO_PROPOSAL_CHOSEN_ESP"]]);
    }
  });

  it("does not agree to transport mode", () => {
    const lab = new Lab();
    lab.a.start();
    alter(lab, attributes({ [I.ENCAPSULATION_MODE]: 2 }));
    lab.settle();
    expect(lab.b.failures[0]!.difference).toBe("encapsulation: ours TUNNEL, theirs TRANSPORT");
  });
});

describe("perfect forward secrecy", () => {
  it.each(["modp768", "modp1024", "modp1536", "modp2048", "ecp256", "ecp384", "ecp521", "modp2048s256"])(
    "has a key exchange with %s, of which the keys depend",
    (group) => {
      const lab = run({ both: { esp: [`aes128-sha1-${group}`] } });
      expectOnePair(lab);
      expect(formatSuite(lab.b.children[0]!.suite)).toBe(`aes128-sha1-${group}`);
      const [first] = lab.sent;
      expect(open(first!).payloads.some((p) => p.kind === "KE")).toBe(true);
    },
  );

  it("asks with the next group when the peer does not take the first, and remembers which it took", () => {
    const lab = run({ a: { esp: ["aes128-sha1-ecp256-modp1024"] }, b: { esp: ["aes128-sha1-modp1024"] } });
    expectOnePair(lab);
    expect(formatSuite(lab.a.children[0]!.suite)).toBe("aes128-sha1-modp1024");
    expect(codes(lab.a)).toEqual([]);
    lab.b.failures.length = 0;
    lab.a.rekey();
    lab.run(60_000);
    expectOnePair(lab);
    expect(codes(lab.b)).toEqual([]);
  });

  it.each([
    ["aes128-sha1-modp1024", "aes128-sha1", "DH group: ours none, theirs modp1024"],
    ["aes128-sha1", "aes128-sha1-modp1024", "DH group: ours modp1024, theirs none"],
  ])("%s and %s have nothing in common", (a, b, difference) => {
    const lab = run({ a: { esp: [a] }, b: { esp: [b] } });
    expect([lab.b.failures[0]!.difference, codes(lab.a)]).toEqual([difference, ["NO_PROPOSAL_CHOSEN_ESP"]]);
  });

  it("refuses a public value that is none", () => {
    const lab = new Lab({ both: { esp: ["aes128-sha1-modp1024"] } });
    lab.a.start();
    alter(lab, (payloads) =>
      payloads.map((p) => (p.kind === "KE" ? { ...p, data: new Uint8Array(128) } : p)),
    );
    lab.settle();
    expect([lab.b.installed, toldOf(lab, lab.b), codes(lab.a)]).toEqual([
      [],
      ["INVALID_KEY_INFORMATION"],
      ["INVALID_KE"],
    ]);
  });

  it("refuses an answer whose public value is none, and the responder gives up what it made", () => {
    const lab = new Lab({ both: { esp: ["aes128-sha1-modp1024"] } });
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    alter(
      lab,
      (payloads) => payloads.map((p) => (p.kind === "KE" ? { ...p, data: new Uint8Array(128) } : p)),
      true,
    );
    lab.settle();
    lab.run(100_000);
    expect([lab.a.installed, lab.b.installed, codes(lab.a)[0]]).toEqual([[], [], "PEER_PROTOCOL_ERROR"]);
  });
});

describe("lifetimes (RFC 2407 §4.5, §4.6.3.1)", () => {
  const lives = (lab: Lab) =>
    [lab.a, lab.b].map(({ children }) => children[0]!.expiresAt - children[0]!.installedAt);

  it.each([
    [3_600_000, 600_000],
    [600_000, 3_600_000],
  ])("of %i and %i ms the shorter one counts on both sides, said in RESPONDER-LIFETIME", (ofA, ofB) => {
    const lab = run({ a: { peer: { childLifetimeMs: ofA } }, b: { peer: { childLifetimeMs: ofB } } });
    expect(lives(lab)).toEqual([600_000, 600_000]);
    const [first, second] = lab.a.children.concat(lab.b.children);
    // Who made it replaces it first.
    expect(first!.rekeyAt!).toBeLessThan(second!.rekeyAt!);
  });

  it("counts kilobytes the same way, and packets for itself", () => {
    const lab = run({
      a: { peer: { childLifetimeBytes: 4096 * 1024, childLifetimePackets: 1000 } },
      b: { peer: { childLifetimeBytes: 2560 * 1024 } },
    });
    expect(lab.a.outbound[0]).toMatchObject({ hardBytes: 2560 * 1024, hardPackets: 1000 });
    expect(lab.b.outbound[0]).toMatchObject({ hardBytes: 2560 * 1024, hardPackets: 2 ** 32 - 1 });
    expect(lab.a.outbound[0]!.softBytes).toBeGreaterThan(0.79 * 2560 * 1024);
    expect(lab.a.outbound[0]!.softBytes).toBeLessThan(2560 * 1024);
    expect(run({ b: { peer: { childLifetimeBytes: 2560 * 1024 } } }).a.outbound[0]!.hardBytes).toBe(
      2560 * 1024,
    );
  });

  it("replaces a pair before it expires, again and again, and loses nothing", () => {
    const lab = run({ both: { peer: { childLifetimeMs: 60_000 } } });
    for (let i = 0; i < 1200; i++) {
      lab.run(500);
      expect(lab.traffic()).toBe(true);
    }
    expect(lab.a.events.filter((e) => e === "childUp").length).toBeGreaterThan(10);
    expect([codes(lab.a), codes(lab.b)]).toEqual([[], []]);
  });

  it("ends a pair that could not be replaced, and says so", () => {
    const lab = run({ both: { peer: { childLifetimeMs: 60_000, espProposals: [] } }, seed: 3 });
    expect(lab.a.installed).toEqual([]);
    const other = run({ both: { peer: { childLifetimeMs: 60_000 } } });
    other.b.sa.peer = { ...other.b.sa.peer!, espProposals: [] };
    other.a.sa.peer = { ...other.a.sa.peer!, espProposals: [] };
    other.run(61_000);
    expect([other.a.installed, other.b.installed]).toEqual([[], []]);
    expect(codes(other.a)).toContain("LIFETIME_EXPIRED");
  });

  it("stops at the hard limit of what it may carry, or goes over to what takes its place", () => {
    const lab = run();
    lab.a.rekey();
    lab.settle();
    const [old, made] = lab.a.children;
    expect(lab.a.sendsOn).toBe(old!.spiOut);
    exhaust(lab.a.sa, lab.now, old!);
    expect(lab.a.sendsOn).toBe(made!.spiOut);
    exhaust(lab.a.sa, lab.now, made!);
    expect(codes(lab.a)).toEqual(["LIFETIME_EXPIRED"]);
  });
});

describe("encapsulation (RFC 3947 §5.1)", () => {
  const nat = { supported: true, local: true, remote: false, forced: false };
  it.each([
    ["rfc", 3],
    ["draft", 61443],
  ] as const)("with a NAT in between, in the numbers of the %s, is UDP", (natDialect, mode) => {
    const lab = run({ both: { nat, natDialect } });
    expectOnePair(lab);
    const { payloads } = open(lab.sent[0]!);
    const [transform] = findIsakmpPayload(payloads, "SA")!.proposals[0]!.transforms;
    expect(transform!.attributes).toContainEqual(numberAttribute(I.ENCAPSULATION_MODE, mode));
    expect(lab.a.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 4500 });
  });

  it("is what the path is, where the peer leaves it to us", () => {
    for (const [options, kind] of [
      [{ nat, natDialect: "rfc" }, "udp"],
      [{}, "esp"],
    ] as const) {
      const lab = new Lab({ both: options });
      lab.a.start();
      alter(lab, attributes({ [I.ENCAPSULATION_MODE]: undefined }));
      lab.settle();
      expect(lab.b.outbound[0]!.encapsulation.kind).toBe(kind);
    }
  });

  it("tolerates NAT-OA and vendor IDs among the payloads", () => {
    const lab = new Lab({ both: { nat, natDialect: "rfc" } });
    const oa = { kind: "NAT-OA", draft: false, address: Uint8Array.of(10, 0, 0, 1) } as const;
    const vid = { kind: "VID", data: new Uint8Array(16) } as const;
    lab.a.start();
    alter(lab, (payloads) => [...payloads, oa, oa, vid]);
    lab.deliver(lab.wire.shift()!);
    expect(lab.b.installed).toHaveLength(2);
  });
});

describe("the commit bit (RFC 2408 §3.1)", () => {
  it("of either side changes nothing: the SAs are there before anybody could be told to wait", () => {
    const lab = new Lab();
    lab.a.start();
    for (let next = lab.wire.shift(); next; next = lab.wire.shift()) {
      next.bytes[19]! |= 0x02;
      lab.deliver(next);
    }
    expectOnePair(lab);
    lab.a.rekey();
    for (let next = lab.wire.shift(); next; next = lab.wire.shift()) {
      next.bytes[19]! |= 0x02;
      lab.deliver(next);
    }
    lab.run(60_000);
    expectOnePair(lab);
  });

  it("brings CONNECTED (RFC 2408 §4.6.1), which is read and means no more than it says", () => {
    const lab = run();
    const connected = notifyEsp(IsakmpNotifyType.code.CONNECTED, espSpiBytes(lab.a.inbound[0]!.spi));
    lab.b.sa.inform(lab.now, [connected]);
    lab.settle();
    expectOnePair(lab);
    expect([...codes(lab.a), ...codes(lab.b)]).toEqual([]);
  });
});

describe("silence in place of an answer", () => {
  it("right after phase 1 is a refusal, and says what may be different", () => {
    const lab = new Lab();
    lab.a.start();
    lab.run(40_000, false);
    expect(codes(lab.a)).toEqual(["PEER_REFUSED_CHILD"]);
    expect(lab.a.failures[0]).toMatchObject({
      difference: "the peer accepted us, and does not answer quick mode",
      offered: { esp: ["aes128-sha1"], selectors: ["10.1.0.0/16 === 10.2.0.0/16"] },
    });
    expect(lab.a.events).toEqual(["ended failed"]);
  });

  it("later on is a dead peer, unless its packets come", () => {
    for (const traffic of [false, true]) {
      const lab = run();
      lab.run(120_000);
      lab.a.rekey();
      for (let i = 0; i < 70; i++) {
        lab.run(500, false);
        if (traffic) lab.traffic();
      }
      expect(codes(lab.a)).toEqual([traffic ? "REKEY_REFUSED" : "DPD_TIMEOUT"]);
    }
  });
});

describe("a refusal of our answer (RFC 2409 §5.7)", () => {
  it("ends what the peer does not want, by our SPI or by being about nothing else", () => {
    for (const spi of [espSpiBytes(0xb000), new Uint8Array(0)]) {
      const lab = new Lab();
      lab.a.start();
      lab.deliver(lab.wire.shift()!);
      expect(lab.b.installed).toHaveLength(2);
      lab.wire.length = 0;
      lab.a.sa.inform(lab.now, [notifyEsp(IsakmpNotifyType.code.NO_PROPOSAL_CHOSEN, spi)]);
      lab.settle();
      expect([lab.b.installed, codes(lab.b)]).toEqual([[], ["PEER_REFUSED_CHILD"]]);
    }
  });
});
