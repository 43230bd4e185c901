import { describe, expect, it } from "vitest";
import {
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpNotifyType,
  IsakmpPayloadType,
  IsakmpProtocol,
} from "../../../../src/registry/index.ts";
import {
  attributeNumber,
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  findIsakmpNotify,
  findIsakmpPayload,
  type IsakmpHeader,
  type IsakmpPayload,
  isakmpBody,
  isakmpPayloadsOf,
  MAX_ISAKMP_PAYLOADS,
  numberAttribute,
} from "../../../../src/wire/v1/index.ts";
import { failure, hex, toHex } from "../helpers.ts";

const header: IsakmpHeader = {
  spiInitiator: 0x0102030405060708n,
  spiResponder: 0xf1f2f3f4f5f6f7f8n,
  exchangeType: IsakmpExchangeType.code.IDENTITY_PROTECTION,
  messageId: 0,
};
const headerHex = (first: string, length: number, flags = "00") =>
  `0102030405060708f1f2f3f4f5f6f7f8${first}1002${flags}00000000${length.toString(16).padStart(8, "0")}`;

/** A message of one payload, whose body is `body` in hexadecimal. */
function one(type: number, body: string): Uint8Array {
  const octets = hex(body);
  const length = 4 + octets.length;
  const text = `${headerHex(type.toString(16).padStart(2, "0"), 28 + length)}0000${length.toString(16).padStart(4, "0")}`;
  return hex(text + toHex(octets));
}
const decodeOne = (type: number, body: string) => decodeIsakmp(one(type, body)).payloads[0]!;
const refusal = (type: number, body: string) => failure(() => decodeIsakmp(one(type, body))).message;

const TYPE = IsakmpPayloadType.code;

describe("the ISAKMP header (RFC 2408 §3.1)", () => {
  it("is written and read field by field", () => {
    const datagram = encodeIsakmp({ ...header, messageId: 0xa1b2c3d4, commit: true }, []);
    expect(toHex(datagram)).toBe(
      "0102030405060708f1f2f3f4f5f6f7f8" + "00" + "10" + "02" + "02" + "a1b2c3d4" + "0000001c",
    );
    expect(decodeIsakmpHeader(datagram)).toEqual({
      ...header,
      messageId: 0xa1b2c3d4,
      firstPayload: 0,
      minorVersion: 0,
      encrypted: false,
      commit: true,
      authenticationOnly: false,
      length: 28,
    });
  });

  it.each([
    ["01", { encrypted: true, commit: false, authenticationOnly: false }],
    ["02", { encrypted: false, commit: true, authenticationOnly: false }],
    ["04", { encrypted: false, commit: false, authenticationOnly: true }],
    ["f8", { encrypted: false, commit: false, authenticationOnly: false }],
  ])("flags %s are a bit each, and unknown ones mean nothing", (flags, expected) => {
    expect(decodeIsakmpHeader(hex(headerHex("00", 28, flags)))).toMatchObject(expected);
  });

  it("takes any minor version and no other major version", () => {
    const datagram = hex(headerHex("00", 28));
    datagram[17] = 0x1f;
    expect(decodeIsakmpHeader(datagram).minorVersion).toBe(15);
    for (const major of [0, 2, 3, 15]) {
      datagram[17] = major << 4;
      expect(failure(() => decodeIsakmpHeader(datagram)).message).toBe(
        `ISAKMP header > Version: is ${major}.0, not 1`,
      );
    }
  });

  it("refuses an encrypted message where one in the clear is read", () => {
    expect(failure(() => decodeIsakmp(hex(headerHex("08", 28, "01")))).message).toBe(
      "ISAKMP header > Flags: says that the message is encrypted",
    );
  });
});

describe("chains of payloads (RFC 2408 §3.2)", () => {
  it("ignores RESERVED and keeps each payload's own octets", () => {
    const datagram = hex(`${headerHex("0d", 28 + 6 + 7)}0aff0006abcd00ee0007010203`);
    // The second one is a nonce of three octets, which is no nonce.
    expect(failure(() => decodeIsakmp(datagram)).message).toBe(
      "message > NONCE > Nonce Data: has 3 octets, not 8 to 256",
    );
    datagram[34 - 6] = TYPE.HASH;
    const { payloads } = decodeIsakmp(datagram);
    expect(payloads).toMatchObject([{ kind: "VID" }, { kind: "HASH" }]);
    expect(payloads.map((p) => toHex(p.body))).toEqual(["abcd", "010203"]);
  });

  it("keeps payloads of unknown types, SAK (15) and proposals outside of SA among them", () => {
    for (const type of [TYPE.P, TYPE.T, TYPE.SAK, 19, 99, 255])
      expect(decodeOne(type, "c0ffee")).toEqual({
        kind: "unknown",
        type,
        data: hex("c0ffee"),
        body: hex("c0ffee"),
      });
  });

  it.each([
    [
      "a length less than its own header",
      "0d000003",
      "message > Payload Length: is 3, less than its own header",
    ],
    ["a length beyond the end", "00000009aabbccdd", "message > VID: needs 5 octets, 4 are left"],
    ["octets after the last payload", "00000004aa", "message: 1 octets after the end"],
  ])("refuses %s", (_, tail, message) => {
    const datagram = hex(`${headerHex("0d", 28 + tail.length / 2)}${tail}`);
    expect(failure(() => decodeIsakmp(datagram)).message).toBe(message);
  });

  it(`refuses more than ${MAX_ISAKMP_PAYLOADS} payloads`, () => {
    const vid: IsakmpPayload = { kind: "VID", data: new Uint8Array(0) };
    const chain = (count: number) => encodeIsakmp(header, new Array<IsakmpPayload>(count).fill(vid));
    expect(decodeIsakmp(chain(MAX_ISAKMP_PAYLOADS)).payloads.length).toBe(MAX_ISAKMP_PAYLOADS);
    expect(failure(() => decodeIsakmp(chain(MAX_ISAKMP_PAYLOADS + 1))).message).toContain("more than");
  });

  it("finds payloads by kind and notifications by type", () => {
    const n = (type: number): IsakmpPayload => ({
      kind: "N",
      doi: 1,
      protocol: 1,
      spi: new Uint8Array(16),
      type,
      data: new Uint8Array(0),
    });
    const { payloads } = decodeIsakmp(encodeIsakmp(header, [n(14), n(24578), n(24578)]));
    expect(findIsakmpPayload(payloads, "N")?.type).toBe(14);
    expect(findIsakmpPayload(payloads, "SA")).toBeUndefined();
    expect(isakmpPayloadsOf(payloads, "N").length).toBe(3);
    expect(findIsakmpNotify(payloads, IsakmpNotifyType.code.INITIAL_CONTACT)).toBe(payloads[1]);
    expect(findIsakmpNotify(payloads, 1)).toBeUndefined();
  });
});

describe("SA payloads (RFC 2408 §3.4 to §3.6)", () => {
  // DOI 1, identity only; proposal 1, ISAKMP, 1 transform: 3DES, SHA, group 2, PSK, 86400 s in four octets.
  const sa =
    "00000001" +
    "00000001" +
    "0000002c01010001" +
    "0000002401010000" +
    "80010005800200028004000280030001800b0001000c000400015180";

  it("are read as Wireshark reads them, and written so", () => {
    const payload = decodeOne(TYPE.SA, sa);
    expect(payload).toMatchObject({ kind: "SA", doi: 1, situation: 1 });
    if (payload.kind !== "SA") throw new Error("not an SA");
    const [proposal] = payload.proposals;
    expect(proposal).toMatchObject({ number: 1, protocol: IsakmpProtocol.code.PROTO_ISAKMP });
    expect(proposal!.transforms.length).toBe(1);
    const { attributes, ...transform } = proposal!.transforms[0]!;
    expect(transform).toEqual({ number: 1, id: 1 });
    expect(attributes.map(({ type }) => type)).toEqual([1, 2, 4, 3, 11, 12]);
    expect(attributes.map(attributeNumber)).toEqual([5, 2, 2, 1, 1, 86_400]);
    expect(toHex(isakmpBody(payload))).toBe(sa);
  });

  it("numbers take the short form where they fit", () => {
    expect(numberAttribute(12, 65_535)).toEqual({ type: 12, value: 65_535 });
    expect(numberAttribute(12, 65_536)).toEqual({ type: 12, value: hex("00010000") });
    expect(attributeNumber({ type: 12, value: hex("0000000000015180") })).toBe(86_400);
    expect(attributeNumber({ type: 12, value: hex("ffffffffffffffff") })).toBeUndefined();
    expect(attributeNumber({ type: 12, value: hex("") })).toBeUndefined();
  });

  it.each([
    ["another DOI", sa.replace(/^00000001/, "00000002"), "SA > DOI: is 2, not that of IPsec"],
    [
      "labels",
      sa.replace(/^0000000100000001/, "0000000100000003"),
      "SA > Situation: is 3, not SIT_IDENTITY_ONLY",
    ],
    ["no proposal", sa.slice(0, 16), "SA > Next Payload: needs 1 octets, 0 are left"],
    [
      "the next proposal announced as a transform",
      sa.replace("0000002c", "0300002c"),
      "SA > Next Payload: is 3, not 0 or 2",
    ],
    [
      "a proposal that is not there",
      sa.replace("0000002c", "0200002c"),
      "SA > Next Payload: needs 1 octets, 0 are left",
    ],
    [
      "a proposal shorter than its header",
      sa.replace("0000002c", "00000007"),
      "SA > Proposal Length: is 7, less than its own header",
    ],
    [
      "a proposal longer than the payload",
      sa.replace("0000002c", "0000002d"),
      "SA > Proposal: needs 41 octets, 40 are left",
    ],
    [
      "fewer transforms than counted",
      sa.replace("01010001", "01010002"),
      "SA > Proposal > Next Payload: is 0 in transform 1 of 2",
    ],
    [
      "more transforms than counted",
      sa.replace("01010001", "01010000"),
      "SA > Proposal: 36 octets after the end",
    ],
    [
      "an SPI longer than the proposal",
      sa.replace("01010001", "0101ff01"),
      "SA > Proposal > SPI: needs 255 octets, 36 are left",
    ],
    [
      "a transform shorter than its header",
      sa.replace("00000024", "00000004"),
      "SA > Proposal > Transform Length: is 4, less than its own header",
    ],
    [
      "an attribute cut short",
      sa.replace("000c0004", "000c0005"),
      "SA > Proposal > Transform > Attribute Value: needs 5 octets, 4 are left",
    ],
  ])("with %s are refused", (_, body, message) => {
    expect(refusal(TYPE.SA, body)).toBe(`message > ${message}`);
  });

  it("with too many transforms or attributes are refused", () => {
    const transform = { number: 1, id: 1, attributes: [] };
    const proposal = (count: number) => ({
      number: 1,
      protocol: 1,
      spi: new Uint8Array(0),
      transforms: new Array(count).fill(transform),
    });
    const encoded = (proposals: ReturnType<typeof proposal>[]) =>
      encodeIsakmp(header, [{ kind: "SA", doi: 1, situation: 1, proposals }]);
    expect(decodeIsakmp(encoded(new Array(4).fill(proposal(255)))).payloads.length).toBe(1);
    expect(failure(() => decodeIsakmp(encoded(new Array(5).fill(proposal(255))))).message).toContain(
      "more than 1024",
    );
    // Proposals without transforms count too.
    expect(failure(() => decodeIsakmp(encoded(new Array(1025).fill(proposal(0))))).message).toContain(
      "more than 1024",
    );
    const attributes = new Array(65).fill({ type: 1, value: 1 });
    const many = { ...proposal(1), transforms: [{ ...transform, attributes }] };
    expect(failure(() => decodeIsakmp(encoded([many]))).message).toContain("more than 64 attributes");
  });

  it("our own mistakes are RangeErrors", () => {
    const encode = (attribute: { type: number; value: number }) =>
      isakmpBody({
        kind: "SA",
        doi: 1,
        situation: 1,
        proposals: [
          {
            number: 1,
            protocol: 1,
            spi: new Uint8Array(0),
            transforms: [{ number: 1, id: 1, attributes: [attribute] }],
          },
        ],
      });
    expect(() => encode({ type: 0x8000, value: 1 })).toThrow(RangeError);
    expect(() => encode({ type: 1, value: 0x10000 })).toThrow(RangeError);
  });
});

describe("the other payloads", () => {
  it("ID (RFC 2407 §4.6.2)", () => {
    expect(decodeOne(TYPE.ID, "011101f4c0000201")).toMatchObject({
      kind: "ID",
      idType: IsakmpIdType.code.ID_IPV4_ADDR,
      protocol: 17,
      port: 500,
      data: hex("c0000201"),
    });
    expect(decodeOne(TYPE.ID, "04000000" + "0a010000" + "ffff0000")).toMatchObject({ idType: 4 });
    // CVE-2013-6075: what a DN holds is nobody's business here, not even nothing.
    expect(decodeOne(TYPE.ID, "09000000")).toMatchObject({ kind: "ID", data: hex("") });
  });

  it.each([
    [1, 4],
    [4, 8],
    [7, 8],
    [5, 16],
    [6, 32],
    [8, 32],
  ])("an ID of type %d has %d octets", (idType, length) => {
    const body = (n: number) => `0${idType}000000${"00".repeat(n)}`;
    expect(decodeOne(TYPE.ID, body(length)).kind).toBe("ID");
    for (const wrong of [0, 1, length - 1, length + 1, 64])
      expect(refusal(TYPE.ID, body(wrong))).toContain(`has ${wrong} octets, an ID_IPV`);
  });

  it("notifications (RFC 2408 §3.14)", () => {
    const spi = "0102030405060708f1f2f3f4f5f6f7f8";
    expect(decodeOne(TYPE.N, `00000001${"01108d28"}${spi}0000002a`)).toMatchObject({
      kind: "N",
      doi: 1,
      protocol: 1,
      type: IsakmpNotifyType.code.R_U_THERE,
      spi: hex(spi),
      data: hex("0000002a"),
    });
    expect(refusal(TYPE.N, "0000000101118d28")).toBe("message > N > SPI: needs 17 octets, 0 are left");
  });

  it("deletes (RFC 2408 §3.15)", () => {
    const payload = decodeOne(TYPE.D, "00000001" + "03040002" + "1111111122222222");
    expect(payload).toMatchObject({
      kind: "D",
      doi: 1,
      protocol: 3,
      spis: [hex("11111111"), hex("22222222")],
    });
    expect(decodeOne(TYPE.D, "00000001" + "03040000")).toMatchObject({ spis: [] });
    expect(refusal(TYPE.D, "00000001" + "0304ffff" + "11111111")).toContain(
      "is 65535 of 4 octets, but 4 octets follow",
    );
    // Otherwise a count without octets would cost 65535 objects.
    expect(refusal(TYPE.D, "00000001" + "0300ffff")).toBe("message > D > SPI Size: is 0");
    expect(() => isakmpBody({ kind: "D", doi: 1, protocol: 3, spis: [hex("11"), hex("2222")] })).toThrow(
      RangeError,
    );
  });

  it("nonces have 8 to 256 octets (RFC 2409 §5)", () => {
    for (const length of [8, 256]) expect(decodeOne(TYPE.NONCE, "ab".repeat(length)).kind).toBe("NONCE");
    for (const length of [0, 7, 257])
      expect(refusal(TYPE.NONCE, "ab".repeat(length))).toContain(`has ${length} octets`);
    expect(() => isakmpBody({ kind: "NONCE", nonce: hex("ab") })).toThrow(RangeError);
  });

  it("NAT-D and NAT-OA under the numbers of RFC 3947 and of its drafts", () => {
    for (const draft of [false, true]) {
      const suffix = draft ? " (draft)" : "";
      const d = TYPE[`NAT-D${suffix}` as "NAT-D"];
      const oa = TYPE[`NAT-OA${suffix}` as "NAT-OA"];
      expect([d, oa]).toEqual(draft ? [130, 131] : [20, 21]);
      expect(decodeOne(d, "c0ffee")).toMatchObject({ kind: "NAT-D", draft, hash: hex("c0ffee") });
      const address = decodeOne(oa, "01000000c0000201");
      expect(address).toMatchObject({ kind: "NAT-OA", draft, address: hex("c0000201") });
      expect(toHex(encodeIsakmp(header, [address]))).toBe(toHex(one(oa, "01000000c0000201")));
    }
    expect(refusal(TYPE["NAT-OA"], "01000000c00002")).toContain("needs 4 octets, 3 are left");
    expect(refusal(TYPE["NAT-OA"], "01000000c000020100")).toContain("1 octets after the end");
    expect(refusal(TYPE["NAT-OA"], "02000000c0000201")).toContain("is ID_FQDN, not an address");
    expect(() => isakmpBody({ kind: "NAT-OA", draft: false, address: hex("c0") })).toThrow(RangeError);
  });

  it("fragments ([MS-IKEE] §2.2.3.1)", () => {
    expect(decodeOne(TYPE.FRAGMENT, "0007" + "02" + "ff" + "c0ffee")).toMatchObject({
      kind: "FRAGMENT",
      id: 7,
      number: 2,
      last: true,
      data: hex("c0ffee"),
    });
    expect(refusal(TYPE.FRAGMENT, "0007" + "00" + "01" + "c0ffee")).toContain("Fragment_Number: is 0");
    // CVE-2016-1287 and CVE-2013-6076: a piece of nothing.
    expect(refusal(TYPE.FRAGMENT, "0007" + "01" + "01")).toContain("Fragment_Data: is empty");
    expect(refusal(TYPE.FRAGMENT, "000701")).toContain("Flags: needs 1 octets, 0 are left");
  });
});
