import { hmac as nobleHmac } from "@noble/hashes/hmac.js";
import { md5, sha1 } from "@noble/hashes/legacy.js";
import { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { Secret } from "../../../src/core/secret.ts";
import {
  childKeys,
  ikeKeys,
  natDetectionHash,
  prf,
  prfPlus,
  pskAuth,
  rekeySkeyseed,
  skeyseed,
  verifyPskAuth,
  wipeChildKeys,
  wipeIkeKeys,
} from "../../../src/crypto/index.ts";
import type { IkeSuite } from "../../../src/registry/index.ts";
import { hex, toHex } from "./wycheproof.ts";

// The oracle: the RFC's formulas over another implementation of HMAC, with plain concatenation.
const hashes = new Map([
  [1, md5],
  [2, sha1],
  [5, sha256],
  [6, sha384],
  [7, sha512],
]);
const oraclePrf = (id: number, key: Uint8Array, data: Uint8Array) => nobleHmac(hashes.get(id)!, key, data);
const cat = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
function oraclePrfPlus(id: number, key: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
  let out = new Uint8Array(0);
  for (let t = new Uint8Array(0), i = 1; out.length < length; i++) {
    t = Uint8Array.from(oraclePrf(id, key, cat(t, seed, Uint8Array.of(i))));
    out = cat(out, t);
  }
  return out.subarray(0, length);
}

const prfId = fc.constantFrom(...hashes.keys());
const nonce = fc.uint8Array({ minLength: 16, maxLength: 64 });
const some = fc.uint8Array({ minLength: 1, maxLength: 80 });
const spiI = 0x0102030405060708n;
const spiR = 0xf1f2f3f4f5f6f7f8n;
const spis = hex("0102030405060708f1f2f3f4f5f6f7f8");
const reveal = (secret: Secret) => toHex(secret.reveal());

const gcm: IkeSuite = { encr: 20, keyBits: 256, integ: 0, prf: 6, group: 31 };
const cbc: IkeSuite = { encr: 12, keyBits: 128, integ: 12, prf: 5, group: 14 };

describe("prf+ (RFC 7296 §2.13)", () => {
  it("is T1 | T2 | ... for every length", () => {
    fc.assert(
      fc.property(prfId, some, some, fc.integer({ min: 0, max: 600 }), (id, key, seed, length) => {
        expect(reveal(prfPlus(id, key, [seed], length))).toBe(toHex(oraclePrfPlus(id, key, seed, length)));
      }),
    );
  });

  it("stops where its counter would wrap", () => {
    expect(prfPlus(5, Uint8Array.of(1), [], 255 * 32).length).toBe(255 * 32);
    expect(() => prfPlus(5, Uint8Array.of(1), [], 255 * 32 + 1)).toThrow(RangeError);
  });

  it("refuses a PRF that this build does not have", () => {
    for (const id of [0, 3, 4, 8, 65535]) expect(() => prf(id, Uint8Array.of(1))).toThrow(RangeError);
  });
});

describe("keys of an IKE SA (RFC 7296 §2.14)", () => {
  it("SKEYSEED = prf(Ni | Nr, g^ir)", () => {
    fc.assert(
      fc.property(prfId, nonce, nonce, some, (id, Ni, Nr, gir) => {
        expect(reveal(skeyseed(id, Ni, Nr, new Secret(gir)))).toBe(toHex(oraclePrf(id, cat(Ni, Nr), gir)));
      }),
    );
  });

  it("SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr) when rekeying (§2.18)", () => {
    fc.assert(
      fc.property(prfId, some, nonce, nonce, some, (id, SK_d, Ni, Nr, gir) => {
        expect(reveal(rekeySkeyseed(id, new Secret(SK_d), new Secret(gir), Ni, Nr))).toBe(
          toHex(oraclePrf(id, SK_d, cat(gir, Ni, Nr))),
        );
      }),
    );
  });

  it("SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n)) with additional key exchanges (RFC 9370 §2.2.4)", () => {
    const secrets = fc.array(some, { maxLength: 7 });
    fc.assert(
      fc.property(prfId, some, nonce, nonce, some, secrets, (id, SK_d, Ni, Nr, first, more) => {
        const additional = more.map((secret) => new Secret(secret));
        expect(reveal(rekeySkeyseed(id, new Secret(SK_d), new Secret(first), Ni, Nr, additional))).toBe(
          toHex(oraclePrf(id, SK_d, cat(first, Ni, Nr, ...more))),
        );
      }),
    );
  });

  it.each([
    ["AES-GCM", gcm, [48, 0, 0, 36, 36, 48, 48]],
    ["AES-CBC with HMAC", cbc, [32, 32, 32, 16, 16, 32, 32]],
    [
      "AES-CBC-256 with SHA-1 and a longer PRF",
      { ...cbc, keyBits: 256, integ: 2, prf: 7 },
      [64, 20, 20, 32, 32, 64, 64],
    ],
    [
      "AES-CTR-256 with its nonce behind the key (RFC 5930 §2.1)",
      { ...cbc, encr: 13, keyBits: 256, integ: 14, prf: 6 },
      [48, 64, 64, 36, 36, 48, 48],
    ],
    [
      "ChaCha20-Poly1305 with its salt behind the key (RFC 7634 §2)",
      { ...gcm, encr: 28, keyBits: undefined, prf: 5 },
      [32, 0, 0, 36, 36, 32, 32],
    ],
    [
      "3DES with MD5",
      { ...cbc, encr: 3, keyBits: undefined, integ: 1, prf: 1 },
      [16, 16, 16, 24, 24, 16, 16],
    ],
    ["DES with MD5", { ...cbc, encr: 2, keyBits: undefined, integ: 1, prf: 1 }, [16, 16, 16, 8, 8, 16, 16]],
  ])("cuts SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr in this order: %s", (_, suite, lengths) => {
    const Ni = new Uint8Array(32).fill(1);
    const Nr = new Uint8Array(32).fill(2);
    const seed = new Secret(new Uint8Array(48).fill(3));
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const expected = toHex(oraclePrfPlus(suite.prf, seed.reveal(), cat(Ni, Nr, spis), total));
    const keys = ikeKeys(suite, seed, { Ni, Nr, SPIi: spiI, SPIr: spiR });
    const inOrder = [keys.SK_d, keys.SK_ai, keys.SK_ar, keys.SK_ei, keys.SK_er, keys.SK_pi, keys.SK_pr];
    expect(inOrder.map((key) => key.length)).toEqual(lengths);
    expect(inOrder.map(reveal).join("")).toBe(expected);
    expect(seed.length).toBe(0);
  });

  it("are wiped together, and no two overlap in the memory that they share", () => {
    const keys = ikeKeys(cbc, new Secret(new Uint8Array(32)), { Ni: spis, Nr: spis, SPIi: spiI, SPIr: spiR });
    const bytes = Object.values<Secret>({ ...keys }).map((key) => key.reveal());
    expect(new Set(bytes.map((b) => b.buffer)).size).toBe(1);
    const ends = bytes.map((b) => b.byteOffset + b.length);
    expect(bytes.map((b) => b.byteOffset)).toEqual([0, ...ends.slice(0, -1)]);
    expect(ends.at(-1)).toBe(bytes[0]!.buffer.byteLength);
    expect(bytes.every((b) => b.some((octet) => octet !== 0))).toBe(true);
    wipeIkeKeys(keys);
    expect(bytes.every((b) => b.every((octet) => octet === 0))).toBe(true);
  });
});

describe("keys of a CHILD_SA (RFC 7296 §2.17)", () => {
  const SK_d = new Secret(new Uint8Array(32).fill(7));
  const Ni = new Uint8Array(32).fill(8);
  const Nr = new Uint8Array(32).fill(9);

  it("KEYMAT = prf+(SK_d, Ni | Nr): the initiator's direction first, key before salt", () => {
    const keys = childKeys(5, SK_d, { encr: 20, keyBits: 128, integ: 0 }, Ni, Nr);
    const keymat = toHex(oraclePrfPlus(5, SK_d.reveal(), cat(Ni, Nr), 40));
    expect(reveal(keys.initiatorToResponder.encrKey)).toBe(keymat.slice(0, 40));
    expect(reveal(keys.responderToInitiator.encrKey)).toBe(keymat.slice(40));
    expect(keys.initiatorToResponder.integKey.length).toBe(0);
  });

  it("KEYMAT = prf+(SK_d, g^ir (new) | Ni | Nr) with PFS, encryption key before integrity key", () => {
    const gir = new Secret(new Uint8Array(32).fill(10));
    const keys = childKeys(5, SK_d, { encr: 12, keyBits: 256, integ: 12 }, Ni, Nr, gir);
    const keymat = toHex(oraclePrfPlus(5, SK_d.reveal(), cat(gir.reveal(), Ni, Nr), 128));
    const { initiatorToResponder: i, responderToInitiator: r } = keys;
    expect([i.encrKey, i.integKey, r.encrKey, r.integKey].map(reveal).join("")).toBe(keymat);
    expect(gir.length).toBe(32);
    wipeChildKeys(keys);
    expect([i.encrKey, i.integKey, r.encrKey, r.integKey].every((key) => key.length === 0)).toBe(true);
  });

  it("KEYMAT = prf+ (SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n)) with additional key exchanges (RFC 9370 §2.2.4)", () => {
    const [first, second, third] = [10, 11, 12].map((octet) => new Secret(new Uint8Array(32).fill(octet)));
    const suite = { encr: 20, keyBits: 128, integ: 0 };
    const keys = childKeys(5, SK_d, suite, Ni, Nr, first, [second!, third!]);
    const seed = cat(first!.reveal(), Ni, Nr, second!.reveal(), third!.reveal());
    const { initiatorToResponder: i, responderToInitiator: r } = keys;
    expect([i.encrKey, r.encrKey].map(reveal).join("")).toBe(
      toHex(oraclePrfPlus(5, SK_d.reveal(), seed, 40)),
    );
  });

  it.each([
    ["AES-CTR with its nonce (RFC 3686 §5.1)", { encr: 13, keyBits: 256, integ: 14 }, 36, 64],
    ["ChaCha20-Poly1305 with its salt (RFC 7634 §2)", { encr: 28, keyBits: undefined, integ: 0 }, 36, 0],
    ["3DES with parity bits (RFC 2451)", { encr: 3, keyBits: undefined, integ: 1 }, 24, 16],
    ["DES (RFC 2405)", { encr: 2, keyBits: undefined, integ: 2 }, 8, 20],
    ["ENCR_NULL (RFC 2410)", { encr: 11, keyBits: undefined, integ: 13 }, 0, 48],
  ] as const)("cuts what the suite takes: %s", (_name, suite, encrBytes, integBytes) => {
    const keys = childKeys(5, SK_d, suite, Ni, Nr);
    for (const direction of [keys.initiatorToResponder, keys.responderToInitiator])
      expect([direction.encrKey.length, direction.integKey.length]).toEqual([encrBytes, integBytes]);
    const keymat = toHex(oraclePrfPlus(5, SK_d.reveal(), cat(Ni, Nr), 2 * (encrBytes + integBytes)));
    const { initiatorToResponder: i, responderToInitiator: r } = keys;
    expect([i.encrKey, i.integKey, r.encrKey, r.integKey].map(reveal).join("")).toBe(keymat);
  });

  it("refuses an algorithm whose key length nobody knows", () => {
    expect(() => childKeys(5, SK_d, { encr: 21, keyBits: 128, integ: 0 }, Ni, Nr)).toThrow(RangeError);
    expect(() => childKeys(5, SK_d, { encr: 12, keyBits: 128, integ: 5 }, Ni, Nr)).toThrow(RangeError);
    expect(() => childKeys(5, SK_d, { encr: 12, keyBits: undefined, integ: 12 }, Ni, Nr)).toThrow(RangeError);
  });
});

describe("PSK authentication (RFC 7296 §2.15)", () => {
  const signed = {
    message: new Uint8Array(300).fill(1),
    peerNonce: new Uint8Array(32).fill(2),
    SK_p: new Secret(new Uint8Array(32).fill(3)),
    restOfIdPayload: hex("01000000c0000201"),
  };
  const psk = Secret.fromText("correct horse");

  it("AUTH = prf( prf(Shared Secret, 'Key Pad for IKEv2'), Message | Nonce | prf(SK_p, RestOfIDPayload))", () => {
    for (const id of hashes.keys()) {
      const key = oraclePrf(id, psk.reveal(), new TextEncoder().encode("Key Pad for IKEv2"));
      const macedId = oraclePrf(id, signed.SK_p.reveal(), signed.restOfIdPayload);
      const auth = pskAuth(id, psk, signed);
      expect(toHex(auth)).toBe(toHex(oraclePrf(id, key, cat(signed.message, signed.peerNonce, macedId))));
      expect(verifyPskAuth(id, psk, signed, auth)).toBe(true);
    }
  });

  it("verifies nothing when any input differs", () => {
    const auth = pskAuth(5, psk, signed);
    const flipped = Uint8Array.from(auth, (octet, i) => (i === 31 ? octet ^ 1 : octet));
    expect(verifyPskAuth(5, psk, signed, flipped)).toBe(false);
    expect(verifyPskAuth(5, psk, signed, auth.subarray(1))).toBe(false);
    expect(verifyPskAuth(5, psk, signed, new Uint8Array(0))).toBe(false);
    expect(verifyPskAuth(5, Secret.fromText("correct hors"), signed, auth)).toBe(false);
    const others = [
      { message: signed.message.subarray(1) },
      { peerNonce: signed.peerNonce.subarray(1) },
      { SK_p: psk },
      { restOfIdPayload: hex("01000000c0000202") },
    ];
    for (const other of others) expect(verifyPskAuth(5, psk, { ...signed, ...other }, auth)).toBe(false);
  });
});

describe("NAT detection (RFC 7296 §2.23)", () => {
  it("is SHA-1(SPIi | SPIr | address | port)", () => {
    for (const text of ["192.0.2.1", "2001:db8::1"]) {
      const address = IpAddress.parse(text);
      expect(toHex(natDetectionHash(spiI, spiR, { address, port: 4500 }))).toBe(
        toHex(sha1(cat(spis, address.bytes, Uint8Array.of(4500 >> 8, 4500 & 255)))),
      );
    }
  });
});
