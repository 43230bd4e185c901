/** More inputs that have broken other implementations of IKEv1: see `test/known-flaws-rows.ts` for which row each belongs to. */
import { describe, expect, it } from "vitest";
import {
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpNotifyType,
  IsakmpProtocol,
  PayloadType,
  Phase1Attribute,
  Phase1Hash,
  vendorIdBytes,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import { encodeIsakmp, fragmentIsakmp, type IsakmpPayload } from "../../src/wire/v1/index.ts";
import { ikeAttributes, isakmpNotifyOf, subnetId } from "./crafted-isakmp-peer.ts";
import {
  atTheDoor,
  authenticate,
  type Door,
  deletion,
  established,
  nothing,
  notification,
  quick,
  raw,
  replace,
  spisOf,
  stillServes,
  withAttribute,
} from "./ikev1-door.ts";
import { endpoint, tunnelStatus } from "./simulation.ts";
import { expectNothingLeft } from "./two-sites.ts";

const X = IsakmpExchangeType.code;
const N = IsakmpNotifyType.code;
const A = Phase1Attribute.code;

describe("identities", () => {
  it.each([
    [
      "FQDN (CVE-2023-38711)",
      { idType: IsakmpIdType.code.ID_FQDN, data: new TextEncoder().encode("vpn.example") },
    ],
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
    expect(
      peer.quick([sa, nonce, idci, subnetId("fd00::/16")])?.payloads.map(({ kind }) => kind) ?? ["N"],
    ).toEqual(["N"]);
    expect(b.installed).toEqual([]);
  });

  it.each([0, 1, 2, 3, 5, 17, 255, 4096])(
    "ID_DER_ASN1_DN of %d octets in phase 1 (CVE-2013-6075)",
    (length) => {
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
    },
  );
});

describe("phase 2 before phase 1 is through (CVE-2014-2338, CVE-2019-12312)", () => {
  it.each(["main", "aggressive"] as const)(
    "%s mode: quick mode and informational messages change nothing",
    (mode) => {
      const door = atTheDoor({ both: { mode } });
      const { peer, b, sim } = door;
      if (mode === "main") {
        peer.main1();
        peer.main3();
      } else peer.aggressive1();
      const seal = (type: number, payloads: IsakmpPayload[]) =>
        peer.seal(type, payloads, peer.newMessageId());
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
    },
  );
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
            for (const body of [
              [],
              [0],
              [0, 0, 0, 4],
              [0, 0, 0, 3],
              [1, 0, 255, 255],
              new Array(80).fill(1),
            ]) {
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

  it.each([
    [1, [], true],
    [255, [], true],
    // The answer to this one would have NAT-D payloads, too: 571 octets for 188.
    [255, ["RFC_3947"], false],
  ] as const)(
    "aggressive mode as short as it can be, to a KEY_ID of %d octets, with vendor IDs %j: answered %s",
    (octets, vendors, answered) => {
      const keyId = new Uint8Array(octets);
      const door = atTheDoor({ both: { mode: "aggressive" }, b: { localId: { kind: "keyId", keyId } } });
      const { peer } = door;
      let asked = 0;
      const answer = peer.aggressive1((payloads) => {
        const shortest = payloads.map((payload) => {
          if (payload.kind === "NONCE") return { ...payload, nonce: payload.nonce.subarray(0, 8) };
          return payload.kind === "SA"
            ? peer.sa([peer.ikeProposal(ikeAttributes(peer.group).slice(0, 5))])
            : payload;
        });
        for (const name of vendors) shortest.push({ kind: "VID", data: vendorIdBytes(name) });
        const header = { spiInitiator: 1n, spiResponder: 0n, exchangeType: X.AGGRESSIVE, messageId: 0 };
        asked = encodeIsakmp(header, shortest).length;
        return shortest;
      });
      expect(answer !== undefined).toBe(answered);
      expect(answer?.datagram.length ?? 0).toBeLessThanOrEqual(3 * asked);
      expect(door.status().drops["amplification"]).toBe(answered ? 0 : 1);
      door.sim.run(60_000);
      expect(door.status()).toMatchObject({ sas: 0, halfOpen: 0 });
    },
  );

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
