import { hmac as nobleHmac } from "@noble/hashes/hmac.js";
import { md5, sha1 } from "@noble/hashes/legacy.js";
import { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { Secret } from "../../../src/core/secret.ts";
import {
  exchangeIv,
  isakmpCipher,
  isakmpCipherKey,
  isakmpKeys,
  keymat,
  messageHash1,
  messageHash2,
  messageHash3,
  natDHash,
  phase1HashI,
  phase1HashR,
  phase1Iv,
  skeyidPsk,
  verifyIsakmpHash,
  wipeIsakmpKeys,
} from "../../../src/crypto/index.ts";
import { ikev1Encryption, ikev1Hashes } from "../../../src/registry/index.ts";
import { hex, toHex } from "./wycheproof.ts";

// The oracle: the RFC's formulas over another implementation of HMAC and of the hashes, with plain concatenation.
const hashes = new Map([
  [1, md5],
  [2, sha1],
  [5, sha256],
  [6, sha384],
  [7, sha512],
]);
const prf = (id: number, key: Uint8Array, ...data: Uint8Array[]) =>
  Uint8Array.from(nobleHmac(hashes.get(id)!, key, cat(...data)));
const hash = (id: number, ...data: Uint8Array[]) => Uint8Array.from(hashes.get(id)!(cat(...data)));
const cat = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
const byte = (value: number) => Uint8Array.of(value);
const u32 = (value: number) => hex(value.toString(16).padStart(8, "0"));
const u64 = (value: bigint) => hex(value.toString(16).padStart(16, "0"));
const reveal = (secret: Secret) => toHex(secret.reveal());
/** Secrets are wiped by whoever owns them: the oracle keeps its own. */
const secret = (bytes: Uint8Array) => new Secret(Uint8Array.from(bytes));

const prfId = fc.constantFrom(...hashes.keys());
const some = fc.uint8Array({ minLength: 1, maxLength: 80 });
const nonce = fc.uint8Array({ minLength: 8, maxLength: 64 });
const spi = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const messageId = fc.integer({ min: 1, max: 0xffffffff });
const spis = fc.record({ spiInitiator: spi, spiResponder: spi });
const cookies = (s: { spiInitiator: bigint; spiResponder: bigint }) =>
  cat(u64(s.spiInitiator), u64(s.spiResponder));
/** Every cipher of phase 1 with every key length. */
const phase1Ciphers = [
  { encr: 2, keyBits: undefined, keyBytes: 8, block: 8 },
  { encr: 3, keyBits: undefined, keyBytes: 24, block: 8 },
  { encr: 12, keyBits: 128, keyBytes: 16, block: 16 },
  { encr: 12, keyBits: 192, keyBytes: 24, block: 16 },
  { encr: 12, keyBits: 256, keyBytes: 32, block: 16 },
];
const cipherRow = fc.constantFrom(...phase1Ciphers);

describe("SKEYID and what follows from it (RFC 2409 §5, appendix B)", () => {
  it("agrees with the first SHA-1 vector of NIST's IKEv1 component tests", () => {
    // SOURCE: NIST CAVP, SP 800-135 component vectors, ikev1: SHA-1, 64-bit nonces, 1024-bit g^xy.
    const gxy = hex(
      "2a2e0bbe8da3657a83f3d35826e49e2d38e557e912a1b9e6c30c63577b3eab715466202862027f2c26f3090743555579611771db0b92bef9" +
        "3834432a3a7762fc8a0f4889fd281d6082770d10a40d7bad61e832f041e620d6787e7f62ab2861ddfbe272e0d9d3cdec5f1bbf750e24b8b3" +
        "2d6d714968ad69ce5086c32ad2742ebc",
    );
    const keys = isakmpKeys(
      { encr: 12, keyBits: 128, prf: 2 },
      new Secret(hex("dc37ac99de6dcfbd1ee74af7fb36f9b4b0a7829d")),
      new Secret(gxy),
      { spiInitiator: 0x382e5c8b0a3fa307n, spiResponder: 0xba4b7616700a2413n },
    );
    expect(reveal(keys.SKEYID_d)).toBe("486293ed547adb562cefdaf43d3d8457b196f2b6");
    expect(reveal(keys.SKEYID_a)).toBe("f4053b5ca07e59bb41b8f401037ca90b72b3917e");
    // The first 16 octets of SKEYID_e = 49a1d53a80fb77e663552964fbbcb45092021473.
    expect(reveal(keys.Ka)).toBe("49a1d53a80fb77e663552964fbbcb450");
  });

  it("is the RFC's formulas, for every hash and cipher", () => {
    fc.assert(
      fc.property(prfId, cipherRow, some, nonce, nonce, some, spis, (id, row, psk, Ni, Nr, gxy, s) => {
        const SKEYID = prf(id, psk, Ni, Nr);
        const ours = skeyidPsk(id, secret(psk), Ni, Nr);
        expect(reveal(ours)).toBe(toHex(SKEYID));
        const d = prf(id, SKEYID, gxy, cookies(s), byte(0));
        const a = prf(id, SKEYID, d, gxy, cookies(s), byte(1));
        const e = prf(id, SKEYID, a, gxy, cookies(s), byte(2));
        let Ka = e;
        if (e.length < row.keyBytes) {
          Ka = prf(id, e, byte(0));
          for (let K = Ka; Ka.length < row.keyBytes; ) {
            K = prf(id, e, K);
            Ka = cat(Ka, K);
          }
        }
        const suite = { encr: row.encr, keyBits: row.keyBits, prf: id };
        const keys = isakmpKeys(suite, ours, secret(gxy), s);
        expect([keys.SKEYID, keys.SKEYID_d, keys.SKEYID_a, keys.Ka].map(reveal)).toEqual(
          [SKEYID, d, a, Ka.subarray(0, row.keyBytes)].map(toHex),
        );
        wipeIsakmpKeys(keys);
        expect(Object.values<Secret>({ ...keys }).every(({ length }) => length === 0)).toBe(true);
      }),
    );
  });

  it("has keys for the ciphers of phase 1 only", () => {
    for (const encr of [11, 13, 20, 28, 999])
      expect(() => isakmpCipherKey({ encr, keyBits: 128, prf: 2 }, new Secret(new Uint8Array(20)))).toThrow(
        RangeError,
      );
    const rows = ikev1Encryption.filter(({ phase1 }) => phase1 !== undefined).map(({ encr }) => encr);
    expect(new Set(rows)).toEqual(new Set(phase1Ciphers.map(({ encr }) => encr)));
    expect(new Set(ikev1Hashes.map((row) => row.prf))).toEqual(new Set(hashes.keys()));
  });
});

describe("IVs (RFC 2409 appendix B)", () => {
  it("begin with a hash of the public values, later of the last block and the message ID", () => {
    fc.assert(
      fc.property(prfId, some, some, fc.constantFrom(8, 16), messageId, (id, gxi, gxr, block, M_ID) => {
        const first = phase1Iv(id, gxi, gxr, block);
        expect(toHex(first)).toBe(toHex(hash(id, gxi, gxr).subarray(0, block)));
        const later = exchangeIv(id, first, M_ID);
        expect(toHex(later)).toBe(toHex(hash(id, first, u32(M_ID)).subarray(0, block)));
      }),
    );
  });
});

describe("hashes (RFC 2409 §5, §5.5, §5.7)", () => {
  it("HASH_I and HASH_R are the RFC's formulas", () => {
    const transcript = fc.record({ gxi: some, gxr: some, SAi_b: some, spiInitiator: spi, spiResponder: spi });
    fc.assert(
      fc.property(prfId, some, transcript, some, (id, SKEYID, t, ID_b) => {
        const [i, r] = [u64(t.spiInitiator), u64(t.spiResponder)];
        expect(toHex(phase1HashI(id, secret(SKEYID), t, ID_b))).toBe(
          toHex(prf(id, SKEYID, t.gxi, t.gxr, i, r, t.SAi_b, ID_b)),
        );
        expect(toHex(phase1HashR(id, secret(SKEYID), t, ID_b))).toBe(
          toHex(prf(id, SKEYID, t.gxr, t.gxi, r, i, t.SAi_b, ID_b)),
        );
      }),
    );
  });

  it("HASH(1), HASH(2) and HASH(3) are the RFC's formulas", () => {
    fc.assert(
      fc.property(prfId, some, messageId, nonce, nonce, some, (id, key, M_ID, Ni, Nr, rest) => {
        expect(toHex(messageHash1(id, secret(key), M_ID, rest))).toBe(toHex(prf(id, key, u32(M_ID), rest)));
        expect(toHex(messageHash2(id, secret(key), M_ID, Ni, rest))).toBe(
          toHex(prf(id, key, u32(M_ID), Ni, rest)),
        );
        expect(toHex(messageHash3(id, secret(key), M_ID, Ni, Nr))).toBe(
          toHex(prf(id, key, byte(0), u32(M_ID), Ni, Nr)),
        );
      }),
    );
  });

  it("are compared as a whole", () => {
    const expected = hex("00112233445566778899aabbccddeeff");
    expect(verifyIsakmpHash(expected, Uint8Array.from(expected))).toBe(true);
    for (const wrong of ["", "00", "00112233445566778899aabbccddee", "00112233445566778899aabbccddeefe"])
      expect(verifyIsakmpHash(expected, hex(wrong))).toBe(false);
    expect(verifyIsakmpHash(expected, cat(expected, byte(0)))).toBe(false);
  });
});

describe("KEYMAT (RFC 2409 §5.5)", () => {
  const esp = fc.constantFrom(
    { encr: 2, keyBits: undefined, integ: 1, encrBytes: 8, integBytes: 16 },
    { encr: 3, keyBits: undefined, integ: 2, encrBytes: 24, integBytes: 20 },
    { encr: 12, keyBits: 256, integ: 14, encrBytes: 32, integBytes: 64 },
    { encr: 13, keyBits: 192, integ: 12, encrBytes: 28, integBytes: 32 },
    { encr: 20, keyBits: 256, integ: 0, encrBytes: 36, integBytes: 0 },
    { encr: 11, keyBits: undefined, integ: 13, encrBytes: 0, integBytes: 48 },
  );
  const spi32 = fc.integer({ min: 256, max: 0xffffffff });

  it("is the RFC's formula with and without PFS, cut into the cipher's key and the integrity key", () => {
    fc.assert(
      fc.property(
        prfId,
        esp,
        some,
        spi32,
        nonce,
        nonce,
        fc.option(some, { nil: undefined }),
        (id, suite, SKEYID_d, SPI, Ni, Nr, gxy) => {
          const seed = cat(gxy ?? new Uint8Array(0), byte(3), u32(SPI), Ni, Nr);
          const length = suite.encrBytes + suite.integBytes;
          let KEYMAT = prf(id, SKEYID_d, seed);
          for (let K = KEYMAT; KEYMAT.length < length; ) {
            K = prf(id, SKEYID_d, K, seed);
            KEYMAT = cat(KEYMAT, K);
          }
          const keys = keymat(id, secret(SKEYID_d), suite, SPI, Ni, Nr, gxy && secret(gxy));
          expect(reveal(keys.encrKey)).toBe(toHex(KEYMAT.subarray(0, suite.encrBytes)));
          expect(reveal(keys.integKey)).toBe(toHex(KEYMAT.subarray(suite.encrBytes, length)));
        },
      ),
    );
  });

  it("has no key of no length: AES-GMAC and its kind are refused (CVE-2024-3652)", () => {
    for (const [encr, integ] of [
      [21, 0],
      [18, 0],
      [999, 2],
      [12, 9],
    ] as const)
      expect(() =>
        keymat(
          2,
          new Secret(new Uint8Array(20)),
          { encr, keyBits: 128, integ },
          256,
          new Uint8Array(8),
          new Uint8Array(8),
        ),
      ).toThrow(RangeError);
  });
});

describe("NAT-D (RFC 3947 §3.2)", () => {
  it("is the negotiated hash over SPIs, address and port", () => {
    const address = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(prfId, spis, address, fc.integer({ min: 0, max: 65_535 }), (id, s, bytes, port) => {
        const endpoint = { address: IpAddress.fromBytes(bytes), port };
        expect(toHex(natDHash(id, s.spiInitiator, s.spiResponder, endpoint))).toBe(
          toHex(hash(id, cookies(s), bytes, u32(port).subarray(2))),
        );
      }),
    );
  });
});

describe("the cipher of messages", () => {
  it("is CBC with the IV that it is given, there and back", () => {
    fc.assert(
      fc.property(
        cipherRow,
        fc.integer({ min: 1, max: 8 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 255 })),
        (row, blocks, octets) => {
          const take = (n: number) => Uint8Array.from(octets.take(n));
          const key = take(row.keyBytes);
          const iv = take(row.block);
          const text = take(row.block * blocks);
          const cipher = isakmpCipher(row, secret(key));
          expect(cipher.block).toBe(row.block);
          const sealed = cipher.encrypt(iv, text);
          expect(sealed.length).toBe(text.length);
          expect(toHex(cipher.decrypt(iv, sealed))).toBe(toHex(text));
          // Chaining: the second block alone, with the first one's ciphertext as its IV.
          if (blocks > 1)
            expect(
              toHex(cipher.decrypt(sealed.subarray(0, row.block), sealed.subarray(row.block, 2 * row.block))),
            ).toBe(toHex(text.subarray(row.block, 2 * row.block)));
        },
      ),
    );
  });

  it("DES agrees with FIPS 81's example", () => {
    // SOURCE: FIPS 81 appendix C, table C1 (CBC): "Now is the time for all ".
    const cipher = isakmpCipher({ encr: 2, keyBits: undefined }, new Secret(hex("0123456789abcdef")));
    const text = new TextEncoder().encode("Now is the time for all ");
    expect(toHex(cipher.encrypt(hex("1234567890abcdef"), text))).toBe(
      "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6",
    );
  });

  it("refuses suites that phase 1 does not have, and keys of other lengths", () => {
    const key = (length: number) => new Secret(new Uint8Array(length));
    for (const encr of [11, 13, 20, 28, 999])
      expect(() => isakmpCipher({ encr, keyBits: 128 }, key(16))).toThrow(RangeError);
    expect(() => isakmpCipher({ encr: 12, keyBits: 100 }, key(16))).toThrow(RangeError);
    expect(() => isakmpCipher({ encr: 12, keyBits: 256 }, key(16))).toThrow(RangeError);
    expect(() => isakmpCipher({ encr: 3, keyBits: undefined }, key(16))).toThrow(RangeError);
  });
});
