/** The addon's hashes, prf+ and ciphers of IKE against everything that node:crypto's are held to, and against them. */
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { Secret } from "../../src/core/secret.ts";
import { type Accelerator, accelerate, digest, hmac, prfPlus, skCipher } from "../../src/crypto/index.ts";
import { nativeSymmetric } from "../../src/dataplane/index.ts";
import { EncryptionAlgorithm, type EncryptionRow, encr, integ, prf } from "../../src/registry/index.ts";
import { toHex } from "../unit/crypto/wycheproof.ts";

const native = nativeSymmetric();
const calls = new Map<string, number>();
// Counts what it passes on: a test that fell back to node:crypto would compare that with itself.
const counting: Accelerator = {
  block: native.block,
  digest: (...args) => counted("digest", native.digest(...args)),
  hmac: (...args) => counted("hmac", native.hmac(...args)),
  prfPlus: (...args) => counted("prfPlus", native.prfPlus(...args)),
  seal: (...args) => counted("seal", native.seal(...args)),
  open: (...args) => counted("open", native.open(...args)),
};
accelerate(counting);
afterAll(() => accelerate(undefined));

// What node:crypto's are held to.
await import("../unit/crypto/hmac.test.ts");
await import("../unit/crypto/keys.test.ts");
await import("../unit/crypto/sk-cipher.test.ts");

const hashes = ["md5", "sha1", "sha256", "sha384", "sha512"] as const;
const octets = (maxLength: number) => fc.uint8Array({ maxLength });
const none = new Secret(new Uint8Array(0));
const zeros = { bytes: (length: number) => new Uint8Array(length) };

describe("the addon's symmetric cryptography and node:crypto's", () => {
  afterEach(() => {
    accelerate(counting);
    expect(native.block.every((octet) => octet === 0)).toBe(true);
  });

  it.each(hashes)("have one HMAC-%s and prf+ for keys and texts of any length", (hash) => {
    const row = Object.values(prf).find((candidate) => candidate.hash === hash)!;
    fc.assert(
      fc.property(octets(300), fc.array(octets(300), { maxLength: 4 }), fc.nat(700), (key, parts, length) => {
        const [mine, theirs] = both(() => [
          toHex(hmac(hash, key, ...parts)),
          toHex(prfPlus(row.id, key, parts, length).reveal()),
        ]);
        expect(mine).toEqual(theirs);
      }),
    );
    expect(() => prfPlus(row.id, new Uint8Array(32), [], 255 * row.keyBytes + 1)).toThrow(RangeError);
    const longest = both(() => toHex(prfPlus(row.id, new Uint8Array(32), [], 255 * row.keyBytes).reveal()));
    expect(longest[0]).toBe(longest[1]);
  });

  it.each(hashes)("have one %s", (hash) => {
    fc.assert(
      fc.property(fc.array(octets(300), { maxLength: 4 }), (parts) => {
        const [mine, theirs] = both(() => toHex(digest(hash, ...parts)));
        expect(mine).toBe(theirs);
      }),
    );
    native.block.fill(0); // what a hash without a key covers is no secret
  });

  const suites = Object.values(encr as Record<string, EncryptionRow>)
    .filter((row) => row.implemented.ike)
    .flatMap((row) =>
      row.keyBits.flatMap((bits) =>
        (row.mode === "aead" ? [undefined] : Object.values(integ)).map((integrity) => ({
          name: `${EncryptionAlgorithm.nameOf(row.id)} of ${bits} bits, ${integrity?.keywords[0] ?? "combined"}`,
          row,
          bits,
          integrity,
        })),
      ),
    );

  it.each(suites)("$name: seal the same, and open what the other sealed", ({ row, bits, integrity }) => {
    const suite = {
      encr: row.id,
      keyBits: row.keyLengthAttribute ? bits : undefined,
      integ: integrity?.id ?? 0,
    };
    const encrKey = new Secret(Uint8Array.from({ length: bits / 8 + row.saltBytes }, (_, i) => 3 * i + 1));
    const integKey = integrity
      ? new Secret(Uint8Array.from({ length: integrity.keyBytes }, (_, i) => 5 * i + 2))
      : none;
    const cipher = () => skCipher(suite, encrKey, integKey, zeros);
    const { ivBytes, icvBytes, block } = cipher();
    fc.assert(
      fc.property(octets(80), fc.integer({ min: 1, max: 40 }), fc.nat(), (head, blocks, flip) => {
        const text = Uint8Array.from({ length: blocks * block }, (_, i) => i + flip);
        const message = () => {
          const bytes = new Uint8Array(head.length + ivBytes + text.length + icvBytes);
          bytes.set(head);
          bytes.set(text, head.length + ivBytes);
          return bytes;
        };
        const [mine, theirs] = both(() => {
          const bytes = message();
          cipher().seal(bytes, head.length);
          return bytes;
        });
        expect(toHex(mine)).toBe(toHex(theirs));
        const broken = Uint8Array.from(mine);
        broken[flip % broken.length]! ^= 1 << (flip % 8);
        for (const opened of both(() => cipher().open(mine, head.length)))
          expect(opened && toHex(opened)).toBe(toHex(text));
        for (const opened of both(() => cipher().open(broken, head.length))) expect(opened).toBeUndefined();
        for (const length of [0, head.length, head.length + ivBytes, head.length + ivBytes + icvBytes])
          for (const opened of both(() => cipher().open(mine.subarray(0, length), head.length)))
            expect(opened).toBeUndefined();
        native.block.fill(0); // ciphertext that was not authentic
      }),
      { numRuns: 25 },
    );
  });

  it("do not work with a key that was wiped", () => {
    const key = new Secret(new Uint8Array(36).fill(1));
    const cipher = skCipher({ encr: 20, keyBits: 256, integ: 0 }, key, none, zeros);
    key.wipe();
    for (const use of [cipher.seal.bind(cipher), cipher.open.bind(cipher)])
      for (const thrown of both(() => {
        expect(() => use(new Uint8Array(100), 28)).toThrow(RangeError);
        return true;
      }))
        expect(thrown).toBe(true);
  });

  it("share the work: what exceeds the addon's memory is node:crypto's", () => {
    const large = new Uint8Array(native.block.length).fill(7);
    const [mine, theirs] = both(() => toHex(hmac("sha256", large.subarray(0, 16), large)));
    expect(mine).toBe(theirs);
    expect(toHex(digest("sha1", large, large))).toHaveLength(40);
  });

  it("were both at work", () => {
    for (const name of ["digest", "hmac", "prfPlus", "seal", "open"])
      expect(calls.get(name), name).toBeGreaterThan(100);
  });
});

describe("the addon's symmetric functions", () => {
  it("throw a TypeError for what does not fit, and for what is no number", () => {
    const bytes = native.block.length;
    for (const n of [bytes + 1, 2 ** 32 - 1, undefined, "1", {}] as never[]) {
      expect(() => native.digest(3, n)).toThrow(TypeError);
      expect(() => native.hmac(3, n, 1)).toThrow(TypeError);
      expect(() => native.hmac(3, 1, n)).toThrow(TypeError);
      expect(() => native.prfPlus(3, 1, 1, n)).toThrow(TypeError);
      expect(() => native.seal(20, 256, 0, 28, n)).toThrow(TypeError);
    }
    for (const hash of [0, 6, -1, undefined] as never[])
      expect(() => native.digest(hash, 1)).toThrow(TypeError);
    expect(() => native.prfPlus(3, 1, 1, 255 * 32 + 1)).toThrow(TypeError);
    expect(() => native.hmac(3, bytes - 20, 1)).toThrow(TypeError);
  });

  it("throw a TypeError for what is no suite of the Encrypted payload", () => {
    for (const [cipher, bits, integrity] of [
      [20, 256, 12], // combined, with integrity
      [12, 256, 0], // not combined, without
      [11, 0, 12], // NULL
      [20, 255, 0],
      [2 ** 16 + 20, 256, 0],
    ] as const)
      expect(() => native.open(cipher, bits, integrity, 28, 200)).toThrow(TypeError);
  });

  it("refuse an impossible layout", () => {
    for (const [bodyOffset, bytes] of [
      [28, 28 + 8 + 16],
      [200, 100],
      [2 ** 32 - 1, 100],
      [0, 0],
    ] as const) {
      expect(native.seal(20, 256, 0, bodyOffset, bytes)).toBe(false);
      expect(native.open(20, 256, 0, bodyOffset, bytes)).toBe(false);
    }
  });
});

/** By the addon, and by node:crypto. */
function both<T>(run: () => T): [T, T] {
  accelerate(counting);
  const mine = run();
  accelerate(undefined);
  try {
    return [mine, run()];
  } finally {
    accelerate(counting);
  }
}

function counted<T>(name: string, result: T): T {
  calls.set(name, (calls.get(name) ?? 0) + 1);
  return result;
}
