/**
 * The traffic of IPsec SAs (RFC 2407 §4.6.2), and how they end: by a Delete, by the data plane, by a bound. Peers that say
 * something strange change nothing that they should not.
 */
import { describe, expect, it } from "vitest";
import { Prefix } from "../../src/core/address.ts";
import { formatSelector, selectorFromPrefix } from "../../src/core/traffic-selector.ts";
import { onDelete, onInvalidSpi, onLost, onRefusedByDataPlane } from "../../src/ike/v1/deletes.ts";
import { newIpsecSa } from "../../src/ike/v1/exchanges/quick-mode.ts";
import { idOf } from "../../src/ike/v1/selectors.ts";
import { IsakmpIdType, IsakmpProtocol } from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import type { IsakmpPayload } from "../../src/wire/v1/index.ts";
import { alter, codes, run, toldOf } from "./quick-alter.ts";
import { expectMatching, expectOnePair, Lab } from "./quick-lab.ts";

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
