import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareBytes, formatEndpoint, IpAddress, Prefix } from "../../../src/core/address.ts";

const v4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
// Runs of zeros are what RFC 5952 is about, so half of the octets are zero.
const v6 = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 })), { minLength: 16, maxLength: 16 })
  .map((octets) => Uint8Array.from(octets));

describe("IpAddress", () => {
  it("reads back what it prints", () => {
    fc.assert(
      fc.property(fc.oneof(v4, v6), (bytes) => {
        const text = IpAddress.fromBytes(bytes).toString();
        expect(IpAddress.parse(text).bytes).toEqual(bytes);
      }),
    );
  });

  it("accepts nothing that the system's parser refuses", () => {
    const piece = fc.constantFrom(
      "0",
      "1",
      "01",
      "ff",
      "fffff",
      ":",
      "::",
      ".",
      "1.2.3.4",
      "255",
      "256",
      "g",
      "%1",
      " ",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const text = pieces.join("");
        const accepted = IpAddress.tryParse(text) !== undefined;
        expect([text, accepted]).toEqual([text, isIPv4(text) || (isIPv6(text) && !text.includes("%"))]);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["2001:db8:0:0:0:0:2:1", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:DB8::1", "2001:db8::1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
  ])("prints %s as RFC 5952 does: %s", (text, canonical) => {
    expect(IpAddress.parse(text).toString()).toBe(canonical);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "01.2.3.4",
    "256.1.1.1",
    "1.2.3.4::",
    "::1.2.3",
    "1::2::3",
    ":",
    ":::",
    "1:2:3:4:5:6:7:8::",
    "fe80::1%eth0",
    "1:2:3:4:5:6:7",
    "1.2.3.4:80",
  ])("refuses %j", (text) => {
    expect(() => IpAddress.parse(text)).toThrow(RangeError);
  });

  it("keeps its own copy of the bytes it is made from", () => {
    const bytes = Uint8Array.of(10, 0, 0, 1);
    const address = IpAddress.fromBytes(bytes);
    bytes[0] = 99;
    expect(address.toString()).toBe("10.0.0.1");
    expect(() => IpAddress.fromBytes(new Uint8Array(5))).toThrow(RangeError);
  });

  it("tells an IPv4 address from an IPv6 address with the same octets in front", () => {
    expect(IpAddress.parse("0.0.0.0").equals(IpAddress.parse("::"))).toBe(false);
    expect(IpAddress.parse("0.0.0.0").equals(IpAddress.parse("0.0.0.0"))).toBe(true);
  });

  it("writes endpoints so that the port can be told from the address", () => {
    expect(formatEndpoint({ address: IpAddress.parse("192.0.2.1"), port: 500 })).toBe("192.0.2.1:500");
    expect(formatEndpoint({ address: IpAddress.parse("2001:db8::1"), port: 4500 })).toBe(
      "[2001:db8::1]:4500",
    );
  });
});

describe("Prefix", () => {
  it("contains exactly the addresses between its first and its last", () => {
    fc.assert(
      fc.property(v4, v4, fc.integer({ min: 0, max: 32 }), (network, other, length) => {
        const prefix = new Prefix(IpAddress.fromBytes(network), length);
        const inRange =
          compareBytes(other, prefix.first.bytes) >= 0 && compareBytes(other, prefix.last.bytes) <= 0;
        expect(prefix.contains(IpAddress.fromBytes(other))).toBe(inRange);
      }),
    );
  });

  it("clears host bits", () => {
    expect(Prefix.parse("10.1.2.3/16").toString()).toBe("10.1.0.0/16");
    expect(Prefix.parse("2001:db8:ffff::1/33").toString()).toBe("2001:db8:8000::/33");
    expect(Prefix.parse("10.1.2.3").toString()).toBe("10.1.2.3/32");
    expect(Prefix.parse("10.0.0.0/9").last.toString()).toBe("10.127.255.255");
  });

  it.each([
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "::/129",
    "10.0.0.0/08",
    "10.0.0.0/1e1",
    "/8",
  ])("refuses %j", (text) => {
    expect(() => Prefix.parse(text)).toThrow(RangeError);
  });

  it("overlaps what it contains and what contains it, within one family", () => {
    const wide = Prefix.parse("10.0.0.0/8");
    const narrow = Prefix.parse("10.1.0.0/16");
    expect(wide.overlaps(narrow)).toBe(true);
    expect(narrow.overlaps(wide)).toBe(true);
    expect(narrow.contains(wide)).toBe(false);
    expect(narrow.overlaps(Prefix.parse("10.2.0.0/16"))).toBe(false);
    expect(Prefix.any(4).overlaps(Prefix.any(6))).toBe(false);
    expect(Prefix.any(6).contains(IpAddress.parse("2001:db8::1"))).toBe(true);
  });
});
