import { describe, expect, it } from "vitest";
import { constantTimeEqual, hmac } from "../../../src/crypto/index.ts";
import type { HashName } from "../../../src/registry/index.ts";
import { hex, toHex, wycheproof } from "./wycheproof.ts";

const ascii = (text: string) => new TextEncoder().encode(text);
const filled = (octet: number, length: number) => new Uint8Array(length).fill(octet);

describe("HMAC", () => {
  it.each<[string, HashName, Uint8Array, Uint8Array, string]>([
    [
      "RFC 2202 §3 case 1",
      "sha1",
      filled(0x0b, 20),
      ascii("Hi There"),
      "b617318655057264e28bc0b6fb378c8ef146be00",
    ],
    [
      "RFC 2202 §3 case 2",
      "sha1",
      ascii("Jefe"),
      ascii("what do ya want for nothing?"),
      "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    ],
    [
      "RFC 2202 §2 case 2",
      "md5",
      ascii("Jefe"),
      ascii("what do ya want for nothing?"),
      "750c783e6ab0b503eaa86e310a5db738",
    ],
    [
      "RFC 4231 §4.2",
      "sha256",
      filled(0x0b, 20),
      ascii("Hi There"),
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ],
    [
      "RFC 4231 §4.2",
      "sha384",
      filled(0x0b, 20),
      ascii("Hi There"),
      "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    ],
    [
      "RFC 4231 §4.2",
      "sha512",
      filled(0x0b, 20),
      ascii("Hi There"),
      "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    ],
    [
      "RFC 4231 §4.3",
      "sha256",
      ascii("Jefe"),
      ascii("what do ya want for nothing?"),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ],
    [
      "RFC 4231 §4.7",
      "sha256",
      filled(0xaa, 131),
      ascii("Test Using Larger Than Block-Size Key - Hash Key First"),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ],
  ])("%s, %s", (_, hash, key, data, mac) => {
    expect(toHex(hmac(hash, key, data))).toBe(mac);
    // In parts it is the same MAC.
    expect(toHex(hmac(hash, key, data.subarray(0, 3), data.subarray(3)))).toBe(mac);
  });

  it.each<HashName>(["sha1", "sha256", "sha384", "sha512"])("%s agrees with Wycheproof", (hash) => {
    for (const group of wycheproof<{ key: string; msg: string; tag: string }>(`hmac_${hash}`)) {
      for (const test of group.tests) {
        const mac = hmac(hash, hex(test.key), hex(test.msg)).subarray(0, group.tagSize / 8);
        expect([test.tcId, constantTimeEqual(mac, hex(test.tag))]).toEqual([
          test.tcId,
          test.result === "valid",
        ]);
      }
    }
  });
});

describe("constantTimeEqual", () => {
  it("says whether bytes are equal, also for lengths that differ", () => {
    expect(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
    expect(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(constantTimeEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0))).toBe(false);
    expect(constantTimeEqual(new Uint8Array(0), new Uint8Array(0))).toBe(true);
  });
});
