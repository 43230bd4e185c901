import { describe, expect, it } from "vitest";
import { WireError } from "../../../src/core/errors.ts";
import {
  decodeMessage,
  decodePayloads,
  encodeMessage,
  findNotify,
  findPayload,
  findUnknownCritical,
  MAX_PAYLOADS,
  openSk,
  type PlainPayload,
  Reader,
  type SkOpener,
  type SkSealer,
  sealMessage,
  Writer,
} from "../../../src/wire/index.ts";
import { failure, header, hex, toHex } from "./helpers.ts";

/** A message around `chain`, its first payload being of `firstType`. */
function datagram(firstType: number, chain: string): Uint8Array {
  const bytes = Uint8Array.from([...encodeMessage({ header, payloads: [] }), ...hex(chain)]);
  bytes[16] = firstType;
  new DataView(bytes.buffer).setUint32(24, bytes.length);
  return bytes;
}

const nonce = `${"ab".repeat(16)}`;

describe("the chain of payloads (RFC 7296 §3.2)", () => {
  it("decodes an empty message: liveness and its answer are that", () => {
    expect(decodeMessage(encodeMessage({ header, payloads: [] })).payloads).toEqual([]);
  });

  it("follows Next Payload, and finds what is asked for", () => {
    const { payloads } = decodeMessage(
      datagram(40, `2900 0014 ${nonce} 2900 0008 00004004 0000 0008 00004005`),
    );
    expect(payloads.map((p) => p.kind)).toEqual(["Nonce", "N", "N"]);
    expect(findPayload(payloads, "Nonce")!.nonce).toEqual(hex(nonce));
    expect(findNotify(payloads, 16389)).toBe(payloads[2]);
    expect(findPayload(payloads, "SA")).toBeUndefined();
    expect(findNotify(payloads, 16390)).toBeUndefined();
  });

  it("returns views of the datagram", () => {
    const bytes = datagram(40, `0000 0014 ${nonce}`);
    const { payloads } = decodeMessage(bytes);
    expect(findPayload(payloads, "Nonce")!.nonce.buffer).toBe(bytes.buffer);
  });

  it.each([
    ["a payload that is announced and missing", 40, "", "message > Next Payload"],
    ["half a generic header", 40, "0000", "message > Payload Length"],
    ["a payload of length 0: it would be read for ever", 43, "2b00 0000", "message > Payload Length"],
    ["a payload of length 3", 43, "0000 0003", "message > Payload Length"],
    ["a payload longer than the message", 43, "0000 0005", "message > V"],
    ["a payload of 65535 octets that are not there", 43, "0000 ffff", "message > V"],
    ["octets behind the last payload", 43, "0000 0004 00", "message"],
    ["octets in a message without payloads", 0, "00", "message"],
    ["a chain that ends in a payload that is missing", 43, "2b00 0004", "message > Next Payload"],
  ])("refuses %s", (_, firstType, chain, field) => {
    expect(failure(() => decodeMessage(datagram(firstType, chain))).field).toBe(field);
  });

  it("keeps unknown payloads, and finds the critical one", () => {
    const { payloads } = decodeMessage(datagram(200, "c900 0005 01  0080 0006 0203"));
    expect(payloads).toEqual([
      { kind: "unknown", type: 200, critical: false, body: hex("01") },
      { kind: "unknown", type: 201, critical: true, body: hex("0203") },
    ]);
    expect(findUnknownCritical(payloads)).toBe(payloads[1]);
    expect(findUnknownCritical(payloads.slice(0, 1))).toBeUndefined();
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 20, 21, 132])(
    "treats payload type %d of IKEv1 as unknown",
    (type) => {
      const { payloads } = decodeMessage(datagram(type, "0000 0008 01020304"));
      expect(payloads).toMatchObject([{ kind: "unknown", type }]);
    },
  );

  it("ignores the critical bit of payloads that are known (RFC 7296 §2.5)", () => {
    const { payloads } = decodeMessage(datagram(43, "0080 0004"));
    expect(payloads).toEqual([{ kind: "V", data: hex("") }]);
  });

  it(`takes ${MAX_PAYLOADS} payloads and refuses one more, whatever the datagram holds`, () => {
    const chain = (count: number) => `${"2b000004".repeat(count - 1)}00000004`;
    expect(decodeMessage(datagram(43, chain(MAX_PAYLOADS))).payloads.length).toBe(MAX_PAYLOADS);
    expect(failure(() => decodeMessage(datagram(43, chain(MAX_PAYLOADS + 1)))).message).toMatch(
      /more than 256/,
    );
    expect(failure(() => decodeMessage(datagram(43, chain(16000)))).message).toMatch(/more than 256/);
  });
});

describe("Encrypted Fragment payload (RFC 7383 §2.5)", () => {
  it.each([1, 2, 11, 12, 13, 20, 21, 50, 100, 199, 200])("is found behind %d unknown payloads", (count) => {
    const chain = `${"c8000004".repeat(count - 1)}35000004  2100 000c 0001 0002 deadbeef`;
    const bytes = datagram(200, chain);
    const { payloads } = decodeMessage(bytes);
    expect(payloads.length).toBe(count + 1);
    expect(payloads.at(-1)).toEqual({
      kind: "SKF",
      firstPayload: 33,
      fragmentNumber: 1,
      totalFragments: 2,
      body: hex("deadbeef"),
      bodyOffset: bytes.length - 4,
    });
  });

  it.each([
    ["fragment 0", "2100 000c 0000 0002 deadbeef"],
    ["fragment 3 of 2", "2100 000c 0003 0002 deadbeef"],
    ["fragment 0 of 0", "2100 000c 0000 0000 deadbeef"],
    ["no Total Fragments", "2100 0006 0001"],
    ["anything behind it", "2100 000c 0001 0001 deadbeef 00"],
  ])("refuses %s", (_, chain) => {
    expect(() => decodeMessage(datagram(53, chain))).toThrow(WireError);
  });
});

describe("Encrypted payload (RFC 7296 §3.14)", () => {
  const plain = (opened: Uint8Array | undefined): SkSealer & SkOpener => ({
    ivBytes: 8,
    icvBytes: 16,
    block: 4,
    seal: () => undefined,
    open: () => opened,
  });
  const liveness = (body: number) => {
    const bytes = datagram(46, `2900 ${(4 + body).toString(16).padStart(4, "0")} ${"00".repeat(body)}`);
    return [bytes, decodeMessage(bytes)] as const;
  };

  it("stays closed: its body, where it starts, and the type of the first payload inside", () => {
    const [bytes, message] = liveness(28);
    expect(message.payloads).toEqual([
      { kind: "SK", firstPayload: 41, bodyOffset: 32, body: bytes.subarray(32) },
    ]);
  });

  it("refuses anything behind it, because it is always the last payload", () => {
    expect(failure(() => decodeMessage(datagram(46, "2900 0008 00000000 0000 0008 00004004"))).field).toBe(
      "message",
    );
  });

  it("refuses an Encrypted payload inside another", () => {
    expect(failure(() => decodePayloads(46, hex("0000000400"))).field).toBe("SK > SK");
    expect(failure(() => decodePayloads(53, hex("0000000400"))).field).toBe("SK > SKF");
  });

  it("asks no cipher about a body that cannot be whole", () => {
    const never: SkOpener = {
      ...plain(undefined),
      open: () => {
        throw new Error("asked");
      },
    };
    for (const length of [0, 1, 8, 23, 24, 25, 26, 27, 29]) {
      const [bytes, message] = liveness(length);
      expect(openSk(bytes, message, never)).toBeUndefined();
    }
    const [bytes, message] = liveness(28);
    expect(() => openSk(bytes, message, never)).toThrow("asked");
  });

  it("gives nothing when there is no SK payload, or its ICV is wrong", () => {
    const clear = encodeMessage({ header, payloads: [] });
    expect(openSk(clear, decodeMessage(clear), plain(hex("00")))).toBeUndefined();
    const [bytes, message] = liveness(28);
    expect(openSk(bytes, message, plain(undefined))).toBeUndefined();
  });

  it("is malformed when the padding is longer than the plaintext, or the inside does not decode", () => {
    const [bytes, message] = liveness(28);
    expect(failure(() => openSk(bytes, message, plain(hex("00000004")))).field).toBe("SK > Pad Length");
    expect(failure(() => openSk(bytes, message, plain(hex("000000ff")))).field).toBe("SK > Pad Length");
    // All padding: the payload that the header announces is missing.
    expect(failure(() => openSk(bytes, message, plain(hex("00000003")))).field).toBe("SK > Next Payload");
    expect(failure(() => openSk(bytes, message, plain(hex("00000008 00004004 00 00")))).field).toBe("SK");
    expect(openSk(bytes, message, plain(hex("00000008 00004004 abcdef03")))).toMatchObject([
      { kind: "N", type: 16388 },
    ]);
  });

  it.each([
    [[], 1, 0],
    [[], 16, 15],
    [[{ kind: "V", data: hex("") }], 16, 11],
    [[{ kind: "V", data: hex("00".repeat(11)) }], 16, 0],
    [[{ kind: "V", data: hex("00".repeat(12)) }], 16, 15],
    [[{ kind: "V", data: hex("00".repeat(12)) }], 1, 0],
  ] as [PlainPayload[], number, number][])(
    "pads %j to blocks of %d with %d octets",
    (payloads, block, padLength) => {
      let sealed = new Uint8Array(0);
      const sealer: SkSealer = {
        ...plain(undefined),
        block,
        seal: (message) => (sealed = Uint8Array.from(message)),
      };
      const message = sealMessage(header, payloads, sealer);
      expect(message).toEqual(sealed);
      expect(message[16]).toBe(46);
      expect(message[28]).toBe(payloads.length > 0 ? 43 : 0);
      expect(message[message.length - 17]).toBe(padLength);
      expect((message.length - 28 - 4 - 8 - 16) % block).toBe(0);
      expect(decodeMessage(message).payloads).toMatchObject([{ kind: "SK", bodyOffset: 32 }]);
    },
  );
});

describe("cursors", () => {
  it("say where a read failed, outermost first", () => {
    const r = new Reader(hex("0102030405"), "outer");
    expect(r.u16("a")).toBe(0x0102);
    const inner = r.sub(2, "inner");
    expect(failure(() => inner.u32("number"))).toMatchObject({
      field: "outer > inner > number",
      message: "outer > inner > number: needs 4 octets, 2 are left",
    });
    expect(failure(() => inner.u64("wide")).field).toBe("outer > inner > wide");
    expect(failure(() => inner.end()).message).toBe("outer > inner: 2 octets after the end");
    expect(failure(() => r.sub(2, "next")).field).toBe("outer > next");
    expect(toHex(r.rest("rest"))).toBe("05");
    r.end();
  });

  it("read unsigned numbers", () => {
    const r = new Reader(hex("ff ffff ffffff ffffffff ffffffffffffffff"), "r");
    expect([r.u8("a"), r.u16("b"), r.u24("c"), r.u32("d")]).toEqual([255, 65535, 0xffffff, 0xffffffff]);
    expect(r.u64("e")).toBe(0xffffffffffffffffn);
  });

  it("grow while writing, and write what was reserved last", () => {
    const w = new Writer(1);
    w.u8(1).u16(0x0203).u24(0x040506).u32(0x0708090a).u64(0x0b0c0d0e0f101112n).bytes(hex("1314")).zeros(2);
    w.patchU8(0, 0xff);
    w.patchU16(1, 0xfefd);
    w.patchU32(6, 0xf0000001);
    expect(toHex(w.done())).toBe("fffefd040506f00000010b0c0d0e0f10111213140000");
  });

  it.each([-1, 1.5, Number.NaN, 256])("refuse to write %d in an octet", (value) => {
    expect(() => new Writer().u8(value)).toThrow(RangeError);
  });
});
