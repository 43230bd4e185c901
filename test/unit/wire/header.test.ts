import { describe, expect, it } from "vitest";
import { WireError } from "../../../src/core/errors.ts";
import { decodeHeader, decodeMessage, encodeMessage } from "../../../src/wire/index.ts";
import { failure, header, toHex } from "./helpers.ts";

describe("IKE header (RFC 7296 §3.1)", () => {
  const empty = encodeMessage({ header, payloads: [] });

  it("has the octets of the RFC's diagram", () => {
    expect(toHex(empty)).toBe("0102030405060708f1f2f3f4f5f6f7f800202308000000070000001c");
    const response = encodeMessage({ header: { ...header, initiator: false, response: true }, payloads: [] });
    expect(response[19]).toBe(0x20);
  });

  it.each(Array.from({ length: 28 }, (_, length) => length))(
    "a datagram of %d octets is refused",
    (length) => {
      expect(() => decodeHeader(empty.subarray(0, length))).toThrow(WireError);
      expect(() => decodeMessage(empty.subarray(0, length))).toThrow(WireError);
      expect(() => decodeMessage(new Uint8Array(length))).toThrow(WireError);
    },
  );

  it.each([0, 1, 27, 29, 0x7fffffff, 0x80000000, 0xffffffff])(
    "a Length of %d in 28 octets is refused",
    (length) => {
      const datagram = Uint8Array.from(empty);
      new DataView(datagram.buffer).setUint32(24, length);
      expect(failure(() => decodeMessage(datagram)).field).toBe("IKE header > Length");
    },
  );

  it.each([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])(
    "major version %d is readable, and refused as a message",
    (majorVersion) => {
      const datagram = Uint8Array.from(empty);
      datagram[17] = (majorVersion << 4) | 3;
      expect(decodeHeader(datagram)).toMatchObject({ majorVersion, minorVersion: 3, messageId: 7 });
      expect(failure(() => decodeMessage(datagram)).field).toBe("IKE header > Version");
    },
  );

  it("ignores the minor version and the reserved flags", () => {
    const datagram = Uint8Array.from(empty);
    datagram[17] = 0x2f;
    datagram[19] = 0xc7 | 0x08;
    expect(decodeMessage(datagram).header).toMatchObject({
      minorVersion: 15,
      initiator: true,
      response: false,
      higherVersion: false,
    });
    datagram[19] = 0x30;
    expect(decodeMessage(datagram).header).toMatchObject({
      initiator: false,
      response: true,
      higherVersion: true,
    });
  });

  it("encodes only what fits its fields", () => {
    expect(() => encodeMessage({ header: { ...header, messageId: 2 ** 32 }, payloads: [] })).toThrow(
      RangeError,
    );
    expect(() => encodeMessage({ header: { ...header, spiInitiator: 1n << 64n }, payloads: [] })).toThrow(
      RangeError,
    );
    expect(() => encodeMessage({ header: { ...header, exchangeType: -1 }, payloads: [] })).toThrow(
      RangeError,
    );
  });
});
