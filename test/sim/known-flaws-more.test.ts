/** More inputs that have broken other implementations: see `test/known-flaws-rows.ts` for which row each belongs to. */
import { describe, expect, it } from "vitest";
import { DhGroup, ExchangeType, NotifyType, PayloadType, ProtocolId } from "../../src/registry/index.ts";
import { espSpiBytes, findPayload, type NotifyPayload, type PlainPayload } from "../../src/wire/index.ts";
import { type Change, CraftedPeer, notifyOf, renumbered, without } from "./crafted-peer.ts";
import { modpGroupPrime } from "./modp.ts";
import { tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const X = ExchangeType.code;
const P = PayloadType.code;

function atTheDoor(options: Parameters<typeof twoSites>[0] = {}, group?: number) {
  const sites = twoSites(options);
  sites.sim.start(sites.b);
  const ends = { own: addressA, node: addressB };
  const peer = new CraftedPeer(sites.sim, sites.b, { ...ends, ...(group && { group }) });
  const status = () => sites.b.gateway.status(sites.sim.now).ike;
  return { ...sites, peer, status };
}

function established(options: Parameters<typeof twoSites>[0] = {}, group?: number) {
  const door = atTheDoor(options, group);
  door.peer.init();
  door.peer.auth();
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  return door;
}

const notification = (type: number, data = new Uint8Array(0)): NotifyPayload => ({
  kind: "N",
  protocolId: 0,
  spi: new Uint8Array(0),
  type,
  data,
});
const raw = (type: number, ...body: readonly number[]): PlainPayload => ({
  kind: "unknown",
  type,
  critical: false,
  body: Uint8Array.from(body),
});

describe("what is no IKEv2 message", () => {
  it("datagrams of 0 to 27 octets are malformed", () => {
    const { peer, status } = atTheDoor();
    for (let octets = 0; octets < 28; octets++)
      for (const fill of [0, 0x20, 0xff]) expect(peer.raw(new Uint8Array(octets).fill(fill))).toBeUndefined();
    expect(status()).toMatchObject({ sas: 0, drops: { malformed: 84 } });
  });

  it("a length that is not the datagram's, from 0 to 4 GiB, is malformed", () => {
    const { peer, status } = established();
    const request = peer.seal(X.INFORMATIONAL, []);
    const lengths = [0, 1, 27, 28, request.length - 1, request.length + 1, 65_536, 2 ** 31, 2 ** 32 - 1];
    for (const length of lengths) {
      const bytes = Buffer.from(request);
      bytes.writeUInt32BE(length, 24);
      expect(peer.raw(bytes)).toBeUndefined();
    }
    expect(status().drops["malformed"]).toBe(lengths.length);
    expect(peer.raw(request)).toBeDefined();
  });

  it.each(Array.from({ length: 16 }, (_, version) => version).filter((version) => version !== 2))(
    "major version %d is not understood, and only a newer one is told so",
    (version) => {
      const { peer, status } = atTheDoor();
      const header = Buffer.alloc(28);
      header.set([1, 2, 3, 4, 5, 6, 7, 8]);
      header.set([P.SA, version << 4, X.IKE_SA_INIT, 0x08], 16);
      header.writeUInt32BE(28, 24);
      const answer = peer.raw(header);
      expect(answer !== undefined).toBe(version > 2);
      if (answer) expect(answer.length).toBeLessThanOrEqual(36);
      expect(status()).toMatchObject({ sas: 0, drops: { wrong_version: 1 } });
    },
  );

  it("IKEv1 datagrams, whole and damaged, leave no state and get no answer", () => {
    const { peer, status } = atTheDoor();
    let sent = 0;
    for (const exchange of [2, 4, 5, 6, 32, 33]) {
      for (const next of [1, 4, 5, 8, 11, 12, 13, 20, 130, 132]) {
        for (const body of [[], [0], [0, 0, 0, 4], [0, 0, 0, 3], [1, 0, 255, 255], new Array(80).fill(1)]) {
          const datagram = Buffer.from([...new Array(28).fill(7), ...body]);
          datagram.set([next, 0x10, exchange, 0], 16);
          datagram.writeUInt32BE(datagram.length, 24);
          expect(peer.raw(datagram)).toBeUndefined();
          sent++;
        }
      }
    }
    expect(status()).toMatchObject({ sas: 0, halfOpen: 0, drops: { wrong_version: sent } });
  });
});

describe("an initiator that has not proven its address", () => {
  it("is answered once for each time it is asked, and never by ourselves, with no more than thrice its octets", () => {
    const { peer, sim, b } = atTheDoor();
    const request = peer.init()!;
    const asked = peer.initBytes;
    expect(request.datagram.length).toBeLessThan(3 * asked.length);
    peer.received.length = 0;
    sim.run(120_000);
    expect(peer.received).toEqual([]);
    expectNothingLeft(b);
    expect(peer.raw(asked)).toBeDefined();
    expect(peer.received).toEqual([]);
  });
});

describe("payloads of an authentication that we do not do", () => {
  const big = (octets: number, fill: number) => new Array(octets).fill(fill);
  const certificates = [
    ["empty", []],
    ["of encoding 0", [0]],
    ["X.509 with nothing in it", [4]],
    ["X.509 of rubbish", [4, ...big(600, 0x30)]],
    // SEQUENCE of a SubjectPublicKeyInfo whose exponent is 0, and one whose modulus is one octet.
    ["a raw RSA key with exponent 0", [11, 0x30, 0x08, 0x02, 0x01, 0x0f, 0x02, 0x01, 0x00, 0, 0]],
    [
      "a raw RSA key with exponent 1 and an even modulus",
      [11, 0x30, 0x06, 0x02, 0x01, 0x10, 0x02, 0x01, 0x01],
    ],
    ["a hash and URL to fetch", [12, ...big(20, 1), ...Buffer.from("http://192.0.2.66/never")]],
    ["a CRL", [7, ...big(300, 0xa0)]],
  ] as const;
  it.each(certificates)("certificates are not looked into: %s", (_, body) => {
    const { peer, sim, b } = atTheDoor();
    peer.init();
    peer.auth((payloads) => [raw(P.CERT, ...body), ...payloads]);
    // An empty body is no CERT payload at all; anything else is one that nobody reads.
    expect(tunnelStatus(sim, b).state).toBe(body.length === 0 ? "waiting" : "up");
  });

  it.each([[], [1, 2, 3], [0, 2, 0], big(2000, 0)])(
    "SIGNATURE_HASH_ALGORITHMS of any content changes nothing",
    (...data) => {
      const { peer, sim, b } = atTheDoor();
      peer.init((p) => [...p, notification(N.SIGNATURE_HASH_ALGORITHMS, Uint8Array.from(data.flat()))]);
      peer.auth();
      expect(tunnelStatus(sim, b).state).toBe("up");
    },
  );

  it.each([
    ["success", [3, 1, 0, 4]],
    ["a failure of one octet", [4]],
    ["a length that is not its own", [1, 1, 255, 255, 4]],
    ["MSCHAPv2 failure", [1, 1, 0, 6, 26, 4]],
    ["TTLS with a long AVP", [1, 1, 0, 10, 21, 0x80, 255, 255, 255, 255]],
    ["SIM with an empty attribute", [1, 1, 0, 8, 18, 10, 0, 0]],
  ])("EAP payloads beside an honest AUTH are ignored, and alone they open nothing: %s", (_, body) => {
    const honest = atTheDoor();
    honest.peer.init();
    honest.peer.auth((payloads) => [...payloads, raw(P.EAP, ...body)]);
    expect(tunnelStatus(honest.sim, honest.b).state).toBe("up");
    const alone = atTheDoor();
    alone.peer.init();
    const answer = alone.peer.auth((payloads) => [...without("AUTH")(payloads), raw(P.EAP, ...body)]);
    expect(notifyOf(answer)).toBe(N.AUTHENTICATION_FAILED);
    expectNothingLeft(alone.b);
  });
});

describe("proposals", () => {
  it.each([1, 3, 4, 8, 9, 65_535])(
    "with a PRF that no connection names (CVE-2018-10811), %d: refused",
    (id) => {
      const { peer } = atTheDoor();
      const change: Change = (payloads) =>
        payloads.map((p) =>
          p.kind === "SA"
            ? {
                ...p,
                proposals: p.proposals.map((x) => ({
                  ...x,
                  transforms: x.transforms.map((t) => (t.type === 2 ? { ...t, id } : t)),
                })),
              }
            : p,
        );
      expect(notifyOf(peer.init(change))).toBe(N.NO_PROPOSAL_CHOSEN);
    },
  );
});

describe("TS payloads with bad lengths and counts (CVE-2023-23009)", () => {
  const v4 = [7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255];
  const bodies: readonly (readonly [string, readonly number[]])[] = [
    ["nothing", []],
    ["a count alone", [1]],
    ["no selectors and no room for them", [0, 0, 0, 0]],
    ["one promised, none there", [1, 0, 0, 0]],
    ["255 promised, one there", [255, 0, 0, 0, ...v4]],
    ["one promised, two there", [1, 0, 0, 0, ...v4, ...v4]],
    ["a selector of length 0", [1, 0, 0, 0, 7, 0, 0, 0, ...v4.slice(4)]],
    ["a selector of length 4", [1, 0, 0, 0, 7, 0, 0, 4]],
    ["a selector longer than the payload", [1, 0, 0, 0, 7, 0, 255, 255, ...v4.slice(4)]],
    ["IPv4 in the length of IPv6", [1, 0, 0, 0, 7, 0, 0, 40, ...new Array(36).fill(0)]],
    ["IPv6 in the length of IPv4", [1, 0, 0, 0, 8, ...v4.slice(1)]],
    ["an end before its start", [1, 0, 0, 0, ...v4.slice(0, 8), 10, 0, 0, 9, 10, 0, 0, 1]],
    ["ports the wrong way round", [1, 0, 0, 0, 7, 17, 0, 16, 0, 9, 0, 1, ...v4.slice(8)]],
  ];
  it.each(bodies)("%s: no CHILD_SA, in IKE_AUTH and in CREATE_CHILD_SA", (_, body) => {
    for (const kind of ["TSi", "TSr"] as const) {
      const bad: Change = (payloads) => payloads.map((p) => (p.kind === kind ? raw(P[kind], ...body) : p));
      const auth = atTheDoor();
      auth.peer.init();
      const answer = auth.peer.auth(bad)!;
      expect(findPayload(answer.payloads, "SA")).toBeUndefined();
      expectNothingLeft(auth.b);
      const later = established();
      const before = later.b.installed.length;
      const rekey = later.peer.request(X.CREATE_CHILD_SA, bad(newChild(later.peer)))!;
      expect(findPayload(rekey.payloads, "SA")).toBeUndefined();
      expect(later.b.installed.length).toBeLessThanOrEqual(before);
    }
  });
});

const newChild = (peer: CraftedPeer, spi = 0xc0ffee01): PlainPayload[] => [
  { kind: "SA", proposals: [peer.espProposal(spi)] },
  { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
  ...peer.authPayloads().slice(3),
];

describe("CREATE_CHILD_SA: mandatory payloads removed, doubled or renumbered", () => {
  const rekeyed = (peer: CraftedPeer): PlainPayload[] => [
    {
      kind: "N",
      protocolId: ProtocolId.code.ESP,
      spi: espSpiBytes(0xc0ffee00),
      type: N.REKEY_SA,
      data: new Uint8Array(0),
    },
    ...newChild(peer),
  ];
  const ikeRekey = (peer: CraftedPeer): PlainPayload[] => [
    { kind: "SA", proposals: [peer.ikeProposal({ spi: new Uint8Array(8).fill(7) })] },
    { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
    { kind: "KE", dhGroup: 31, data: peer.keyPair.publicValue },
  ];
  const changes = (kind: PlainPayload["kind"]): readonly Change[] => [
    without(kind),
    (p) => [...p, p.find((x) => x.kind === kind)!],
    renumbered(kind, 200),
    renumbered(kind, 1),
  ];
  it.each([
    ["a new CHILD_SA", newChild, ["SA", "Nonce", "TSi", "TSr"]],
    ["a rekeyed CHILD_SA", rekeyed, ["SA", "Nonce", "TSi", "TSr"]],
    ["a rekeyed IKE SA", ikeRekey, ["SA", "Nonce", "KE"]],
  ] as const)("%s: INVALID_SYNTAX and the end of the IKE SA", (_, build, kinds) => {
    for (const kind of kinds) {
      for (const change of changes(kind)) {
        const { peer, sim, b } = established();
        const answer = peer.request(X.CREATE_CHILD_SA, change(build(peer)));
        expect(notifyOf(answer)).toBe(N.INVALID_SYNTAX);
        expectNothingLeft(b);
        expect(tunnelStatus(sim, b).ike).toBeUndefined();
      }
    }
  });
});

describe("key exchange data (CVE-2015-3240, CVE-2023-41913)", () => {
  it("modp2048: p − 1, p and p + 1 are dropped", () => {
    for (const delta of [-1n, 0n, 1n]) {
      const data = Buffer.from((modpGroupPrime(2048) + delta).toString(16), "hex");
      const options = { both: { ike: ["aes128gcm16-prfsha256-modp2048"] } };
      const { peer, status } = atTheDoor(options, DhGroup.code.MODP_2048);
      expect(peer.init((p) => p.map((x) => (x.kind === "KE" ? { ...x, data } : x)))).toBeUndefined();
      expect(status()).toMatchObject({ halfOpen: 0, drops: { key_exchange: 1 } });
    }
  });

  it.each([
    ["zeros", new Uint8Array(32)],
    ["one", Uint8Array.of(1, ...new Uint8Array(31))],
    ["short", new Uint8Array(31).fill(9)],
    ["long", new Uint8Array(33).fill(9)],
    ["nothing", new Uint8Array(0)],
  ])("in CREATE_CHILD_SA as in IKE_SA_INIT: %s is refused, and the tunnel goes on", (_, data) => {
    const { peer, sim, b, status } = established({ both: { esp: ["aes128gcm16-x25519"] } });
    const ke: PlainPayload = { kind: "KE", dhGroup: 31, data };
    const dh = { type: 4, id: 31 };
    const offered = peer.espProposal(0xc0ffee01);
    const child = newChild(peer).map((p) =>
      p.kind === "SA" ? { ...p, proposals: [{ ...offered, transforms: [...offered.transforms, dh] }] } : p,
    );
    expect(notifyOf(peer.request(X.CREATE_CHILD_SA, [...child, ke]))).toBe(N.NO_PROPOSAL_CHOSEN);
    const ike: PlainPayload[] = [
      { kind: "SA", proposals: [peer.ikeProposal({ spi: new Uint8Array(8).fill(7) })] },
      { kind: "Nonce", nonce: new Uint8Array(32).fill(5) },
      ke,
    ];
    expect(notifyOf(peer.request(X.CREATE_CHILD_SA, ike))).toBe(N.NO_PROPOSAL_CHOSEN);
    expect(status().drops["key_exchange"]).toBe(2);
    expect(b.installed).toHaveLength(2);
    expect(peer.request(X.INFORMATIONAL, [])!.payloads).toEqual([]);
    expect(tunnelStatus(sim, b).state).toBe("up");
  });
});
