/**
 * What quick mode agrees on, and what it refuses (RFC 2409 §5.5, RFC 2407 §4.5): algorithms, perfect forward secrecy,
 * selectors, lifetimes, encapsulation. Peers that say something strange change nothing that they should not.
 */
import { describe, expect, it } from "vitest";
import { Prefix } from "../../src/core/address.ts";
import { formatSelector, selectorFromPrefix } from "../../src/core/traffic-selector.ts";
import { onDelete, onInvalidSpi, onLost, onRefusedByDataPlane } from "../../src/ike/v1/deletes.ts";
import { newIpsecSa } from "../../src/ike/v1/exchanges/quick-mode.ts";
import { exhaust } from "../../src/ike/v1/ipsec-sa.ts";
import { openPhase2, phase2Iv, sealPhase2 } from "../../src/ike/v1/key-material.ts";
import { idOf } from "../../src/ike/v1/selectors.ts";
import {
  EspTransform,
  formatSuite,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpNotifyType,
  IsakmpProtocol,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import {
  decodeIsakmpHeader,
  findIsakmpPayload,
  type IsakmpAttribute,
  type IsakmpPayload,
  numberAttribute,
} from "../../src/wire/v1/index.ts";
import {
  type Datagram,
  expectMatching,
  expectOnePair,
  Lab,
  type LabOptions,
  type Side,
  sharedKeys,
} from "./quick-lab.ts";

const I = IpsecAttribute.code;
const keys = sharedKeys();

function run(options: LabOptions = {}): Lab {
  const lab = new Lab(options);
  lab.a.start();
  lab.settle();
  return lab;
}

/** What `side` reports of IPsec SAs: that the ISAKMP SA goes with the last one is another test's. */
const codes = (side: Side) =>
  side.failures.filter((f) => !f.difference.includes("ISAKMP SA")).map((f) => f.code);

/** The payloads of a first message, and what the next one is sealed with. */
function open({ bytes }: Datagram) {
  const header = decodeIsakmpHeader(bytes);
  const opened = openPhase2(keys, header, bytes, { number: 1 }, phase2Iv(keys, header.messageId));
  if (!opened) throw new Error("not authentic");
  return { header, ...opened };
}

/** The next datagram of `from` says something else than it would. */
function alter(
  lab: Lab,
  change: (payloads: readonly IsakmpPayload[]) => readonly IsakmpPayload[],
  second = false,
): void {
  const at = lab.wire[0]!;
  if (!second) {
    const { header, payloads } = open(at);
    const { datagram } = sealPhase2(
      keys,
      header,
      change(payloads),
      { number: 1 },
      phase2Iv(keys, header.messageId),
    );
    lab.wire[0] = { ...at, bytes: datagram };
    return;
  }
  const first = open(lab.sent.at(-2)!);
  const Ni = Uint8Array.from(findIsakmpPayload(first.payloads, "NONCE")!.nonce);
  const header = decodeIsakmpHeader(at.bytes);
  const opened = openPhase2(keys, header, at.bytes, { number: 2, Ni }, first.nextIv)!;
  const { datagram } = sealPhase2(keys, header, change(opened.payloads), { number: 2, Ni }, first.nextIv);
  lab.wire[0] = { ...at, bytes: datagram };
}

/** What `side` has sent in informational messages. */
const told = (lab: Lab, side: Side): IsakmpPayload[] =>
  lab.sent
    .filter(
      ({ from, bytes }) =>
        from === side && decodeIsakmpHeader(bytes).exchangeType === IsakmpExchangeType.code.INFORMATIONAL,
    )
    .flatMap((datagram) => open(datagram).payloads);
const toldOf = (lab: Lab, side: Side) =>
  told(lab, side).map((p) => (p.kind === "N" ? IsakmpNotifyType.nameOf(p.type) : p.kind));

/** With some attributes of every transform replaced. */
const attributes =
  (changes: Readonly<Record<number, number | undefined>>, id?: number) =>
  (payloads: readonly IsakmpPayload[]): readonly IsakmpPayload[] =>
    payloads.map((p) => {
      if (p.kind !== "SA") return p;
      const transforms = p.proposals[0]!.transforms.map((t) => ({
        ...t,
        id: id ?? t.id,
        attributes: [
          ...t.attributes.filter(({ type }) => !(type in changes)),
          ...Object.entries(changes).flatMap(([type, value]): IsakmpAttribute[] =>
            value === undefined ? [] : [numberAttribute(Number(type), value)],
          ),
        ],
      }));
      return { ...p, proposals: [{ ...p.proposals[0]!, transforms }] };
    });

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

describe("selectors", () => {
  it("makes one pair of SAs for each pair of subnets", () => {
    const lab = run({
      a: { local: ["10.1.0.0/16", "10.3.0.0/16"], remote: ["10.2.0.0/16", "10.4.0.0/16"] },
      b: { local: ["10.2.0.0/16", "10.4.0.0/16"], remote: ["10.1.0.0/16", "10.3.0.0/16"] },
    });
    lab.run(1_000);
    const pairs = lab.a.children.map((c) =>
      [...c.localSelectors, ...c.remoteSelectors].map(formatSelector).join(" "),
    );
    expect(pairs.sort()).toEqual([
      "10.1.0.0/16 10.2.0.0/16",
      "10.1.0.0/16 10.4.0.0/16",
      "10.3.0.0/16 10.2.0.0/16",
      "10.3.0.0/16 10.4.0.0/16",
    ]);
    expect(lab.b.installed).toHaveLength(8);
    expectMatching(lab.a, lab.b);
    expect(lab.a.sa.pairStates()!.map((s) => s.name)).toEqual(["up", "up", "up", "up"]);
  });

  it("keeps the other pairs when the peer does not take one of them, and asks for that one again", () => {
    const lab = run({
      a: { remote: ["10.2.0.0/16", "10.9.0.0/16"], keepsUp: true },
      b: { local: ["10.2.0.0/16"] },
    });
    lab.run(5_000);
    expect(lab.a.children).toHaveLength(1);
    expect(lab.a.sa.pairStates()!.map((s) => s.name)).toEqual(["up", "refused"]);
    expect(lab.b.failures[0]).toMatchObject({
      code: "TS_UNACCEPTABLE",
      ours: ["10.2.0.0/16 === 10.1.0.0/16"],
      theirs: ["10.9.0.0/16 === 10.1.0.0/16"],
      difference: "the peer asks for a local subnet that is not all in ours, and IKEv1 has no narrowing",
    });
    expect(lab.a.failures[0]).toMatchObject({ code: "TS_UNACCEPTABLE", theirs: ["INVALID_ID_INFORMATION"] });
    const asked = lab.sent.length;
    lab.run(120_000);
    expect(lab.sent.length).toBeGreaterThan(asked);
    // Ever more rarely: 30 s, a minute, two.
    expect(codes(lab.a).length).toBeLessThan(5);
  });

  it("takes what lies inside of ours exactly as it is asked for", () => {
    const lab = run({ a: { local: ["10.1.7.0/24"], remote: ["10.2.0.0/16"] } });
    expectOnePair(lab);
    expect(lab.b.children[0]!.remoteSelectors.map(formatSelector)).toEqual(["10.1.7.0/24"]);
  });

  it("does not take what is wider than ours, or the other way around", () => {
    for (const a of [
      { local: ["10.0.0.0/8"] },
      { remote: ["0.0.0.0/0"] },
      { local: ["10.2.0.0/16"], remote: ["10.1.0.0/16"] },
    ]) {
      const lab = run({ a });
      expect([lab.b.installed, codes(lab.b), toldOf(lab, lab.b)]).toEqual([
        [],
        ["TS_UNACCEPTABLE"],
        ["INVALID_ID_INFORMATION"],
      ]);
    }
  });

  it("takes an answer that is narrower, and installs that", () => {
    const lab = new Lab();
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    const narrow = idOf(selectorFromPrefix(Prefix.parse("10.2.5.0/24")));
    let id = 0;
    alter(lab, (payloads) => payloads.map((p) => (p.kind === "ID" && id++ === 1 ? narrow : p)), true);
    lab.settle();
    expect(lab.a.children[0]!.remoteSelectors.map(formatSelector)).toEqual(["10.2.5.0/24"]);
    expect(lab.a.sa.pairStates()!.map((s) => s.name)).toEqual(["up"]);
  });

  it.each([
    [
      "wider",
      (p: IsakmpPayload) => (p.kind === "ID" ? [idOf(selectorFromPrefix(Prefix.parse("0.0.0.0/0")))] : [p]),
    ],
    ["missing", (p: IsakmpPayload) => (p.kind === "ID" ? [] : [p])],
    [
      "a name",
      (p: IsakmpPayload) =>
        p.kind === "ID"
          ? [{ ...p, idType: IsakmpIdType.code.ID_FQDN, data: Buffer.from("vpn.example.com") }]
          : [p],
    ],
  ] as const)("does not take an answer whose selectors are %s (CVE-2023-38711)", (_what, change) => {
    const lab = new Lab();
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    alter(lab, (payloads) => payloads.flatMap((p): IsakmpPayload[] => change(p)), true);
    lab.settle();
    lab.run(100_000);
    expect([lab.a.installed, lab.b.installed, codes(lab.a)[0]]).toEqual([[], [], "TS_UNACCEPTABLE"]);
  });

  it("does not take a request whose selectors are a name (CVE-2023-38711), or half of two", () => {
    const name = (p: IsakmpPayload) =>
      p.kind === "ID"
        ? [{ ...p, idType: IsakmpIdType.code.ID_FQDN, data: Buffer.from("vpn.example.com") }]
        : [p];
    let ids = 0;
    const half = (p: IsakmpPayload) => (p.kind === "ID" && ids++ === 1 ? [] : [p]);
    for (const change of [name, half]) {
      const lab = new Lab();
      lab.a.start();
      alter(lab, (payloads) => payloads.flatMap((p): IsakmpPayload[] => change(p)));
      lab.settle();
      expect([lab.b.installed, codes(lab.b), toldOf(lab, lab.b)]).toEqual([
        [],
        ["TS_UNACCEPTABLE"],
        ["INVALID_ID_INFORMATION"],
      ]);
    }
  });

  it("are the addresses of the two sides where the peer says none, as far as those are permitted", () => {
    for (const [both, count] of [
      [{ local: ["0.0.0.0/0"], remote: ["0.0.0.0/0"] }, 2],
      [{}, 0],
    ] as const) {
      const lab = new Lab({ both });
      lab.a.start();
      alter(lab, (payloads) => payloads.filter((p) => p.kind !== "ID"));
      lab.deliver(lab.wire.shift()!);
      expect(lab.b.installed).toHaveLength(count);
      if (count > 0) expect(lab.b.children[0]!.remoteSelectors.map(formatSelector)).toEqual(["192.0.2.1/32"]);
    }
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

describe("Deletes (RFC 2408 §5.15)", () => {
  const deleteOf = (...spis: number[]) =>
    ({
      kind: "D",
      doi: 1,
      protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
      spis: spis.map(espSpiBytes),
    }) as const;

  it("ends the pair that the peer no longer receives on, and what was kept up is made again", () => {
    const lab = run({ both: { keepsUp: true } });
    const spi = lab.b.outbound[0]!.spi;
    onDelete(lab.b.sa, lab.now, deleteOf(spi));
    expect([lab.b.installed, codes(lab.b)]).toEqual([[], ["PEER_DELETED"]]);
  });

  it("changes nothing the second time, for SPIs of nobody, and for other protocols (CVE-2023-38712)", () => {
    const lab = run();
    const spi = lab.b.outbound[0]!.spi;
    for (const payload of [
      deleteOf(0, 1, 0xffffffff),
      { ...deleteOf(spi), protocol: IsakmpProtocol.code.PROTO_IPSEC_AH },
      { ...deleteOf(spi), spis: [Uint8Array.of(1), new Uint8Array(0), new Uint8Array(16)] },
      deleteOf(lab.b.inbound[0]!.spi),
    ])
      onDelete(lab.b.sa, lab.now, payload);
    expect(lab.b.installed).toHaveLength(2);
    for (let i = 0; i < 3; i++) onDelete(lab.b.sa, lab.now, deleteOf(spi, spi));
    onInvalidSpi(lab.b.sa, lab.now, espSpiBytes(spi));
    expect([lab.b.installed, lab.b.failures.length]).toEqual([[], 1]);
  });

  it("that comes before the answer to our quick mode leaves nothing behind", () => {
    const lab = new Lab();
    lab.a.start();
    lab.deliver(lab.wire.shift()!);
    const spi = lab.b.inbound[0]!.spi;
    onDelete(lab.a.sa, lab.now, deleteOf(spi));
    lab.settle();
    expect([lab.a.installed, lab.a.spis.size, codes(lab.a)]).toEqual([[], 0, ["PEER_DELETED"]]);
    for (let i = 0; i < 100; i++) onDelete(lab.a.sa, lab.now, deleteOf(70_000 + i));
    expect(lab.a.sa.deletedEarly.size).toBeLessThanOrEqual(16);
  });

  it("of the pair in use makes the older one stand again, until it is replaced", () => {
    const lab = run();
    lab.a.rekey();
    lab.settle();
    lab.traffic();
    const [old, made] = lab.a.children;
    onDelete(lab.a.sa, lab.now, deleteOf(made!.spiOut));
    expect(lab.a.sendsOn).toBe(old!.spiOut);
    lab.run(60_000);
    expectOnePair(lab);
    expect(lab.a.children.includes(old!)).toBe(false);
  });
});

describe("the data plane", () => {
  it("does not take half of a pair: it goes, and the peer is told", () => {
    const lab = run();
    const [child] = lab.a.children;
    lab.a.installed.splice(
      lab.a.installed.findIndex((sa) => sa.direction === "outbound"),
      1,
    );
    onRefusedByDataPlane(lab.a.sa, lab.now, child!, "outbound", "no such algorithm");
    lab.settle();
    expect([lab.a.installed, lab.b.installed, codes(lab.a), codes(lab.b)]).toEqual([
      [],
      [],
      ["DATAPLANE_ERROR"],
      ["PEER_DELETED"],
    ]);
  });

  it("lost half of a pair: another one takes its place", () => {
    const lab = run();
    const [child] = lab.a.children;
    lab.a.installed.splice(
      lab.a.installed.findIndex((sa) => sa.direction === "outbound"),
      1,
    );
    onLost(lab.a.sa, lab.now, child!, "outbound");
    lab.run(60_000);
    expectOnePair(lab);
    expect(codes(lab.a)).toEqual([]);
  });
});

describe("what an authenticated peer can make us keep is bounded", () => {
  it("in pairs of IPsec SAs", () => {
    const lab = run({ limits: { children: 4 }, both: { local: ["0.0.0.0/0"], remote: ["0.0.0.0/0"] } });
    for (let i = 0; i < 10; i++) {
      const local = selectorFromPrefix(Prefix.parse(`10.0.${i}.0/24`));
      const remote = selectorFromPrefix(Prefix.parse("10.2.0.0/16"));
      lab.a.sa.initiate(lab.now, newIpsecSa({ pair: 0, local, remote }));
      lab.settle();
    }
    expect(lab.b.children).toHaveLength(4);
    expect(codes(lab.b)).toContain("CHILD_SA_LIMIT");
    // What there is can be replaced nevertheless.
    lab.a.rekey(lab.a.children[0]);
    lab.settle();
    expect(lab.b.children).toHaveLength(5);
  });
});
