import { describe, expect, it } from "vitest";
import {
  DhGroup,
  ExchangeType,
  NotifyType,
  PayloadType,
  ProtocolId,
  TransformType,
} from "../../src/registry/index.ts";
import {
  decodeMessage,
  espSpiBytes,
  findPayload,
  type NotifyPayload,
  type PlainPayload,
} from "../../src/wire/index.ts";
import { type Change, CraftedPeer, notifyOf, renumbered, without } from "./crafted-peer.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const X = ExchangeType.code;
const T = TransformType.code;

/** B answers; A is the crafted peer. */
function atTheDoor(options: Parameters<typeof twoSites>[0] = {}, group?: number) {
  const sites = twoSites(options);
  sites.sim.start(sites.b);
  const peer = new CraftedPeer(sites.sim, sites.b, {
    own: addressA,
    node: addressB,
    ...(group && { group }),
  });
  const drops = () => sites.b.gateway.status(sites.sim.now).ike.drops;
  const halfOpen = () => sites.b.gateway.status(sites.sim.now).ike.halfOpen;
  return { ...sites, peer, drops, halfOpen };
}

function established(options: Parameters<typeof twoSites>[0] = {}) {
  const door = atTheDoor(options);
  door.peer.init();
  const answer = door.peer.auth();
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  expect(door.b.installed).toHaveLength(2);
  const spiB = door.b.inbound[0]!.spi;
  return { ...door, answer, spiB };
}

const notification = (type: number, over: Partial<NotifyPayload> = {}): NotifyPayload => ({
  kind: "N",
  protocolId: 0,
  spi: new Uint8Array(0),
  type,
  data: new Uint8Array(0),
  ...over,
});
const unknown = (type: number, critical: boolean): PlainPayload => ({
  kind: "unknown",
  type,
  critical,
  body: Uint8Array.of(1, 2, 3, 4),
});

describe("the crafted peer is a good peer when it wants to be", () => {
  it("brings a tunnel up with the responder", () => {
    established();
  });

  it("brings a tunnel up with the initiator", () => {
    const { sim, a } = twoSites();
    const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    peer.answerInit();
    peer.answerAuth();
    expect(tunnelStatus(sim, a).state).toBe("up");
  });
});

describe("INFORMATIONAL and CREATE_CHILD_SA right after IKE_SA_INIT (CVE-2019-12312, CVE-2014-2338)", () => {
  it.each([
    ["empty INFORMATIONAL", X.INFORMATIONAL, []],
    ["Delete of the IKE SA", X.INFORMATIONAL, [{ kind: "D", protocolId: 1, spis: [] }]],
    ["AUTHENTICATION_FAILED", X.INFORMATIONAL, [notification(N.AUTHENTICATION_FAILED)]],
    ["an unknown exchange", 250, []],
  ] as const)("%s is dropped, and IKE_AUTH still works", (_, type, payloads) => {
    const { peer, drops, sim, b } = atTheDoor();
    peer.init();
    expect(peer.raw(peer.seal(type, payloads, 1))).toBeUndefined();
    expect(drops().unexpected).toBe(1);
    peer.auth();
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("a rekey of the unauthenticated IKE SA is dropped", () => {
    const { peer, drops, b } = atTheDoor();
    peer.init();
    const rekey: PlainPayload[] = [
      { kind: "SA", proposals: [peer.ikeProposal({ spi: new Uint8Array(8).fill(7) })] },
      { kind: "Nonce", nonce: new Uint8Array(32) },
      { kind: "KE", dhGroup: 31, data: peer.keyPair.publicValue },
    ];
    expect(peer.raw(peer.seal(X.CREATE_CHILD_SA, rekey, 1))).toBeUndefined();
    expect(drops().unexpected).toBe(1);
    expectNothingLeft(b);
  });
});

describe("mandatory payloads removed, doubled or renumbered (CVE-2013-6467)", () => {
  const changes = (kind: PlainPayload["kind"]): [string, Change][] => [
    ["removed", without(kind)],
    ["doubled", (p) => [...p, p.find((x) => x.kind === kind)!]],
    ["renumbered to a private type", renumbered(kind, 200)],
    ["renumbered to an IKEv1 type", renumbered(kind, 1)],
  ];
  for (const kind of ["SA", "KE", "Nonce"] as const) {
    it.each(changes(kind))(`IKE_SA_INIT: ${kind} %s is dropped`, (_, change) => {
      const { peer, drops, halfOpen } = atTheDoor();
      expect(peer.init(change)).toBeUndefined();
      expect(drops().payloads).toBe(1);
      expect(halfOpen()).toBe(0);
    });
  }
  for (const kind of ["IDi", "SA", "TSi", "TSr"] as const) {
    it.each(changes(kind))(`IKE_AUTH: ${kind} %s is INVALID_SYNTAX and the end`, (_, change) => {
      const { peer, sim, b } = atTheDoor();
      peer.init();
      expect(notifyOf(peer.auth(change))).toBe(N.INVALID_SYNTAX);
      expect(b.failures[0]!.code).toBe("PEER_PROTOCOL_ERROR");
      expectNothingLeft(b);
      sim.run(60_000);
      expect(b.gateway.status(sim.now).ike.sas).toBe(0);
    });
  }

  it("IKE_AUTH without AUTH asks for EAP, which is refused and said so", () => {
    const { peer, b } = atTheDoor();
    peer.init();
    expect(notifyOf(peer.auth(without("AUTH")))).toBe(N.AUTHENTICATION_FAILED);
    expect(b.failures[0]).toMatchObject({ code: "AUTH_METHOD_UNSUPPORTED", theirs: ["EAP"] });
    expectNothingLeft(b);
  });

  it.each([1, 3, 9, 10, 13, 14, 0, 255])("AUTH method %d is refused", (method) => {
    const { peer, b } = atTheDoor();
    peer.init();
    const change: Change = (p) => p.map((x) => (x.kind === "AUTH" ? { ...x, method } : x));
    expect(notifyOf(peer.auth(change))).toBe(N.AUTHENTICATION_FAILED);
    expectNothingLeft(b);
  });

  it.each([0, 1, 31, 33, 1000])("AUTH data of %d octets is refused", (length) => {
    const { peer, b } = atTheDoor();
    peer.init();
    const data = new Uint8Array(length);
    const change: Change = (p) => p.map((x) => (x.kind === "AUTH" ? { ...x, data } : x));
    expect(notifyOf(peer.auth(change))).toBe(N.AUTHENTICATION_FAILED);
    expectNothingLeft(b);
  });
});

describe("proposals", () => {
  const transforms =
    (change: (t: { type: number; id: number; keyBits?: number | undefined }[]) => typeof t): Change =>
    (payloads) =>
      payloads.map((p) =>
        p.kind === "SA"
          ? { ...p, proposals: p.proposals.map((x) => ({ ...x, transforms: change([...x.transforms]) })) }
          : p,
      );
  it.each([
    ["without any DH transform (CVE-2016-5391)", transforms((t) => t.filter((x) => x.type !== T.DH))],
    ["without PRF", transforms((t) => t.filter((x) => x.type !== T.PRF))],
    ["without transforms", transforms(() => [])],
    [
      "with a listed cipher that nobody implements",
      transforms((t) => t.map((x) => (x.type === T.ENCR ? { ...x, id: 14 } : x))),
    ],
    [
      "with PRF_AES128_XCBC (CVE-2016-3071)",
      transforms((t) => t.map((x) => (x.type === T.PRF ? { ...x, id: 4 } : x))),
    ],
    ["with AES of 0 bits", transforms((t) => t.map((x) => (x.type === T.ENCR ? { ...x, keyBits: 0 } : x)))],
    [
      "with AES without key length",
      transforms((t) => t.map((x) => (x.type === T.ENCR ? { type: x.type, id: x.id } : x))),
    ],
    ["with an unknown transform type", transforms((t) => [...t, { type: 99, id: 1 }])],
    ["with an additional key exchange (RFC 9370)", transforms((t) => [...t, { type: T.ADDKE1, id: 36 }])],
    [
      "with private group 1025 (CVE-2014-9221)",
      transforms((t) => t.map((x) => (x.type === T.DH ? { ...x, id: 1025 } : x))),
    ],
  ] as const)("%s: NO_PROPOSAL_CHOSEN", (_, change) => {
    const { peer, halfOpen } = atTheDoor();
    const answer = peer.init(change);
    expect(notifyOf(answer)).toBe(N.NO_PROPOSAL_CHOSEN);
    expect(peer.spiResponder).toBe(0n);
    expect(halfOpen()).toBe(0);
  });

  it("of a protocol that is not IKE, or with an SPI: NO_PROPOSAL_CHOSEN", () => {
    for (const over of [
      { protocolId: 0 },
      { protocolId: 2 },
      { protocolId: 3 },
      { spi: new Uint8Array(8) },
    ]) {
      const { peer } = atTheDoor();
      const change: Change = (p) =>
        p.map((x) =>
          x.kind === "SA" ? { ...x, proposals: x.proposals.map((y) => ({ ...y, ...over })) } : x,
        );
      expect(notifyOf(peer.init(change))).toBe(N.NO_PROPOSAL_CHOSEN);
    }
  });

  it.each([0, 1, 255])("ESP SPI %d is reserved: no CHILD_SA, the IKE SA stands", (spi) => {
    const { peer, b } = atTheDoor();
    peer.init();
    const change: Change = (p) =>
      p.map((x) => (x.kind === "SA" ? { ...x, proposals: [peer.espProposal(spi)] } : x));
    expect(notifyOf(peer.auth(change))).toBe(N.NO_PROPOSAL_CHOSEN);
    expectNothingLeft(b);
  });

  it.each([0, 2, 8, 16])("an ESP SPI of %d octets is no proposal", (length) => {
    const { peer, b } = atTheDoor();
    peer.init();
    const spi = new Uint8Array(length).fill(0xee);
    const change: Change = (p) =>
      p.map((x) => (x.kind === "SA" ? { ...x, proposals: [peer.espProposal(0, { spi })] } : x));
    expect(notifyOf(peer.auth(change))).toBe(N.NO_PROPOSAL_CHOSEN);
    expectNothingLeft(b);
  });
});

describe("key exchange data (CVE-2015-3240, CVE-2023-41913)", () => {
  const ke =
    (data: Uint8Array, dhGroup?: number): Change =>
    (payloads) =>
      payloads.map((p) => (p.kind === "KE" ? { ...p, data, dhGroup: dhGroup ?? p.dhGroup } : p));

  it("a KE for private group 1025 beside an honest proposal: INVALID_KE_PAYLOAD with ours", () => {
    const { peer, halfOpen } = atTheDoor();
    const answer = peer.init(ke(new Uint8Array(128), 1025));
    expect(notifyOf(answer)).toBe(N.INVALID_KE_PAYLOAD);
    expect(findPayload(answer!.payloads, "N")!.data).toEqual(Uint8Array.of(0, 31));
    expect(halfOpen()).toBe(0);
  });

  it.each([
    ["zeros", new Uint8Array(32)],
    ["one", Uint8Array.of(1, ...new Uint8Array(31))],
    ["nothing", new Uint8Array(0)],
    ["31 octets", new Uint8Array(31).fill(9)],
    ["33 octets", new Uint8Array(33).fill(9)],
  ])("x25519: %s is dropped", (_, data) => {
    const { peer, drops, halfOpen } = atTheDoor();
    expect(peer.init(ke(data))).toBeUndefined();
    expect(drops().key_exchange).toBe(1);
    expect(halfOpen()).toBe(0);
  });

  const big = (last: number, fill = 0) => {
    const value = new Uint8Array(256).fill(fill);
    value[255] = last;
    return value;
  };
  it.each([
    ["0", big(0)],
    ["1", big(1)],
    ["more than p", big(255, 255)],
    ["255 octets", new Uint8Array(255).fill(7)],
    ["257 octets", new Uint8Array(257).fill(7)],
  ])("modp2048: %s is dropped", (_, data) => {
    const proposals = { both: { ike: ["aes128gcm16-prfsha256-modp2048"] } };
    const { peer, drops, halfOpen } = atTheDoor(proposals, DhGroup.code.MODP_2048);
    expect(peer.init(ke(data))).toBeUndefined();
    expect(drops().key_exchange).toBe(1);
    expect(halfOpen()).toBe(0);
  });

  it("rubbish does not make us generate a key pair each time", () => {
    const { peer, sim } = atTheDoor();
    for (let i = 1; i <= 50; i++) {
      peer.spiInitiator = BigInt(i);
      peer.init(ke(new Uint8Array(32)));
    }
    expect(sim.keyPairsTaken).toBe(1);
  });

  it.each([
    ["zeros", new Uint8Array(64)],
    ["off the curve", new Uint8Array(64).fill(3)],
    ["compressed", new Uint8Array(33).fill(2)],
  ])("ecp256: %s is dropped", (_, data) => {
    const { peer, drops } = atTheDoor(
      { both: { ike: ["aes128gcm16-prfsha256-ecp256"] } },
      DhGroup.code.ECP_256,
    );
    expect(peer.init(ke(data))).toBeUndefined();
    expect(drops().key_exchange).toBe(1);
  });
});

describe("payloads that do not belong", () => {
  it("IKEv1 payload types inside IKEv2 (CVE-2015-3991): ignored unless critical", () => {
    for (const type of [1, 2, 3, 4, 5, 8, 10, 11, 12, 13, 15, 20, 21, 130]) {
      const door = atTheDoor();
      door.peer.init((p) => [unknown(type, false), ...p]);
      door.peer.auth((p) => [unknown(type, false), ...p]);
      expect(tunnelStatus(door.sim, door.b).state).toBe("up");

      const critical = atTheDoor();
      const refused = critical.peer.init((p) => [unknown(type, true), ...p]);
      expect(notifyOf(refused)).toBe(N.UNSUPPORTED_CRITICAL_PAYLOAD);
      expect(findPayload(refused!.payloads, "N")!.data).toEqual(Uint8Array.of(type));
      expect(critical.halfOpen()).toBe(0);
    }
  });

  it("1 to 200 unknown payloads", () => {
    for (const count of [1, 2, 50, 100, 200]) {
      const { peer, sim, b } = atTheDoor();
      const many = Array.from({ length: count }, () => unknown(222, false));
      peer.init((p) => [...many, ...p]);
      peer.auth((p) => [...many, ...p]);
      expect(tunnelStatus(sim, b).state).toBe("up");
    }
  });

  it("a critical unknown payload in IKE_AUTH ends the IKE SA", () => {
    const { peer, b } = atTheDoor();
    peer.init();
    expect(notifyOf(peer.auth((p) => [...p, unknown(99, true)]))).toBe(N.UNSUPPORTED_CRITICAL_PAYLOAD);
    expectNothingLeft(b);
  });

  it("a critical unknown payload later is refused, and the IKE SA goes on", () => {
    const { peer, sim, b } = established();
    expect(notifyOf(peer.request(X.INFORMATIONAL, [unknown(99, true)]))).toBe(N.UNSUPPORTED_CRITICAL_PAYLOAD);
    expect(peer.request(X.INFORMATIONAL, [])!.payloads).toEqual([]);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("unknown notifies, vendor IDs, CP and CERTREQ are tolerated everywhere", () => {
    const extras: PlainPayload[] = [
      notification(40999),
      notification(N.MOBIKE_SUPPORTED),
      notification(N.IKEV2_FRAGMENTATION_SUPPORTED),
      notification(N.REDIRECT_SUPPORTED),
      notification(N.HTTP_CERT_LOOKUP_SUPPORTED),
      notification(N.USE_TRANSPORT_MODE),
      { kind: "V", data: Uint8Array.of(1, 2, 3) },
      { kind: "CP", cfgType: 1, attributes: [{ type: 1, value: new Uint8Array(0) }] },
      { kind: "CERTREQ", encoding: 4, data: new Uint8Array(20) },
    ];
    const { peer, sim, b } = atTheDoor();
    peer.init((p) => [...p, ...extras.filter((e) => e.kind !== "CP")]);
    peer.auth((p) => [...p, ...extras]);
    expect(tunnelStatus(sim, b).state).toBe("up");
    expect(peer.request(X.INFORMATIONAL, extras)!.payloads).toEqual([]);
    const rekey = peer.request(X.CREATE_CHILD_SA, [
      notification(N.REKEY_SA, { protocolId: ProtocolId.code.ESP, spi: espSpiBytes(0xc0ffee00) }),
      { kind: "SA", proposals: [peer.espProposal(0xc0ffee01)] },
      { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
      ...peer.authPayloads().slice(3),
      ...extras,
    ]);
    expect(findPayload(rekey!.payloads, "SA")).toBeDefined();
  });

  it.each([0, 1, 3, 200])(
    "ID_DER_ASN1_DN of %d octets (CVE-2013-6075) is another identity, no more",
    (length) => {
      const { peer, b } = atTheDoor();
      peer.init();
      const change: Change = (p) =>
        p.map((x) => (x.kind === "IDi" ? { ...x, idType: 9, data: new Uint8Array(length) } : x));
      expect(notifyOf(peer.auth(change))).toBe(N.AUTHENTICATION_FAILED);
      expect(b.failures[0]!.code).toBe("PEER_IDENTITY_MISMATCH");
    },
  );
});

describe("what is authentic and does not decode (RFC 7296 §2.21.2)", () => {
  const broken = [
    [
      "a TS payload that promises two selectors and holds one (CVE-2023-23009)",
      PayloadType.code.TSi,
      [2, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 1, 1, 1, 1, 2, 2, 2, 2],
    ],
    ["a TS payload with a short selector", PayloadType.code.TSr, [1, 0, 0, 0, 7, 0, 0, 3]],
    ["a Delete that promises more SPIs than it holds", PayloadType.code.D, [3, 4, 0, 9, 1, 2, 3, 4]],
    ["a Notify whose SPI is longer than itself", PayloadType.code.N, [3, 200, 0, 1]],
    ["an IPv4 identity of three octets", PayloadType.code.IDi, [1, 0, 0, 0, 10, 0, 0]],
  ] as const;
  it.each(broken)("%s: INVALID_SYNTAX, and the IKE SA ends", (_, type, body) => {
    const { peer, sim, b } = established();
    const payload = { kind: "unknown", type, critical: false, body: Uint8Array.from(body) } as const;
    expect(notifyOf(peer.request(X.INFORMATIONAL, [payload]))).toBe(N.INVALID_SYNTAX);
    expectNothingLeft(b);
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
  });
});

describe("requests repeated, replayed and out of order", () => {
  it("a failed IKE_AUTH repeated gets the same answer, byte for byte (CVE-2024-2357)", () => {
    const { peer, sim, b } = atTheDoor({ b: { psk: "another" } });
    peer.init();
    const request = peer.seal(X.IKE_AUTH, peer.authPayloads(), 1);
    const first = peer.raw(request);
    expect(peer.raw(request)).toEqual(first);
    expect(b.failures).toHaveLength(1);
    // Nor can the IKE SA be used after all.
    expect(peer.raw(peer.seal(X.IKE_AUTH, peer.authPayloads(), 2))).toBeUndefined();
    sim.run(60_000);
    // Forgotten: what comes now is that there is no such IKE SA, unprotected and without a token.
    const { header, payloads } = decodeMessage(peer.raw(request)!);
    expect(header).toMatchObject({ response: true, initiator: false, messageId: 1 });
    expect(payloads).toEqual([notification(N.INVALID_IKE_SPI)]);
  });

  it("strangers who fail again and again fill counters and not the log", () => {
    const { peer, sim, b } = atTheDoor({ b: { psk: "another" } });
    for (let i = 1; i <= 20; i++) {
      peer.spiInitiator = BigInt(i);
      peer.spiResponder = 0n;
      peer.init();
      expect(notifyOf(peer.auth())).toBe(N.AUTHENTICATION_FAILED);
    }
    expect(b.failures.length).toBeLessThanOrEqual(6);
    expect(b.logs.filter((l) => l.message !== "tunnel state")).toEqual([]);
    sim.run(120_000);
    expect(b.gateway.status(sim.now).ike).toMatchObject({ sas: 0, halfOpen: 0 });
  });

  it("message IDs that are not the next are dropped", () => {
    const { peer, drops } = established();
    for (const id of [0, 1, 3, 4, 2 ** 32 - 1])
      expect(peer.raw(peer.seal(X.INFORMATIONAL, [], id))).toBeUndefined();
    expect(drops().message_id).toBe(5);
    expect(peer.request(X.INFORMATIONAL, [], 2)!.payloads).toEqual([]);
  });

  it("our own messages reflected at us are dropped", () => {
    const { peer, answer, drops } = established();
    expect(peer.raw(answer!.datagram)).toBeUndefined();
    expect(Object.values(drops()).reduce((x, y) => x + y, 0)).toBe(1);
  });

  it("a bit flipped anywhere in a protected request makes it a stranger's", () => {
    const { peer, drops, sim, b } = established();
    const request = peer.seal(X.INFORMATIONAL, [{ kind: "D", protocolId: 1, spis: [] }]);
    for (let i = 0; i < request.length; i++) {
      const bytes = Uint8Array.from(request);
      bytes[i]! ^= 1 << (i % 8);
      peer.raw(bytes);
    }
    expect(tunnelStatus(sim, b).state).toBe("up");
    expect(Object.values(drops()).reduce((x, y) => x + y, 0)).toBe(request.length);
  });
});

describe("rekeys that are none", () => {
  const rekey = (peer: CraftedPeer, over: Partial<NotifyPayload>, spi = 0xc0ffee01): PlainPayload[] => [
    notification(N.REKEY_SA, { protocolId: ProtocolId.code.ESP, spi: espSpiBytes(0xc0ffee00), ...over }),
    { kind: "SA", proposals: [peer.espProposal(spi)] },
    { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
    ...peer.authPayloads().slice(3),
  ];

  it.each([0, 1, 2, 99])("REKEY_SA with protocol %d (CVE-2023-38710): CHILD_SA_NOT_FOUND", (protocolId) => {
    const { peer, b, sim } = established();
    expect(notifyOf(peer.request(X.CREATE_CHILD_SA, rekey(peer, { protocolId })))).toBe(N.CHILD_SA_NOT_FOUND);
    expect(b.installed).toHaveLength(2);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it.each([0, 1, 3, 5, 8])("REKEY_SA with an SPI of %d octets: CHILD_SA_NOT_FOUND", (length) => {
    const { peer } = established();
    const spi = new Uint8Array(length).fill(1);
    expect(notifyOf(peer.request(X.CREATE_CHILD_SA, rekey(peer, { spi })))).toBe(N.CHILD_SA_NOT_FOUND);
  });

  it("the same CHILD_SA rekeyed twice: TEMPORARY_FAILURE the second time", () => {
    const { peer, b } = established();
    expect(findPayload(peer.request(X.CREATE_CHILD_SA, rekey(peer, {}))!.payloads, "SA")).toBeDefined();
    expect(notifyOf(peer.request(X.CREATE_CHILD_SA, rekey(peer, {}, 0xc0ffee02)))).toBe(N.TEMPORARY_FAILURE);
    expect(b.installed).toHaveLength(4);
  });

  it("an IKE SA rekeyed to SPI zero or to SPIs of odd lengths: refused", () => {
    for (const spi of [new Uint8Array(8), new Uint8Array(0), new Uint8Array(4), new Uint8Array(9)]) {
      const { peer, sim, b } = established();
      const answer = peer.request(X.CREATE_CHILD_SA, [
        { kind: "SA", proposals: [peer.ikeProposal({ spi })] },
        { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
        { kind: "KE", dhGroup: 31, data: peer.keyPair.publicValue },
      ]);
      expect(notifyOf(answer)).toBe(N.NO_PROPOSAL_CHOSEN);
      expect(tunnelStatus(sim, b).state).toBe("up");
    }
  });

  it("more CHILD_SAs than anybody needs: NO_ADDITIONAL_SAS", () => {
    const { peer, b } = established({ sim: { limits: { children: 16 } } });
    let refused = 0;
    for (let i = 1; i < 30; i++) {
      const payloads = rekey(peer, {}, 0xc0ffee00 + i).slice(1);
      if (notifyOf(peer.request(X.CREATE_CHILD_SA, payloads)) === N.NO_ADDITIONAL_SAS) refused++;
    }
    expect(b.inbound).toHaveLength(16);
    expect(refused).toBe(14);
  });
});

describe("Delete", () => {
  it("of SPIs that are not ours, of other protocols, of the same SA twice", () => {
    const { peer, spiB, sim, b } = established();
    const del = (protocolId: number, ...spis: number[]): PlainPayload => ({ kind: "D", protocolId, spis });
    expect(
      peer.request(X.INFORMATIONAL, [del(3, 0x12345678), del(2, 0xc0ffee00), del(0), del(77)])!.payloads,
    ).toEqual([]);
    expect(tunnelStatus(sim, b).state).toBe("up");
    const answer = peer.request(X.INFORMATIONAL, [del(3, 0xc0ffee00, 0xc0ffee00), del(3, 0xc0ffee00)]);
    expect(answer!.payloads).toEqual([{ kind: "D", protocolId: 3, spis: [spiB] }]);
    expectNothingLeft(b);
    expect(peer.request(X.INFORMATIONAL, [del(3, 0xc0ffee00)])!.payloads).toEqual([]);
    expect(peer.request(X.INFORMATIONAL, [del(1), del(1), del(3, 1)])!.payloads).toEqual([]);
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
    expect(peer.raw(peer.seal(X.INFORMATIONAL, []))).toBeUndefined();
  });
});
