import { describe, expect, it } from "vitest";
import { PayloadType } from "../../../src/registry/index.ts";
import {
  decodePayloads,
  encodePayloads,
  espSpiBytes,
  espSpiFrom,
  type IdPayload,
  ikeSpiBytes,
  ikeSpiFrom,
  type PlainPayload,
  restOfIdPayload,
} from "../../../src/wire/index.ts";
import { failure, hex, toHex } from "./helpers.ts";

/** Decodes one payload from its body; the generic header around it is right. */
function decodeBody(kind: keyof typeof PayloadType.code, body: string): PlainPayload {
  const bytes = hex(body);
  const generic = hex("00000000");
  new DataView(generic.buffer).setUint16(2, 4 + bytes.length);
  return decodePayloads(PayloadType.code[kind], Uint8Array.from([...generic, ...bytes]))[0]!;
}

/** Octets of one payload behind its generic header. */
const body = (payload: PlainPayload): string => toHex(encodePayloads([payload]).bytes.subarray(4));

type Refusal = [what: string, kind: keyof typeof PayloadType.code, body: string, field: string];
const refuses = (cases: Refusal[]) =>
  it.each(cases)("refuses %s", (_, kind, octets, field) => {
    expect(failure(() => decodeBody(kind, octets)).field).toBe(`SK > ${field}`);
  });

describe("SA payload (RFC 7296 §3.3)", () => {
  const esp = `
    00 00 002c 01 03 04 03  c0ffee01
    03 00 000c 01 00 0014  800e 0100
    03 00 000c 01 00 0014  800e 0080
    00 00 0008 05 00 0001`;

  it("has the octets of the RFC's diagrams", () => {
    const payload = decodeBody("SA", esp.replace("002c", "002c"));
    expect(payload).toEqual({
      kind: "SA",
      proposals: [
        {
          number: 1,
          protocolId: 3,
          spi: hex("c0ffee01"),
          transforms: [
            { type: 1, id: 20, keyBits: 256 },
            { type: 1, id: 20, keyBits: 128 },
            { type: 5, id: 1 },
          ],
        },
      ],
    });
    expect(body(payload)).toBe(toHex(hex(esp)));
  });

  it("keeps what it does not know, and ignores RESERVED", () => {
    const odd = `
      02 aa 0014 01 c8 00 01   00 aa 000c ee aa 1234  8fff abcd
      00 00 0015 02 00 01 01 99  00 00 000c 01 00 000c  000e 0000`;
    expect(decodeBody("SA", odd)).toEqual({
      kind: "SA",
      proposals: [
        {
          number: 1,
          protocolId: 200,
          spi: hex(""),
          transforms: [
            {
              type: 0xee,
              id: 0x1234,
              unknownAttributes: [{ type: 0xfff, shortForm: true, value: hex("abcd") }],
            },
          ],
        },
        {
          number: 2,
          protocolId: 0,
          spi: hex("99"),
          // A Key Length in the long form is not the attribute of RFC 7296 §3.3.5.
          transforms: [
            { type: 1, id: 12, unknownAttributes: [{ type: 14, shortForm: false, value: hex("") }] },
          ],
        },
      ],
    });
  });

  it("makes a transform with two key lengths unusable instead of guessing", () => {
    const two = "00 00 0018 01 01 00 01  00 00 0010 01 00 000c  800e 0080  800e 0100";
    expect(decodeBody("SA", two)).toMatchObject({
      proposals: [{ transforms: [{ keyBits: 128, unknownAttributes: [{ type: 14, value: hex("0100") }] }] }],
    });
  });

  it("decodes proposals without any transform: what is missing is for the negotiation to say", () => {
    expect(decodeBody("SA", "00 00 0008 01 01 00 00")).toMatchObject({ proposals: [{ transforms: [] }] });
  });

  const t = "00 00 0008 01 00 0014";
  refuses([
    ["no proposal", "SA", "", "SA > Last Substruc"],
    ["a Last Substruc that is neither 0 nor 2", "SA", `03 00 0010 01 03 00 01 ${t}`, "SA > Last Substruc"],
    ["a last proposal that announces another", "SA", `02 00 0010 01 03 00 01 ${t}`, "SA > Last Substruc"],
    ["octets after the last proposal", "SA", `00 00 0010 01 03 00 01 ${t} 00`, "SA"],
    ["a proposal shorter than its header", "SA", "00 00 0007 01 03 00 00", "SA > Proposal Length"],
    ["a proposal of length 0", "SA", "00 00 0000 01 03 00 00", "SA > Proposal Length"],
    ["a proposal longer than the payload", "SA", `00 00 0011 01 03 00 01 ${t}`, "SA > Proposal"],
    ["an SPI longer than its proposal", "SA", "00 00 000a 01 03 04 00 1234", "SA > Proposal > SPI"],
    ["fewer transforms than announced", "SA", `00 00 0010 01 03 00 02 ${t}`, "SA > Proposal > Last Substruc"],
    ["more transforms than announced", "SA", `00 00 0018 01 03 00 01 ${t} ${t}`, "SA > Proposal"],
    ["255 transforms that are not there", "SA", "00 00 0008 01 03 00 ff", "SA > Proposal > Last Substruc"],
    [
      "a transform shorter than its header",
      "SA",
      "00 00 0010 01 03 00 01 00 00 0004 01 00 0014",
      "SA > Proposal > Transform Length",
    ],
    [
      "a transform longer than its proposal",
      "SA",
      "00 00 0010 01 03 00 01 00 00 0009 01 00 0014",
      "SA > Proposal > Transform",
    ],
    [
      "an attribute cut short",
      "SA",
      "00 00 0012 01 03 00 01 00 00 000a 01 00 0014 800e",
      "SA > Proposal > Transform > Attribute Value",
    ],
    [
      "an attribute longer than its transform",
      "SA",
      "00 00 0014 01 03 00 01 00 00 000c 01 00 0014 000e ffff",
      "SA > Proposal > Transform > Attribute Value",
    ],
  ]);

  it("refuses more than 1024 transforms, before it has read them", () => {
    const transforms = Array.from({ length: 255 }, () => ({ type: 1, id: 20 }));
    const proposals = Array.from({ length: 5 }, (_, i) => ({
      number: i + 1,
      protocolId: 3,
      spi: hex(""),
      transforms,
    }));
    const { first, bytes } = encodePayloads([{ kind: "SA", proposals }]);
    expect(failure(() => decodePayloads(first, bytes)).field).toBe("SK > SA > Proposal > Num Transforms");
    const four = encodePayloads([{ kind: "SA", proposals: proposals.slice(0, 4) }]);
    expect(decodePayloads(four.first, four.bytes)).toMatchObject([{ proposals: { length: 4 } }]);
  });
});

describe("KE payload (RFC 7296 §3.4)", () => {
  it("agrees with the example of RFC 5903 §8.1, and ignores RESERVED", () => {
    const x = "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180";
    expect(decodeBody("KE", `0013ffff${x}`)).toEqual({ kind: "KE", dhGroup: 19, data: hex(x) });
    expect(body({ kind: "KE", dhGroup: 19, data: hex(x) })).toBe(`00130000${x}`);
  });

  it("leaves empty data and unknown groups to those who know the groups", () => {
    expect(decodeBody("KE", "04010000")).toEqual({ kind: "KE", dhGroup: 1025, data: hex("") });
  });

  refuses([
    ["nothing", "KE", "", "KE > Diffie-Hellman Group Num"],
    ["a group without RESERVED", "KE", "0013", "KE > RESERVED"],
  ]);
});

describe("Nonce payload (RFC 7296 §3.9)", () => {
  it.each([16, 256])("takes %d octets", (length) => {
    expect(decodeBody("Nonce", "ab".repeat(length))).toEqual({
      kind: "Nonce",
      nonce: hex("ab".repeat(length)),
    });
  });
  refuses([
    ["nothing", "Nonce", "", "Nonce > Nonce Data"],
    ["15 octets", "Nonce", "ab".repeat(15), "Nonce > Nonce Data"],
    ["257 octets", "Nonce", "ab".repeat(257), "Nonce > Nonce Data"],
  ]);
});

describe("ID payloads (RFC 7296 §3.5)", () => {
  it("decodes both", () => {
    expect(decodeBody("IDi", "02 000000 77657374")).toEqual({
      kind: "IDi",
      idType: 2,
      data: hex("77657374"),
    });
    expect(decodeBody("IDr", "01 000000 c0000201")).toEqual({
      kind: "IDr",
      idType: 1,
      data: hex("c0000201"),
    });
    expect(decodeBody("IDr", "0b 000000")).toEqual({ kind: "IDr", idType: 11, data: hex("") });
  });

  it("remembers RESERVED as it was sent, because AUTH covers it, and sends zeros", () => {
    const id = decodeBody("IDi", "02 abcdef 77") as IdPayload;
    expect(id.reserved).toBe(0xabcdef);
    expect(toHex(restOfIdPayload(id))).toBe("02abcdef77");
    expect(body(id as IdPayload<"IDi">)).toBe("0200000077");
    expect(toHex(restOfIdPayload({ kind: "IDr", idType: 1, data: hex("c0000201") }))).toBe(
      "01000000c0000201",
    );
  });

  refuses([
    ["nothing", "IDi", "", "IDi > ID Type"],
    ["three octets", "IDi", "020000", "IDi > RESERVED"],
    ["an IPv4 address of 3 octets", "IDi", "01 000000 c00002", "IDi > Identification Data"],
    ["an IPv4 address of 16 octets", "IDr", `01 000000 ${"00".repeat(16)}`, "IDr > Identification Data"],
    ["an IPv6 address of 4 octets", "IDr", "05 000000 c0000201", "IDr > Identification Data"],
    ["an empty IPv6 address", "IDr", "05 000000", "IDr > Identification Data"],
  ]);
});

describe("Notify payload (RFC 7296 §3.10)", () => {
  it("has protocol, SPI size, type, SPI and data in this order", () => {
    const rekey = decodeBody("N", "03 04 4009 c0ffee01 abcd");
    expect(rekey).toEqual({ kind: "N", protocolId: 3, type: 16393, spi: hex("c0ffee01"), data: hex("abcd") });
    expect(body(rekey)).toBe("03044009c0ffee01abcd");
  });

  it.each([0, 1, 2])(
    "decodes REKEY_SA with protocol %d: what it means is for the exchange to say",
    (protocolId) => {
      expect(decodeBody("N", `0${protocolId} 04 4009 c0ffee01`)).toMatchObject({
        protocolId,
        spi: hex("c0ffee01"),
      });
    },
  );

  refuses([
    ["nothing", "N", "", "N > Protocol ID"],
    ["three octets", "N", "030440", "N > Notify Message Type"],
    ["an SPI longer than the payload", "N", "03 05 4009 c0ffee01", "N > SPI"],
  ]);
});

describe("Delete payload (RFC 7296 §3.11)", () => {
  it("has SPIs of ESP, and none for the IKE SA", () => {
    expect(decodeBody("D", "03 04 0002 c0ffee01 00000100")).toEqual({
      kind: "D",
      protocolId: 3,
      spis: [0xc0ffee01, 256],
    });
    expect(decodeBody("D", "01 00 0000")).toEqual({ kind: "D", protocolId: 1, spis: [] });
    expect(body({ kind: "D", protocolId: 1, spis: [] })).toBe("01000000");
    expect(body({ kind: "D", protocolId: 3, spis: [256] })).toBe("0304000100000100");
  });

  refuses([
    ["more SPIs than there are", "D", "03 04 0002 c0ffee01", "D > Num of SPIs"],
    ["fewer SPIs than there are", "D", "03 04 0000 c0ffee01", "D > Num of SPIs"],
    ["65535 SPIs of nothing", "D", "03 00 ffff", "D > SPI Size"],
    ["SPIs of 8 octets", "D", "01 08 0001 0102030405060708", "D > SPI Size"],
    ["three octets", "D", "030400", "D > Num of SPIs"],
  ]);
});

describe("TS payloads (RFC 7296 §3.13)", () => {
  const v4 = "07 06 0010 0050 0051 0a010000 0a01ffff";
  const v6 = `08 00 0028 0000 ffff 20010db8${"00".repeat(12)} 20010db8${"ff".repeat(12)}`;

  it("has the octets of the RFC's diagrams", () => {
    const payload = decodeBody("TSi", `02 000000 ${v4} ${v6}`);
    expect(JSON.parse(JSON.stringify(payload))).toEqual({
      kind: "TSi",
      selectors: [
        { protocol: 6, startPort: 80, endPort: 81, startAddress: "10.1.0.0", endAddress: "10.1.255.255" },
        {
          protocol: 0,
          startPort: 0,
          endPort: 65535,
          startAddress: "2001:db8::",
          endAddress: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        },
      ],
    });
    expect(body(payload)).toBe(toHex(hex(`02000000${v4}${v6}`)));
  });

  it("keeps selectors of unknown types apart", () => {
    expect(decodeBody("TSr", `02 abcdef 0a 07 0006 1234 ${v4}`)).toMatchObject({
      kind: "TSr",
      selectors: [{ protocol: 6 }],
      unknownSelectors: [{ tsType: 10, protocol: 7, body: hex("1234") }],
    });
  });

  it("lets the start port be above the end port: OPAQUE, RFC 4301 §4.4.1.1", () => {
    expect(decodeBody("TSi", "01 000000 07 06 0010 ffff 0000 0a010000 0a01ffff")).toMatchObject({
      selectors: [{ startPort: 65535, endPort: 0 }],
    });
  });

  refuses([
    ["nothing", "TSi", "", "TSi > Number of TSs"],
    ["no selectors", "TSi", "00 000000", "TSi > Number of TSs"],
    ["a selector without being counted", "TSi", `00 000000 ${v4}`, "TSi > Number of TSs"],
    ["more selectors than counted", "TSr", `01 000000 ${v4} ${v4}`, "TSr"],
    ["fewer selectors than counted", "TSr", `02 000000 ${v4}`, "TSr > TS Type"],
    ["255 selectors of nothing", "TSr", "ff 000000", "TSr > TS Type"],
    [
      "a selector of length 0",
      "TSi",
      "01 000000 07 06 0000 0050 0051 0a010000 0a01ffff",
      "TSi > Selector Length",
    ],
    ["a selector of length 3", "TSi", "01 000000 07 06 0003", "TSi > Selector Length"],
    [
      "a selector longer than the payload",
      "TSi",
      "01 000000 07 06 ffff 0050 0051 0a010000 0a01ffff",
      "TSi > Traffic Selector",
    ],
    [
      "an IPv4 selector of 15 octets",
      "TSi",
      "01 000000 07 06 000f 0050 0051 0a010000 0a01ff",
      "TSi > Traffic Selector > Ending Address",
    ],
    [
      "an IPv4 selector of 17 octets",
      "TSi",
      "01 000000 07 06 0011 0050 0051 0a010000 0a01ffff 00",
      "TSi > Traffic Selector",
    ],
    [
      "an IPv6 selector with the length of IPv4",
      "TSi",
      "01 000000 08 06 0010 0050 0051 0a010000 0a01ffff",
      "TSi > Traffic Selector > Starting Address",
    ],
    [
      "a range that ends before it starts",
      "TSi",
      "01 000000 07 06 0010 0050 0051 0a010001 0a010000",
      "TSi > Traffic Selector > Ending Address",
    ],
  ]);
});

describe("payloads that are carried, not interpreted", () => {
  it.each<[PlainPayload, string]>([
    [{ kind: "AUTH", method: 2, data: hex("abcd") }, "02000000abcd"],
    [{ kind: "CERT", encoding: 4, data: hex("3082") }, "043082"],
    [{ kind: "CERTREQ", encoding: 4, data: hex("") }, "04"],
    [{ kind: "V", data: hex("4f45") }, "4f45"],
    [{ kind: "EAP", data: hex("01020004") }, "01020004"],
    [
      {
        kind: "CP",
        cfgType: 1,
        attributes: [
          { type: 1, value: hex("") },
          { type: 3, value: hex("0a000001") },
        ],
      },
      "01000000 00010000 000300040a000001",
    ],
    [{ kind: "unknown", type: 200, critical: false, body: hex("0102") }, "0102"],
  ])("%j", (payload, octets) => {
    expect(body(payload)).toBe(toHex(hex(octets)));
    const { first, bytes } = encodePayloads([payload]);
    expect(decodePayloads(first, bytes)).toEqual([payload]);
  });

  refuses([
    ["AUTH without a method", "AUTH", "", "AUTH > Auth Method"],
    ["CERT without an encoding", "CERT", "", "CERT > Cert Encoding"],
    ["CP with an attribute longer than itself", "CP", "01 000000 0001 0005 0a000001", "CP > Value"],
    ["CP with half an attribute", "CP", "01 000000 000100", "CP > Length"],
  ]);
});

describe("SPIs", () => {
  it("have 8 octets for IKE and 4 for ESP", () => {
    expect(toHex(ikeSpiBytes(0xf1f2f3f4f5f6f7f8n))).toBe("f1f2f3f4f5f6f7f8");
    expect(ikeSpiFrom(hex("00f1f2f3f4f5f6f7f8").subarray(1))).toBe(0xf1f2f3f4f5f6f7f8n);
    expect(toHex(espSpiBytes(0xc0ffee01))).toBe("c0ffee01");
    expect(espSpiFrom(hex("00c0ffee01").subarray(1))).toBe(0xc0ffee01);
    for (const length of [0, 3, 5, 7, 9]) {
      expect(ikeSpiFrom(new Uint8Array(length))).toBeUndefined();
      expect(espSpiFrom(new Uint8Array(length))).toBeUndefined();
    }
  });
});
