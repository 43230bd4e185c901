/** Inputs that have broken other implementations of IKEv1: see `test/known-flaws-rows.ts` for which row each belongs to. */
import { describe, expect, it } from "vitest";
import {
  EspTransform,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpDoi,
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpNotifyType,
  IsakmpPayloadType,
  IsakmpProtocol,
  Phase1Attribute,
  Phase1Authentication,
  Phase1Hash,
  PayloadType,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import {
  encodeIsakmp,
  fragmentIsakmp,
  type IsakmpAttribute,
  type IsakmpPayload,

} from "../../src/wire/v1/index.ts";
import {
  addressId,
  CraftedIsakmpPeer,
  espAttributes,
  type IsakmpAnswer,
  type IsakmpChange,
  ikeAttributes,
  isakmpNotifyOf,
  renumberedPayload,
  subnetId,
  withoutPayload,
} from "./crafted-isakmp-peer.ts";
import { modpGroupPrime } from "./modp.ts";
import { endpoint, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectCarrying, expectNothingLeft, twoSites } from "./two-sites.ts";

const X = IsakmpExchangeType.code;
const N = IsakmpNotifyType.code;
const TYPE = IsakmpPayloadType.code;
const A = Phase1Attribute.code;
const nothing = new Uint8Array(0);

type Options = NonNullable<Parameters<typeof twoSites>[0]>;

/** B answers; A is the crafted peer. */
function atTheDoor(options: Options = {}, group?: number) {
  const sites = twoSites({ ...options, both: { version: "ikev1", ...options.both } });
  sites.sim.start(sites.b);
  const ends = { own: addressA, node: addressB };
  const peer = new CraftedIsakmpPeer(sites.sim, sites.b, { ...ends, ...(group && { group }) });
  const status = () => sites.b.gateway.status(sites.sim.now).ike;
  return { ...sites, peer, status };
}
type Door = ReturnType<typeof atTheDoor>;

/** Phase 1 in the mode of the connection. */
function authenticate({ peer }: Door, mode: "main" | "aggressive" = "main"): IsakmpAnswer | undefined {
  if (mode === "aggressive") {
    peer.aggressive1();
    return peer.aggressive3();
  }
  peer.main1();
  peer.main3();
  return peer.main5();
}

function established(options: Options = {}) {
  const door = atTheDoor(options);
  authenticate(door, options.both?.mode);
  quick(door, 0xc0ffee00);
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  expect(door.b.installed).toHaveLength(2);
  return { ...door, spiB: door.b.inbound[0]!.spi };
}

/** A whole quick mode: the node's SPI. */
function quick({ peer }: Door, spi: number): IsakmpAnswer {
  const second = peer.quick(peer.quickPayloads(spi))!;
  peer.quick3(second.header.messageId);
  return second;
}

/** Whatever happened: an honest peer is served. */
function stillServes(door: Door): void {
  const { sim, a, b } = door;
  sim.command(b, "down");
  sim.run(200_000);
  expectNothingLeft(b);
  expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0, inboundSpis: 0 });
  sim.network.faults.length = 0;
  sim.command(b, "up");
  sim.start(a);
  // Both may have called: then there are two pairs of SAs, and what one side sends with the other has.
  sim.runUntil(() => [a, b].every((node) => tunnelStatus(sim, node).state === "up"), 120_000);
  sim.run(1000);
  expectCarrying(door);
}

const notification = (type: number, over: Record<string, unknown> = {}): IsakmpPayload => ({
  kind: "N",
  doi: IsakmpDoi.code.IPSEC,
  protocol: IsakmpProtocol.code.PROTO_ISAKMP,
  spi: nothing,
  type,
  data: nothing,
  ...over,
});
const raw = (type: number, data: Uint8Array = nothing): IsakmpPayload => ({ kind: "unknown", type, data });
const spisOf = ({ peer }: Door): Uint8Array => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, peer.spiInitiator);
  new DataView(bytes.buffer).setBigUint64(8, peer.spiResponder);
  return bytes;
};
const deletion = (spi: number): IsakmpPayload => ({
  kind: "D",
  doi: IsakmpDoi.code.IPSEC,
  protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
  spis: [espSpiBytes(spi)],
});
const replace =
  (kind: IsakmpPayload["kind"], by: IsakmpPayload): IsakmpChange =>
  (payloads) =>
    payloads.map((p) => (p.kind === kind ? by : p));
const withAttribute = (type: number, value: IsakmpAttribute["value"]): IsakmpAttribute[] =>
  ikeAttributes(19).map((a) => (a.type === type ? { type, value } : a));

describe("the crafted peer is a good peer when it wants to be", () => {
  it.each(["main", "aggressive"] as const)("brings a tunnel up with the responder, in %s mode", (mode) => {
    established({ both: { mode } });
  });

  it.each(["main", "aggressive"] as const)("brings a tunnel up with the initiator, in %s mode", (mode) => {
    const { sim, a } = twoSites({ both: { version: "ikev1", mode } });
    const peer = new CraftedIsakmpPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    while (peer.answerPhase1());
    expect(tunnelStatus(sim, a).ike).toMatchObject({ role: "initiator", mode });
  });
});

describe("mandatory payloads removed, doubled or renumbered (CVE-2013-6467)", () => {
  const changes = (kind: IsakmpPayload["kind"]): [string, IsakmpChange][] => [
    ["removed", withoutPayload(kind)],
    ["doubled", (p) => [...p, p.find((x) => x.kind === kind)!]],
    ["renumbered to SAK (CVE-2015-3204)", renumberedPayload(kind, TYPE.SAK)],
    ["renumbered to a private type", renumberedPayload(kind, 200)],
    ["renumbered to IKEv2's SA (CVE-2015-3991)", renumberedPayload(kind, PayloadType.code.SA)],
    ["empty", replace(kind, raw(TYPE[kind as "SA"]))],
  ];

  it.each(changes("SA"))("main mode, message 1: SA %s is dropped", (_, change) => {
    const door = atTheDoor();
    expect(door.peer.main1(change)).toBeUndefined();
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    stillServes(door);
  });

  for (const kind of ["KE", "NONCE"] as const)
    it.each(changes(kind))(`main mode, message 3: ${kind} %s is dropped, and the honest one still counts`, (_, change) => {
      const door = atTheDoor();
      door.peer.main1();
      expect(door.peer.main3(change)).toBeUndefined();
      expect(door.peer.main3()).toBeDefined();
      door.peer.main5();
      expect(tunnelStatus(door.sim, door.b).ike).toBeDefined();
    });

  // The same ID or HASH a second time proves as much as once.
  const unproven = (kind: IsakmpPayload["kind"]) =>
    changes(kind)
      .filter(([what]) => what !== "doubled")
      .map(([what, change]) => [`${kind} ${what}`, change] as const);

  it.each([...unproven("ID"), ...unproven("HASH")])("main mode, message 5: %s is not authentic", (_, change) => {
    const door = atTheDoor();
    door.peer.main1();
    door.peer.main3();
    expect(door.peer.main5(undefined, change)).toBeUndefined();
    expect(tunnelStatus(door.sim, door.b).ike).toBeUndefined();
    stillServes(door);
  });

  for (const kind of ["SA", "KE", "NONCE", "ID"] as const)
    it.each(changes(kind))(`aggressive mode, message 1: ${kind} %s is dropped`, (_, change) => {
      const door = atTheDoor({ both: { mode: "aggressive" } });
      expect(door.peer.aggressive1(change)).toBeUndefined();
      expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    });

  it.each(unproven("HASH"))("aggressive mode, message 3: %s is not authentic", (_, change) => {
    const door = atTheDoor({ both: { mode: "aggressive" } });
    door.peer.aggressive1();
    door.peer.aggressive3(change);
    expect(tunnelStatus(door.sim, door.b).ike).toBeUndefined();
    stillServes(door);
  });

  for (const kind of ["SA", "NONCE"] as const)
    it.each(changes(kind))(`quick mode, message 1: ${kind} %s installs nothing`, (_, change) => {
      const door = atTheDoor();
      authenticate(door);
      const { peer, b } = door;
      const answer = peer.quick(change(peer.quickPayloads(0xc0ffee00)));
      if (answer) expect(answer.payloads.map((p) => p.kind)).toEqual(["N"]);
      expect(b.installed).toEqual([]);
      quick(door, 0xc0ffee01);
      expect(b.installed).toHaveLength(2);
    });

  it.each(changes("ID"))("quick mode, message 1: with IDs %s nothing wider than the two addresses comes to be", (_, change) => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    peer.quick(change(peer.quickPayloads(0xc0ffee00)));
    // RFC 2409 §5.5: without IDs the addresses of the ISAKMP SA are meant.
    for (const { localSelectors, remoteSelectors } of b.installed) {
      expect(localSelectors.map(({ startAddress: f, endAddress: l }) => `${f}-${l}`)).toEqual([
        `${addressB}-${addressB}`,
      ]);
      expect(remoteSelectors.map(({ startAddress: f, endAddress: l }) => `${f}-${l}`)).toEqual([
        `${addressA}-${addressA}`,
      ]);
    }
    quick(door, 0xc0ffee01);
    expect(b.outbound.map(({ spi }) => spi)).toContain(0xc0ffee01);
  });

  it("quick mode, message 3: another hash installs nothing more, and the honest one still counts", () => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    const { messageId } = peer.quick(peer.quickPayloads(0xc0ffee00))!.header;
    const before = b.outbound.length;
    const forged = peer.unprotected(X.QUICK_MODE, [{ kind: "HASH", data: new Uint8Array(32) }], messageId);
    expect(peer.raw(forged)).toBeUndefined();
    expect(b.outbound.length).toBe(before);
    peer.quick3(messageId);
    expect(b.installed).toHaveLength(2);
  });
});

describe("proposals that nobody can accept", () => {
  it.each([
    ["TIGER as hash (CVE-2018-10811)", withAttribute(A.HASH_ALGORITHM, Phase1Hash.code.TIGER)],
    ["private-use group 1025 (CVE-2014-9221)", withAttribute(A.GROUP_DESCRIPTION, 1025)],
    ["group 0", withAttribute(A.GROUP_DESCRIPTION, 0)],
    ["a group of eight octets", withAttribute(A.GROUP_DESCRIPTION, new Uint8Array(8).fill(255))],
    ["no group (CVE-2016-5391)", ikeAttributes(19).filter(({ type }) => type !== A.GROUP_DESCRIPTION)],
    ["no attribute at all", []],
    ["RSA encryption (CVE-2018-0131)", withAttribute(A.AUTHENTICATION_METHOD, Phase1Authentication.code.RSA_ENCRYPTION)],
    [
      "revised RSA encryption (CVE-2018-0131)",
      withAttribute(A.AUTHENTICATION_METHOD, Phase1Authentication.code.RSA_REVISED_ENCRYPTION),
    ],
    ["RSA signatures", withAttribute(A.AUTHENTICATION_METHOD, Phase1Authentication.code.RSA_SIGNATURES)],
    ["XAUTH", withAttribute(A.AUTHENTICATION_METHOD, Phase1Authentication.code.XAUTH_INIT_PRE_SHARED)],
    ["a key length that AES does not have", withAttribute(A.KEY_LENGTH, 100)],
    ["a key of no length", withAttribute(A.KEY_LENGTH, 0)],
    ["an attribute that nobody knows", [...ikeAttributes(19), { type: 16_000, value: 1 }]],
  ] as const)("phase 1 with %s is refused, and nothing is kept", (_, attributes) => {
    for (const mode of ["main", "aggressive"] as const) {
      const door = atTheDoor({ both: { mode } });
      const { peer } = door;
      const change = replace("SA", peer.sa([peer.ikeProposal(attributes)]));
      const answer = mode === "main" ? peer.main1(change) : peer.aggressive1(change);
      expect(answer?.payloads.map(({ kind }) => kind)).toEqual(["N"]);
      expect(isakmpNotifyOf(answer)).toBe(N.NO_PROPOSAL_CHOSEN);
      expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    }
  });

  it.each([
    ["ESP_NULL_AUTH_AES_GMAC (CVE-2024-3652)", EspTransform.code.ESP_NULL_AUTH_AES_GMAC, espAttributes],
    [
      "AES-GMAC as authentication (CVE-2024-3652)",
      EspTransform.code.ESP_NULL,
      [
        ...espAttributes.slice(1),
        {
          type: IpsecAttribute.code.AUTHENTICATION_ALGORITHM,
          value: IpsecAuthentication.code.AES_256_GMAC,
        },
      ],
    ],
    [
      "AES-XCBC (CVE-2016-3071)",
      EspTransform.code.ESP_AES_CBC,
      [
        ...espAttributes,
        { type: IpsecAttribute.code.AUTHENTICATION_ALGORITHM, value: IpsecAuthentication.code.AES_XCBC_MAC },
      ],
    ],
    ["a cipher of number 0", 0, espAttributes],
    ["a cipher of number 255", 255, espAttributes],
    ["ESP_NULL without authentication", EspTransform.code.ESP_NULL, espAttributes.slice(1)],
    [
      "AES with a key length of 100",
      EspTransform.code.ESP_AES_GCM_16,
      [{ type: IpsecAttribute.code.KEY_LENGTH, value: 100 }, ...espAttributes.slice(1)],
    ],
    [
      "a key of no length",
      EspTransform.code.ESP_AES_GCM_16,
      [{ type: IpsecAttribute.code.KEY_LENGTH, value: 0 }, ...espAttributes.slice(1)],
    ],
  ] as const)("quick mode with %s is refused, and another one accepted", (_, id, attributes) => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    const transforms = [{ number: 1, id, attributes }];
    const proposal = peer.espProposal(0xc0ffee00, [], { transforms });
    const answer = peer.quick(replace("SA", peer.sa([proposal]))(peer.quickPayloads(0)));
    expect(isakmpNotifyOf(answer)).toBe(N.NO_PROPOSAL_CHOSEN);
    expect(b.installed).toEqual([]);
    quick(door, 0xc0ffee01);
    expect(b.installed).toHaveLength(2);
  });

  it.each([
    ["nothing", nothing],
    ["three octets", new Uint8Array(3).fill(9)],
    ["16 octets", new Uint8Array(16).fill(9)],
    ["zero", new Uint8Array(4)],
    ["255, which is reserved", espSpiBytes(255)],
  ])("an SPI of %s is refused", (_, spi) => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    const proposal = peer.espProposal(0, espAttributes, { spi });
    expect(peer.quick(replace("SA", peer.sa([proposal]))(peer.quickPayloads(0)))?.payloads ?? []).not.toContainEqual(
      expect.objectContaining({ kind: "SA" }),
    );
    expect(b.installed).toEqual([]);
  });

  it("other DOIs, undefined bits of the situation and labels leave nothing behind (CVE-2015-3204)", () => {
    const door = atTheDoor();
    const { peer } = door;
    const sa = { ...(peer.sa() as IsakmpPayload & { kind: "SA" }) };
    const body = (doi: number, situation: number) => {
      const octets = encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 2, messageId: 0 }, [sa]);
      const data = Uint8Array.from(octets.subarray(32));
      const view = new DataView(data.buffer);
      view.setUint32(0, doi);
      view.setUint32(4, situation);
      return raw(TYPE.SA, data);
    };
    for (const [doi, situation] of [
      [2, 1],
      [0xffff_ffff, 1],
      [1, 0],
      [1, 2],
      [1, 4],
      [1, 7],
      [1, 0x8000_0001],
      [1, 0xffff_ffff],
    ] as const)
      expect(peer.main1(() => [body(doi, situation)]), `${doi} ${situation}`).toBeUndefined();
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
  });

  it("an SA payload cut short at any octet gives no octet of ours away (CVE-2016-6415)", () => {
    const door = atTheDoor();
    const { peer } = door;
    const sa = peer.sa();
    const whole = encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 2, messageId: 0 }, [sa]);
    const body = Uint8Array.from(whole.subarray(32));
    for (let length = 0; length < body.length; length++)
      expect(peer.main1(() => [raw(TYPE.SA, body.subarray(0, length))]), `${length} octets`).toBeUndefined();
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0, drops: { malformed: body.length } });
  });
});

describe("key exchange data that is none (CVE-2015-3240, CVE-2023-41913)", () => {
  const p = modpGroupPrime(2048);
  const number = (value: bigint, bytes = 256) =>
    Uint8Array.from(Buffer.from(value.toString(16).padStart(2 * bytes, "0"), "hex"));

  it.each([
    ["0", number(0n)],
    ["1", number(1n)],
    ["p − 1", number(p - 1n)],
    ["p", number(p)],
    ["p + 1", number(p + 1n)],
    ["all ones", new Uint8Array(256).fill(255)],
    ["one octet short", number(2n, 255)],
    ["one octet long", number(2n, 257)],
    ["nothing", nothing],
    ["64 KiB", new Uint8Array(65_000).fill(3)],
  ])("modp2048: %s is dropped", (_, data) => {
    for (const mode of ["main", "aggressive"] as const) {
      const door = atTheDoor({ both: { mode, ike: ["aes128-sha256-modp2048"] } }, 14);
      const { peer } = door;
      if (mode === "main") peer.main1();
      const change = replace("KE", { kind: "KE", data });
      expect(mode === "main" ? peer.main3(change) : peer.aggressive1(change)).toBeUndefined();
      expect(door.status().drops["key_exchange"]).toBe(1);
      expect(tunnelStatus(door.sim, door.b).ike).toBeUndefined();
    }
  });

  it("ecp256: a point that is not on the curve is dropped", () => {
    const door = atTheDoor();
    door.peer.main1();
    for (const data of [new Uint8Array(64), new Uint8Array(64).fill(1), new Uint8Array(63).fill(1), nothing])
      expect(door.peer.main3(replace("KE", { kind: "KE", data }))).toBeUndefined();
    expect(door.status().drops["key_exchange"]).toBe(4);
    expect(door.peer.main3()).toBeDefined();
  });

  it("in quick mode as in phase 1", () => {
    const door = atTheDoor({ both: { esp: ["aes128gcm16-ecp256"] } });
    authenticate(door);
    const { peer, b } = door;
    const attributes = [...espAttributes, { type: IpsecAttribute.code.GROUP_DESCRIPTION, value: 19 }];
    for (const data of [new Uint8Array(64), nothing, new Uint8Array(65).fill(1)]) {
      const [, nonce, ...ids] = peer.quickPayloads(0);
      const sa = peer.sa([peer.espProposal(0xc0ffee00, attributes)]);
      const answer = peer.quick([sa, nonce!, { kind: "KE", data }, ...ids]);
      expect(answer?.payloads.some((payload) => payload.kind === "SA") ?? false).toBe(false);
    }
    expect(b.installed).toEqual([]);
  });
});

describe("identities", () => {
  it.each([
    ["FQDN (CVE-2023-38711)", { idType: IsakmpIdType.code.ID_FQDN, data: new TextEncoder().encode("vpn.example") }],
    ["an empty FQDN", { idType: IsakmpIdType.code.ID_FQDN, data: nothing }],
    ["KEY_ID", { idType: IsakmpIdType.code.ID_KEY_ID, data: new Uint8Array(300) }],
    ["DN", { idType: IsakmpIdType.code.ID_DER_ASN1_DN, data: Uint8Array.of(0x30, 0x82) }],
    ["LIST", { idType: IsakmpIdType.code.ID_LIST, data: nothing }],
    ["type 0", { idType: 0, data: nothing }],
    ["type 255", { idType: 255, data: new Uint8Array(8) }],
    [
      "a subnet with a mask of holes",
      { idType: IsakmpIdType.code.ID_IPV4_ADDR_SUBNET, data: Uint8Array.of(10, 1, 0, 0, 255, 0, 255, 0) },
    ],
    [
      "a range that runs backwards",
      { idType: IsakmpIdType.code.ID_IPV4_ADDR_RANGE, data: Uint8Array.of(10, 2, 0, 0, 10, 1, 0, 0) },
    ],
  ])("quick mode with IDcr of %s is refused", (_, id) => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    const [sa, nonce, idci] = peer.quickPayloads(0xc0ffee00) as [IsakmpPayload, IsakmpPayload, IsakmpPayload];
    const bad: IsakmpPayload = { kind: "ID", protocol: 0, port: 0, ...id };
    for (const ids of [
      [idci, bad],
      [bad, idci],
    ]) {
      const answer = peer.quick([sa, nonce, ...ids]);
      if (answer) expect(isakmpNotifyOf(answer)).toBe(N.INVALID_ID_INFORMATION);
      expect(b.installed).toEqual([]);
    }
    quick(door, 0xc0ffee01);
    expect(b.installed).toHaveLength(2);
  });

  it("an ID of one family and one of the other are refused", () => {
    const door = atTheDoor();
    authenticate(door);
    const { peer, b } = door;
    const [sa, nonce, idci] = peer.quickPayloads(0xc0ffee00) as [IsakmpPayload, IsakmpPayload, IsakmpPayload];
    expect(peer.quick([sa, nonce, idci, subnetId("fd00::/16")])?.payloads.map(({ kind }) => kind) ?? ["N"]).toEqual([
      "N",
    ]);
    expect(b.installed).toEqual([]);
  });

  it.each([0, 1, 2, 3, 5, 17, 255, 4096])("ID_DER_ASN1_DN of %d octets in phase 1 (CVE-2013-6075)", (length) => {
    for (const mode of ["main", "aggressive"] as const) {
      const door = atTheDoor({ both: { mode } });
      const { peer } = door;
      const data = new Uint8Array(length).fill(0x30);
      const dn: IsakmpPayload = {
        kind: "ID",
        idType: IsakmpIdType.code.ID_DER_ASN1_DN,
        protocol: 0,
        port: 0,
        data,
      };
      if (mode === "main") {
        peer.main1();
        peer.main3();
        peer.main5(() => [dn]);
      } else if (peer.aggressive1(replace("ID", dn))) peer.aggressive3();
      expect(tunnelStatus(door.sim, door.b).ike).toBeUndefined();
      stillServes(door);
    }
  });
});

describe("phase 2 before phase 1 is through (CVE-2014-2338, CVE-2019-12312)", () => {
  it.each(["main", "aggressive"] as const)("%s mode: quick mode and informational messages change nothing", (mode) => {
    const door = atTheDoor({ both: { mode } });
    const { peer, b, sim } = door;
    if (mode === "main") {
      peer.main1();
      peer.main3();
    } else peer.aggressive1();
    const seal = (type: number, payloads: IsakmpPayload[]) => peer.seal(type, payloads, peer.newMessageId());
    for (const datagram of [
      seal(X.QUICK_MODE, peer.quickPayloads(0xc0ffee00)),
      seal(X.INFORMATIONAL, [notification(N.INITIAL_CONTACT, { spi: spisOf(door) })]),
      seal(X.INFORMATIONAL, [deletion(1)]),
      seal(X.NEW_GROUP_MODE, []),
      seal(99, []),
    ])
      peer.raw(datagram);
    expect(b.installed).toEqual([]);
    expect(tunnelStatus(sim, b).ike).toBeUndefined();
    if (mode === "main") peer.main5();
    else peer.aggressive3();
    expect(tunnelStatus(sim, b).ike).toBeDefined();
  });
});

describe("informational messages", () => {
  it("whose hash is wrong change nothing (CVE-2019-10155)", () => {
    const door = established();
    const { peer, b, sim, spiB } = door;
    const spis = spisOf(door);
    const { SKEYID_a } = peer.keys!;
    for (const payloads of [
      [deletion(0xc0ffee00)],
      [deletion(spiB)],
      [{ kind: "D", doi: 1, protocol: 1, spis: [spis] } satisfies IsakmpPayload],
      [notification(N.INITIAL_CONTACT, { spi: spis })],
      [notification(N.R_U_THERE, { spi: spis, data: new Uint8Array(4) })],
      [notification(N.INVALID_SPI, { data: espSpiBytes(0xc0ffee00) })],
      [notification(N.AUTHENTICATION_FAILED)],
      [notification(N.PAYLOAD_MALFORMED)],
    ]) {
      // In the clear, with a hash of zeros, and with none.
      for (const prefix of [[{ kind: "HASH", data: new Uint8Array(32) } satisfies IsakmpPayload], []])
        expect(peer.raw(peer.unprotected(X.INFORMATIONAL, [...prefix, ...payloads], 77))).toBeUndefined();
      // Encrypted with the right key, under a key for hashes that is not.
      const other = Uint8Array.from(SKEYID_a.reveal());
      SKEYID_a.reveal().fill(1);
      const datagram = peer.seal(X.INFORMATIONAL, payloads, peer.newMessageId());
      SKEYID_a.reveal().set(other);
      expect(peer.raw(datagram)).toBeUndefined();
    }
    expect(door.status().drops["not_authentic"]).toBe(24);
    expect(b.installed).toHaveLength(2);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });

  it("a Delete, then notifications for the same SA, then the Delete again (CVE-2023-38712)", () => {
    const door = established();
    const { peer, b, sim } = door;
    const about = { protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP, spi: espSpiBytes(0xc0ffee00) };
    const more = [
      deletion(0xc0ffee00),
      notification(N.INVALID_SPI, about),
      notification(N.RESPONDER_LIFETIME, about),
      notification(N.CONNECTED, about),
      deletion(0xc0ffee00),
      deletion(0xc0ffee00),
    ];
    peer.inform(more);
    sim.run(10_000);
    expect(b.installed).toEqual([]);
    for (const payload of more) peer.inform([payload]);
    // The ISAKMP SA stays, and quick mode goes on working.
    quick(door, 0xc0ffee02);
    expect(b.installed).toHaveLength(2);
  });

  it("deletes of the ISAKMP SA, twice in one message and once more", () => {
    const door = established();
    const { peer, sim } = door;
    const spis = [spisOf(door)];
    const gone: IsakmpPayload = { kind: "D", doi: 1, protocol: 1, spis };
    peer.inform([gone, gone, notification(N.INITIAL_CONTACT), gone]);
    peer.inform([gone]);
    sim.run(1000);
    expect(tunnelStatus(sim, door.b).ike).toBeUndefined();
    stillServes(door);
  });

  it.each([
    ["no SPI", nothing],
    ["one octet", Uint8Array.of(1)],
    ["15 octets", new Uint8Array(15)],
    ["the SPIs of nobody", new Uint8Array(16).fill(7)],
  ])("a Delete of ISAKMP with %s deletes nothing", (_, spi) => {
    const door = established();
    door.peer.inform([{ kind: "D", doi: 1, protocol: 1, spis: spi.length > 0 ? [spi] : [] }]);
    expect(tunnelStatus(door.sim, door.b)).toMatchObject({ state: "up" });
    expect(door.b.installed).toHaveLength(2);
  });

  it("R_U_THERE on an ISAKMP SA that is gone gets no answer (CVE-2009-0790)", () => {
    const door = established();
    const { peer, sim, b } = door;
    const dpd = (sequence: number) =>
      notification(N.R_U_THERE, { spi: spisOf(door), data: Uint8Array.of(0, 0, 1, sequence) });
    expect(isakmpNotifyOf(peer.inform([dpd(1)]))).toBe(N.R_U_THERE_ACK);
    peer.inform([{ kind: "D", doi: 1, protocol: 1, spis: [spisOf(door)] }]);
    expect(peer.inform([dpd(2)])).toBeUndefined();
    sim.command(b, "down");
    sim.run(60_000);
    expect(peer.inform([dpd(3)])).toBeUndefined();
    expect(door.status().sas).toBe(0);
  });

  it.each([
    ["no SPI", { spi: nothing, data: new Uint8Array(4) }],
    ["the SPIs of another SA", { spi: new Uint8Array(16), data: new Uint8Array(4) }],
    ["no sequence number", { data: nothing }],
    ["a sequence number of three octets", { data: new Uint8Array(3) }],
    ["a sequence number of 1024 octets", { data: new Uint8Array(1024) }],
  ])("R_U_THERE with %s is not echoed at length", (_, over) => {
    const door = established();
    const answer = door.peer.inform([notification(N.R_U_THERE, { spi: spisOf(door), ...over })]);
    expect(answer?.datagram.length ?? 0).toBeLessThan(120);
    expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  });
});

describe("what strangers may have said", () => {
  it("aggressive mode with nothing acceptable gives no SPI away that could be used (CVE-2023-30570)", () => {
    const door = atTheDoor({ both: { mode: "aggressive" } });
    const { peer, sim } = door;
    const bad = peer.sa([peer.ikeProposal(withAttribute(A.HASH_ALGORITHM, Phase1Hash.code.TIGER))]);
    const answer = peer.aggressive1(replace("SA", bad))!;
    expect(isakmpNotifyOf(answer)).toBe(N.NO_PROPOSAL_CHOSEN);
    expect(answer.header.spiResponder).toBe(0n);
    // With whatever SPI was in the error, or any other.
    for (const spiResponder of [answer.header.spiResponder, 1n, 0xffff_ffff_ffff_ffffn])
      for (const exchangeType of [X.AGGRESSIVE, X.QUICK_MODE, X.INFORMATIONAL, X.IDENTITY_PROTECTION])
        for (const payloads of [[], [{ kind: "HASH", data: new Uint8Array(32) } satisfies IsakmpPayload]]) {
          const header = { spiInitiator: peer.spiInitiator, spiResponder, exchangeType, messageId: 0 };
          expect(peer.raw(encodeIsakmp(header, payloads))).toBeUndefined();
        }
    sim.run(60_000);
    expect(peer.received).toEqual([]);
    stillServes(door);
  });

  it("whole and damaged datagrams of no ISAKMP SA leave no state and get no answer (CVE-2022-23094, CVE-2020-1763)", () => {
    const { peer, status } = atTheDoor();
    for (const spiResponder of [0, 7])
      for (const exchange of [0, 1, 2, 4, 5, 6, 32, 33, 34, 255])
        for (const flags of [0, 1, 2, 4, 255])
          for (const next of [0, 1, 4, 5, 8, 11, 12, 13, 15, 20, 130, 132, 255])
            for (const body of [[], [0], [0, 0, 0, 4], [0, 0, 0, 3], [1, 0, 255, 255], new Array(80).fill(1)]) {
              const datagram = Buffer.from([
                ...new Array(8).fill(7),
                ...new Array(20).fill(spiResponder),
                ...body,
              ]);
              datagram.set([next, 0x10, exchange, flags], 16);
              datagram.writeUInt32BE(0, 20);
              datagram.writeUInt32BE(datagram.length, 24);
              expect(peer.raw(datagram)).toBeUndefined();
            }
    expect(status()).toMatchObject({ sas: 0, halfOpen: 0 });
  });

  it("datagrams of 0 to 27 octets, and lengths that are not the datagram's, are malformed (CVE-2013-4564)", () => {
    const { peer, status } = atTheDoor();
    for (let octets = 0; octets < 28; octets++)
      for (const fill of [0, 0x10, 0xff]) expect(peer.raw(new Uint8Array(octets).fill(fill))).toBeUndefined();
    const header = { spiInitiator: 1n, spiResponder: 0n, exchangeType: X.IDENTITY_PROTECTION, messageId: 0 };
    const whole = Buffer.from(encodeIsakmp(header, [peer.sa()]));
    for (const length of [0, 1, 27, 28, whole.length - 1, whole.length + 1, 65_536, 2 ** 32 - 1]) {
      const datagram = Buffer.from(whole);
      datagram.writeUInt32BE(length, 24);
      expect(peer.raw(datagram)).toBeUndefined();
    }
    expect(status()).toMatchObject({ sas: 0, halfOpen: 0, drops: { malformed: 92 } });
  });

  it("IKEv2's payloads inside IKEv1 are none (CVE-2015-3991)", () => {
    const door = atTheDoor();
    for (const type of Object.values(PayloadType.code))
      for (const data of [nothing, new Uint8Array(4), new Uint8Array(80).fill(1)])
        expect(door.peer.main1(() => [raw(type, data)])).toBeUndefined();
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    stillServes(door);
  });
});

describe("an initiator that has not proven its address (CVE-2016-5361)", () => {
  it.each(["main", "aggressive"] as const)(
    "%s mode: is answered once for each time it asks, never by ourselves, with no more than thrice its octets",
    (mode) => {
      const door = atTheDoor({ both: { mode } });
      const { peer, sim, b } = door;
      const ask = () => (mode === "main" ? peer.main1() : peer.aggressive1());
      const sizes: number[] = [];
      const asked: Uint8Array[] = [];
      const deliver = sim.deliver.bind(sim);
      sim.deliver = (source, destination, datagram) => {
        asked.push(datagram);
        deliver(source, destination, datagram);
      };
      sizes.push(ask()!.datagram.length);
      expect(sizes[0]).toBeLessThanOrEqual(3 * asked[0]!.length);
      expect(peer.received).toEqual([]);
      sim.run(120_000);
      expect(peer.received).toEqual([]);
      expectNothingLeft(b);
      expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    },
  );

  it("the smallest first message that is answered is not answered with more than thrice its octets", () => {
    // As many vendor IDs as we have, for the shortest proposal that there is.
    const door = atTheDoor({ both: { mode: "aggressive" } });
    const { peer } = door;
    const answer = peer.aggressive1();
    const bytes = encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 4, messageId: 0 }, [
      peer.sa(),
      { kind: "KE", data: peer.keyPair.publicValue },
      { kind: "NONCE", nonce: peer.nonce },
      addressId(endpoint(addressA)),
    ]).length;
    expect(answer!.datagram.length).toBeLessThanOrEqual(3 * bytes);
  });

  it("a connection that is not aggressive gives no hash of its key away, and the other way round", () => {
    const door = atTheDoor();
    const answer = door.peer.aggressive1();
    expect(answer?.payloads.map(({ kind }) => kind) ?? ["N"]).toEqual(["N"]);
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    const other = atTheDoor({ both: { mode: "aggressive" } });
    expect(other.peer.main1()?.payloads.map(({ kind }) => kind) ?? ["N"]).toEqual(["N"]);
    expect(other.status()).toMatchObject({ sas: 0, halfOpen: 0 });
  });

  it("somebody whom nobody configured is told nothing", () => {
    const door = atTheDoor();
    door.peer.moveTo(endpoint("203.0.113.99"));
    expect(door.peer.main1()).toBeUndefined();
    expect(door.peer.aggressive1()).toBeUndefined();
    expect(door.status().drops["no_connection"]).toBe(2);
  });
});

describe("fragments (CVE-2016-1287, CVE-2013-6076)", () => {
  /** The fragments of message 1. */
  function fragments(door: Door, maxBytes = 60, id = 1): Uint8Array[] {
    const { spiInitiator } = door.peer;
    const header = { spiInitiator, spiResponder: 0n, exchangeType: X.IDENTITY_PROTECTION, messageId: 0 };
    return fragmentIsakmp(encodeIsakmp(header, [door.peer.sa()]), header, id, maxBytes);
  }

  it("in any order are the message", () => {
    const door = atTheDoor();
    const list = fragments(door).reverse();
    for (const fragment of list.slice(0, -1)) expect(door.peer.raw(fragment)).toBeUndefined();
    expect(door.peer.raw(list.at(-1)!)).toBeDefined();
  });

  it("with gaps, repetitions, odd first ones and more than any message needs are forgotten", () => {
    const door = atTheDoor();
    const { peer, sim } = door;
    const list = fragments(door);
    const odd = (number: number, last: boolean, data: Uint8Array, id = 1) =>
      encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 2, messageId: 0 }, [
        { kind: "FRAGMENT", id, number, last, data },
      ]);
    for (const datagram of [
      list[0]!,
      list[0]!,
      list[2]!,
      odd(1, false, Uint8Array.of(1)),
      odd(255, true, Uint8Array.of(1)),
      odd(64, true, Uint8Array.of(1)),
      odd(1, true, Uint8Array.of(1)),
      odd(2, false, new Uint8Array(60_000)),
      odd(3, true, new Uint8Array(60_000), 2),
      ...Array.from({ length: 300 }, (_, i) => odd(1 + (i % 255), false, new Uint8Array(1000), i)),
    ])
      expect(peer.raw(datagram)).toBeUndefined();
    sim.run(60_000);
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    for (const fragment of list.slice(0, -1)) peer.raw(fragment);
    expect(peer.raw(list.at(-1)!)).toBeDefined();
  });
});

