/** Inputs that have broken other implementations of IKEv1: see `test/known-flaws-rows.ts` for which row each belongs to. */
import { describe, expect, it } from "vitest";
import {
  EspTransform,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpExchangeType,
  IsakmpNotifyType,
  IsakmpPayloadType,
  PayloadType,
  Phase1Attribute,
  Phase1Authentication,
  Phase1Hash,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import { encodeIsakmp, type IsakmpPayload } from "../../src/wire/v1/index.ts";
import {
  CraftedIsakmpPeer,
  espAttributes,
  type IsakmpChange,
  ikeAttributes,
  isakmpNotifyOf,
  renumberedPayload,
  withoutPayload,
} from "./crafted-isakmp-peer.ts";
import {
  atTheDoor,
  authenticate,
  established,
  nothing,
  quick,
  raw,
  replace,
  stillServes,
  withAttribute,
} from "./ikev1-door.ts";
import { modpGroupPrime } from "./modp.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, twoSites } from "./two-sites.ts";

const X = IsakmpExchangeType.code;
const N = IsakmpNotifyType.code;
const TYPE = IsakmpPayloadType.code;
const A = Phase1Attribute.code;

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
    it.each(changes(kind))(
      `main mode, message 3: ${kind} %s is dropped, and the honest one still counts`,
      (_, change) => {
        const door = atTheDoor();
        door.peer.main1();
        expect(door.peer.main3(change)).toBeUndefined();
        expect(door.peer.main3()).toBeDefined();
        door.peer.main5();
        expect(tunnelStatus(door.sim, door.b).ike).toBeDefined();
      },
    );

  // The same ID or HASH a second time proves as much as once.
  const unproven = (kind: IsakmpPayload["kind"]) =>
    changes(kind)
      .filter(([what]) => what !== "doubled")
      .map(([what, change]) => [`${kind} ${what}`, change] as const);

  it.each([...unproven("ID"), ...unproven("HASH")])(
    "main mode, message 5: %s is not authentic",
    (_, change) => {
      const door = atTheDoor();
      door.peer.main1();
      door.peer.main3();
      expect(door.peer.main5(undefined, change)).toBeUndefined();
      expect(tunnelStatus(door.sim, door.b).ike).toBeUndefined();
      stillServes(door);
    },
  );

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

  it.each(changes("ID"))(
    "quick mode, message 1: with IDs %s nothing wider than the two addresses comes to be",
    (_, change) => {
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
    },
  );

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
    [
      "RSA encryption (CVE-2018-0131)",
      withAttribute(A.AUTHENTICATION_METHOD, Phase1Authentication.code.RSA_ENCRYPTION),
    ],
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
    expect(
      peer.quick(replace("SA", peer.sa([proposal]))(peer.quickPayloads(0)))?.payloads ?? [],
    ).not.toContainEqual(expect.objectContaining({ kind: "SA" }));
    expect(b.installed).toEqual([]);
  });

  it("other DOIs, undefined bits of the situation and labels leave nothing behind (CVE-2015-3204)", () => {
    const door = atTheDoor();
    const { peer } = door;
    const sa = { ...(peer.sa() as IsakmpPayload & { kind: "SA" }) };
    const body = (doi: number, situation: number) => {
      const octets = encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 2, messageId: 0 }, [
        sa,
      ]);
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
      expect(
        peer.main1(() => [body(doi, situation)]),
        `${doi} ${situation}`,
      ).toBeUndefined();
    expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
  });

  it("an SA payload cut short at any octet gives no octet of ours away (CVE-2016-6415)", () => {
    const door = atTheDoor();
    const { peer } = door;
    const sa = peer.sa();
    const whole = encodeIsakmp({ spiInitiator: 1n, spiResponder: 0n, exchangeType: 2, messageId: 0 }, [sa]);
    const body = Uint8Array.from(whole.subarray(32));
    for (let length = 0; length < body.length; length++)
      expect(
        peer.main1(() => [raw(TYPE.SA, body.subarray(0, length))]),
        `${length} octets`,
      ).toBeUndefined();
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
