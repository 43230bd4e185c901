import { readFileSync } from "node:fs";
import { cbc as nobleCbc, ctr as nobleCtr, gcm as nobleGcm } from "@noble/ciphers/aes.js";
import { chacha20poly1305 as nobleChacha } from "@noble/ciphers/chacha.js";
import { hmac as nobleHmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/secret.ts";
import { hmac, skCipher } from "../../../src/crypto/index.ts";
import { encr, encrById, integ } from "../../../src/registry/index.ts";
import { hex, toHex, wycheproof } from "./wycheproof.ts";

const counting = () => {
  let next = 0;
  return { bytes: (length: number) => Uint8Array.from({ length }, () => next++) };
};
const bytes = (length: number, from = 0) => Uint8Array.from({ length }, (_, i) => i + from);
const none = new Secret(new Uint8Array(0));

const integrities = [
  [1, 16],
  [2, 20],
  [12, 32],
  [13, 48],
  [14, 64],
] as const;
const encryptions = [
  ...[128, 192, 256].map((keyBits) => ({
    name: `AES-CBC-${keyBits}`,
    encr: 12,
    keyBits,
    keyBytes: keyBits / 8,
  })),
  ...[128, 192, 256].map((keyBits) => ({
    name: `AES-CTR-${keyBits}`,
    encr: 13,
    keyBits,
    keyBytes: keyBits / 8 + 4,
  })),
  { name: "3DES-CBC", encr: 3, keyBits: undefined, keyBytes: 24 },
  { name: "DES-CBC", encr: 2, keyBits: undefined, keyBytes: 8 },
];
const suites = [
  ...[128, 192, 256].map((keyBits) => ({
    name: `AES-GCM-${keyBits}`,
    encr: 20,
    keyBits,
    keyBytes: keyBits / 8 + 4,
    integ: 0,
    integBytes: 0,
  })),
  { name: "ChaCha20-Poly1305", encr: 28, keyBits: undefined, keyBytes: 36, integ: 0, integBytes: 0 },
  ...encryptions.flatMap((encryption) =>
    integrities.map(([integ, integBytes]) => ({
      ...encryption,
      name: `${encryption.name} with integrity ${integ}`,
      integ,
      integBytes,
    })),
  ),
];

/** Additional data of 40 octets, then room for a plaintext of three blocks. */
function sealed(cipher: ReturnType<typeof skCipher>, plaintext = bytes(48, 100)): Uint8Array {
  const message = new Uint8Array(40 + cipher.ivBytes + plaintext.length + cipher.icvBytes);
  message.set(bytes(40, 200));
  message.set(plaintext, 40 + cipher.ivBytes);
  cipher.seal(message, 40);
  return message;
}

it("covers every cipher and integrity algorithm that IKE negotiates", () => {
  const named = (rows: readonly { readonly id: number; readonly implemented: { readonly ike: boolean } }[]) =>
    rows.filter((row) => row.implemented.ike).map((row) => row.id);
  expect([...new Set(suites.map((suite) => suite.encr))].sort()).toEqual(named(Object.values(encr)).sort());
  expect(integrities.map(([id]) => id).sort()).toEqual(named(Object.values(integ)).sort());
});

describe.each(suites)("$name", (suite) => {
  const encrKey = new Secret(bytes(suite.keyBytes, 1));
  const integKey = new Secret(bytes(suite.integBytes, 50));
  const make = () => skCipher(suite, encrKey, integKey, counting());

  it("opens what it sealed, and leaves the datagram alone", () => {
    const message = sealed(make());
    const before = toHex(message);
    expect(toHex(message.subarray(40))).not.toContain(toHex(bytes(48, 100)));
    expect(toHex(make().open(message, 40)!)).toBe(toHex(bytes(48, 100)));
    expect(toHex(message)).toBe(before);
  });

  it("opens nothing when any octet is different: additional data, IV, ciphertext or ICV", () => {
    const message = sealed(make());
    const cipher = make();
    for (let at = 0; at < message.length; at++) {
      const forged = Uint8Array.from(message);
      forged[at]! ^= 0x10;
      expect([at, cipher.open(forged, 40)]).toEqual([at, undefined]);
    }
  });

  it("opens nothing from bodies of any smaller length", () => {
    const message = sealed(make());
    const cipher = make();
    for (let length = 40; length < message.length; length++)
      expect([length, cipher.open(message.subarray(0, length), 40)]).toEqual([length, undefined]);
  });

  it("never uses an IV twice", () => {
    const cipher = make();
    const ivs = [1, 2, 3, 4].map(() => toHex(sealed(cipher).subarray(40, 40 + cipher.ivBytes)));
    expect(new Set(ivs).size).toBe(4);
  });

  it("refuses keys of another length", () => {
    if (suite.integ !== 0)
      expect(() => skCipher(suite, encrKey, new Secret(bytes(suite.integBytes + 1)), counting())).toThrow(
        RangeError,
      );
    expect(() => skCipher(suite, new Secret(bytes(encrKey.length + 1)), integKey, counting())).toThrow(
      RangeError,
    );
  });
});

describe("AES-GCM (RFC 5282)", () => {
  it("is GCM with the nonce salt | IV over header and payload header, by another implementation", () => {
    const key = bytes(36, 1);
    const message = sealed(skCipher({ encr: 20, keyBits: 256, integ: 0 }, new Secret(key), none, counting()));
    const nonce = Uint8Array.from([...key.subarray(32), ...message.subarray(40, 48)]);
    const plaintext = nobleGcm(key.subarray(0, 32), nonce, message.subarray(0, 40)).decrypt(
      message.subarray(48),
    );
    expect(toHex(plaintext)).toBe(toHex(bytes(48, 100)));
  });

  it("agrees with Wycheproof where the nonce has IKE's 12 octets", () => {
    type GcmCase = { key: string; iv: string; aad: string; msg: string; ct: string; tag: string };
    let opened = 0;
    let refused = 0;
    for (const group of wycheproof<GcmCase>("aes_gcm").filter((g) => g.ivSize === 96)) {
      for (const test of group.tests) {
        // An SK payload holds at least the Pad Length octet.
        if (test.msg === "") continue;
        const keyAndSalt = new Secret(hex(test.key + test.iv.slice(0, 8)));
        const cipher = skCipher({ encr: 20, keyBits: group.keySize, integ: 0 }, keyAndSalt, none, counting());
        const message = hex(test.aad + test.iv.slice(8) + test.ct + test.tag);
        const plaintext = cipher.open(message, test.aad.length / 2);
        expect([test.tcId, plaintext && toHex(plaintext)]).toEqual([
          test.tcId,
          test.result === "valid" ? test.msg : undefined,
        ]);
        if (plaintext) opened++;
        else refused++;
      }
    }
    expect(opened).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(50);
  });
});

describe("AES-CBC with HMAC (RFC 7296 §3.14)", () => {
  it("encrypts with CBC and then authenticates everything before the ICV, by another implementation", () => {
    const suite = { encr: 12, keyBits: 128, integ: 12 };
    const message = sealed(skCipher(suite, new Secret(bytes(16, 1)), new Secret(bytes(32, 50)), counting()));
    const icvAt = message.length - 16;
    expect(toHex(nobleHmac(sha256, bytes(32, 50), message.subarray(0, icvAt)).subarray(0, 16))).toBe(
      toHex(message.subarray(icvAt)),
    );
    const cipher = nobleCbc(bytes(16, 1), message.subarray(40, 56), { disablePadding: true });
    expect(toHex(cipher.decrypt(message.subarray(56, icvAt)))).toBe(toHex(bytes(48, 100)));
  });

  it("decrypts as Wycheproof does", () => {
    type CbcCase = { key: string; iv: string; msg: string; ct: string };
    let opened = 0;
    for (const group of wycheproof<CbcCase>("aes_cbc_pkcs5")) {
      for (const test of group.tests.filter((t) => t.result === "valid")) {
        const integKey = bytes(32);
        const cipher = skCipher(
          { encr: 12, keyBits: group.keySize, integ: 12 },
          new Secret(hex(test.key)),
          new Secret(integKey),
          counting(),
        );
        const body = hex(test.iv + test.ct);
        const icv = hmac("sha256", integKey, body).subarray(0, 16);
        const plaintext = cipher.open(Uint8Array.from([...body, ...icv]), 0)!;
        expect([test.tcId, toHex(plaintext.subarray(0, -plaintext.at(-1)!))]).toEqual([test.tcId, test.msg]);
        opened++;
      }
    }
    expect(opened).toBeGreaterThan(60);
  });

  it("refuses ciphertext that is authentic but no whole number of blocks", () => {
    const cipher = skCipher(
      { encr: 12, keyBits: 128, integ: 12 },
      new Secret(bytes(16)),
      new Secret(bytes(32)),
      counting(),
    );
    const body = bytes(40 + 16 + 17);
    const message = Uint8Array.from([...body, ...hmac("sha256", bytes(32), body).subarray(0, 16)]);
    expect(cipher.open(message, 40)).toBeUndefined();
  });
});

describe("ChaCha20-Poly1305 (RFC 7634)", () => {
  const keyAndSalt = hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3");
  const chacha = { encr: 28, keyBits: undefined, integ: 0 };

  it("agrees with the Encrypted payload of appendix B", () => {
    const aad = "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029";
    const message = hex(
      `${aad} 1011121314151617 610394701f8d017f7c12924889 6b71bfe25236efd7cdc67066906315b2`,
    );
    const cipher = skCipher(chacha, new Secret(keyAndSalt), none, counting());
    expect(toHex(cipher.open(message, 32)!)).toBe("0000000c000040010000000a00");
  });

  it("is the AEAD with the nonce salt | IV over header and payload header, by another implementation", () => {
    const message = sealed(skCipher(chacha, new Secret(keyAndSalt), none, counting()));
    const nonce = Uint8Array.from([...keyAndSalt.subarray(32), ...message.subarray(40, 48)]);
    const oracle = nobleChacha(keyAndSalt.subarray(0, 32), nonce, message.subarray(0, 40));
    expect(toHex(oracle.decrypt(message.subarray(48)))).toBe(toHex(bytes(48, 100)));
  });

  it("agrees with Wycheproof where the nonce has IKE's 12 octets", () => {
    type Aead = { key: string; iv: string; aad: string; msg: string; ct: string; tag: string };
    const counts = { opened: 0, refused: 0 };
    for (const group of wycheproof<Aead>("chacha20_poly1305").filter((g) => g.ivSize === 96)) {
      for (const test of group.tests.filter((t) => t.msg !== "")) {
        const cipher = skCipher(chacha, new Secret(hex(test.key + test.iv.slice(0, 8))), none, counting());
        const message = hex(test.aad + test.iv.slice(8) + test.ct + test.tag);
        const plaintext = cipher.open(message, test.aad.length / 2);
        const expected = test.result === "valid" ? test.msg : undefined;
        expect([test.tcId, plaintext && toHex(plaintext)]).toEqual([test.tcId, expected]);
        counts[plaintext ? "opened" : "refused"]++;
      }
    }
    expect(counts.opened).toBeGreaterThan(150);
    expect(counts.refused).toBeGreaterThan(30);
  });
});

describe("AES-CTR with HMAC (RFC 5930)", () => {
  it.each([128, 192, 256])(
    "AES-CTR-%d counts from NONCE | IV | 1, and the HMAC is over all before it, by another implementation",
    (keyBits) => {
      const keyAndNonce = bytes(keyBits / 8 + 4, 1);
      const suite = { encr: 13, keyBits, integ: 12 };
      const cipher = skCipher(suite, new Secret(keyAndNonce), new Secret(bytes(32, 50)), counting());
      sealed(cipher);
      // Not whole blocks: RFC 5930 §2.2 asks for no padding to them.
      const plaintext = bytes(37, 100);
      const message = sealed(cipher, plaintext);
      const icvAt = message.length - 16;
      expect(toHex(nobleHmac(sha256, bytes(32, 50), message.subarray(0, icvAt)).subarray(0, 16))).toBe(
        toHex(message.subarray(icvAt)),
      );
      const nonce = keyAndNonce.subarray(keyBits / 8);
      const firstBlock = Uint8Array.from([...nonce, ...message.subarray(40, 48), 0, 0, 0, 1]);
      const oracle = nobleCtr(keyAndNonce.subarray(0, keyBits / 8), firstBlock);
      expect(toHex(oracle.decrypt(message.subarray(48, icvAt)))).toBe(toHex(plaintext));
    },
  );
});

/** The vectors that the data plane is held against: RFC 3602, RFC 3686, FIPS 81. */
describe("ciphers with HMAC decrypt as published", () => {
  const lines = readFileSync(new URL("../../vectors/esp/ciphers.txt", import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(" "));
  const cases = lines.map(([id, key, iv, plain, text]) => {
    const ctr = Number(id) === encr.ENCR_AES_CTR.id;
    // The first counter block is NONCE | IV | 1.
    const [nonce, explicit] = ctr ? [iv!.slice(0, 8), iv!.slice(8, 24)] : ["", iv!];
    const keyBits = encrById.get(Number(id))!.keyLengthAttribute ? key!.length * 4 : undefined;
    return { encr: Number(id), keyBits, key: key! + nonce, iv: explicit, plain: plain!, text: text! };
  });

  it("has vectors of each", () => {
    expect([...new Set(cases.map((c) => c.encr))].sort()).toEqual([12, 13, 2, 3]);
  });

  it.each(cases)("transform $encr, key $key, IV $iv", ({ encr: id, keyBits, key, iv, plain, text }) => {
    const suite = { encr: id, keyBits, integ: 12 };
    const make = (ivs: Uint8Array[] = []) =>
      skCipher(suite, new Secret(hex(key)), new Secret(bytes(32)), { bytes: () => ivs.shift()! });
    const body = hex(iv + text);
    const icv = hmac("sha256", bytes(32), body).subarray(0, 16);
    expect(toHex(make().open(Uint8Array.from([...body, ...icv]), 0)!)).toBe(plain);
    if (id === encr.ENCR_AES_CTR.id) return;
    const message = hex(iv + plain + toHex(icv));
    make([hex(iv)]).seal(message, 0);
    expect(toHex(message)).toBe(iv + text + toHex(icv));
  });
});

describe("what negotiation must not have chosen", () => {
  it.each([
    [2, undefined, 0],
    [2, 64, 1],
    [3, 192, 12],
    [11, undefined, 12],
    [12, 128, 0],
    [12, 128, 5],
    [13, undefined, 12],
    [13, 512, 12],
    [20, undefined, 0],
    [20, 64, 0],
    [28, 256, 0],
    [999, 128, 12],
  ])("encryption %d with key length %s and integrity %d has no cipher", (encr, keyBits, integ) => {
    const key = new Secret(bytes(keyBits === 128 ? 16 : 36));
    expect(() => skCipher({ encr, keyBits, integ }, key, new Secret(bytes(32)), counting())).toThrow(
      RangeError,
    );
  });
});
