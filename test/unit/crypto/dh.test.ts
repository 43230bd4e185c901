import { describe, expect, it } from "vitest";
import { PeerMisbehaved } from "../../../src/core/errors.ts";
import { generateKeyPair, keyPairFromPrivate } from "../../../src/crypto/index.ts";
import { modpPrimes, modpSubgroups } from "../../../src/crypto/modp-primes.ts";
import { DhGroup, type DhRow, dh } from "../../../src/registry/index.ts";
import { describeCurves } from "./curves.ts";
import { hex, toHex } from "./wycheproof.ts";

const rows: readonly DhRow[] = Object.values(dh);
const runnable = rows
  .filter((row) => row.implemented.ike)
  .map((row) => [DhGroup.nameOf(row.id), row] as const);
const modp = runnable.filter(([, row]) => row.kind === "modp" && !modpSubgroups.has(row.id));

describe("key exchange", () => {
  it("covers the groups that IKE negotiates", () => {
    expect(runnable.map(([, row]) => row.id).sort((a, b) => a - b)).toEqual([
      1, 2, 5, 14, 15, 16, 19, 20, 21, 24, 31,
    ]);
  });

  it.each(runnable)(
    "%s: both sides get one secret of the group's length, and never twice the same",
    (_, row) => {
      const secrets = [1, 2].map(() => {
        const initiator = generateKeyPair(row.id);
        const responder = generateKeyPair(row.id);
        expect(initiator.group).toBe(row.id);
        expect(initiator.publicValue.length).toBe(row.publicBytes);
        const gir = initiator.computeSharedSecret(responder.publicValue);
        expect(gir.length).toBe(row.sharedSecretBytes);
        expect(toHex(responder.computeSharedSecret(initiator.publicValue).reveal())).toBe(
          toHex(gir.reveal()),
        );
        return toHex(gir.reveal());
      });
      expect(secrets[0]).not.toBe(secrets[1]);
    },
  );

  it.each(runnable)("%s: refuses KE data of another length", (_, row) => {
    const pair = generateKeyPair(row.id);
    const peer = generateKeyPair(row.id).publicValue;
    const long = new Uint8Array(peer.length + 1);
    long.set(peer, 1); // the same number, one zero longer
    for (const data of [new Uint8Array(0), peer.subarray(1), peer.subarray(0, -1), long])
      expect(() => pair.computeSharedSecret(data)).toThrow(PeerMisbehaved);
  });

  it.each(runnable)("%s: a pair that was wiped computes nothing", (_, row) => {
    const pair = generateKeyPair(row.id);
    const peer = generateKeyPair(row.id).publicValue;
    pair.wipe();
    expect(() => pair.computeSharedSecret(peer)).toThrow(RangeError);
  });

  it.each([0, 22, 23, 36, 1025, 65535])("has no key pair for group %d", (group) => {
    expect(() => generateKeyPair(group)).toThrow(RangeError);
  });
});

describe("modp groups (RFC 2409, RFC 3526)", () => {
  it.each([
    [1, 768, 149686n],
    [2, 1024, 129093n],
    [5, 1536, 741804n],
    [14, 2048, 124476n],
    [15, 3072, 1690314n],
    [16, 4096, 240904n],
  ])(
    "group %d has the prime 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + k) with n = %d",
    (group, bits, k) => {
      const n = BigInt(bits);
      const prime = (1n << n) - (1n << (n - 64n)) - 1n + (1n << 64n) * (scaledPi(n - 130n) + k);
      expect(toHex(modpPrimes.get(group)!)).toBe(prime.toString(16));
    },
  );

  it.each(modp)("%s computes 2^x and y^x as arithmetic says", (_, row) => {
    const p = BigInt(`0x${toHex(modpPrimes.get(row.id)!)}`);
    const bytes = (v: bigint) => hex(v.toString(16).padStart(row.publicBytes * 2, "0"));
    const x = 0xfedcba9876543210fedcba9876543210n;
    const pair = keyPairFromPrivate(row.id, hex(x.toString(16)));
    expect(toHex(pair.publicValue)).toBe(toHex(bytes(power(2n, x, p))));
    for (const y of [2n, 3n, p - 2n, p / 3n])
      expect(toHex(pair.computeSharedSecret(bytes(y)).reveal())).toBe(toHex(bytes(power(y, x, p))));
  });

  it("keeps the leading zeros of a small result", () => {
    const pair = keyPairFromPrivate(DhGroup.code.MODP_2048, Uint8Array.of(5));
    expect(pair.publicValue.length).toBe(256);
    expect(pair.publicValue[255]).toBe(32);
    const two = new Uint8Array(256);
    two[255] = 2;
    const secret = pair.computeSharedSecret(two).reveal();
    expect(secret.length).toBe(256);
    expect(secret[255]).toBe(32);
  });

  it.each(modp)("%s refuses 0, 1, p-1, p, p+1 and the largest number, and takes 2 and p-2", (_, row) => {
    const p = BigInt(`0x${toHex(modpPrimes.get(row.id)!)}`);
    const pair = generateKeyPair(row.id);
    const bytes = (v: bigint) => hex(v.toString(16).padStart(row.publicBytes * 2, "0"));
    const largest = (1n << BigInt(row.publicBytes * 8)) - 1n;
    for (const y of [0n, 1n, p - 1n, p, p + 1n, largest])
      expect(() => pair.computeSharedSecret(bytes(y))).toThrow(/not between 1 and p − 1/);
    for (const y of [2n, p - 2n]) expect(pair.computeSharedSecret(bytes(y)).length).toBe(row.publicBytes);
  });

  it("pairs do not disturb each other", () => {
    const [a, b, c] = [1, 2, 3].map(() => generateKeyPair(DhGroup.code.MODP_1024)) as [
      KeyPair,
      KeyPair,
      KeyPair,
    ];
    const ab = a.computeSharedSecret(b.publicValue).reveal();
    const ca = c.computeSharedSecret(a.publicValue).reveal();
    expect(toHex(b.computeSharedSecret(a.publicValue).reveal())).toBe(toHex(ab));
    expect(toHex(a.computeSharedSecret(c.publicValue).reveal())).toBe(toHex(ca));
  });
});

describe("the modp group with a subgroup of prime order (RFC 5114 §2.3, RFC 6989 §2.2)", () => {
  const group = DhGroup.code.MODP_2048_256;
  const number = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes)}`);
  const bytes = (v: bigint) => hex(v.toString(16).padStart(512, "0"));
  const p = number(modpPrimes.get(group)!);
  const { generator, order } = modpSubgroups.get(group)!;
  const g = number(generator);
  const q = number(order);

  it("has a prime, a prime order that divides p - 1, and a generator of that order", () => {
    for (const prime of [p, q])
      for (const base of [2n, 3n, 5n, 7n]) expect(power(base, prime - 1n, prime)).toBe(1n);
    expect((p - 1n) % q).toBe(0n);
    expect(g > 1n && power(g, q, p) === 1n).toBe(true);
  });

  it("agrees with RFC 5114 §A.3's example", () => {
    const a = keyPairFromPrivate(group, hex(example.xA));
    const b = keyPairFromPrivate(group, hex(example.xB));
    expect(toHex(a.publicValue)).toBe(toHex(hex(example.yA)));
    expect(toHex(b.publicValue)).toBe(toHex(hex(example.yB)));
    expect(toHex(a.computeSharedSecret(hex(example.yB)).reveal())).toBe(toHex(hex(example.Z)));
    expect(toHex(b.computeSharedSecret(hex(example.yA)).reveal())).toBe(toHex(hex(example.Z)));
  });

  function tryIt(compute: () => unknown): void {
    try {
      compute();
    } catch (error) {
      expect(error).toBeInstanceOf(PeerMisbehaved);
    }
  }

  it("refuses 0, 1, p-1, p and p+1", () => {
    for (const y of [0n, 1n, p - 1n, p, p + 1n])
      expect(() => generateKeyPair(group).computeSharedSecret(bytes(y))).toThrow(/not between 1 and p − 1/);
  });

  it("computes one secret with a private key, so that elements of small subgroups tell nothing of another's", () => {
    const cofactor = (p - 1n) / q;
    const small = [2n, 3n, 5n, 7n, 11n, 13n].filter((r) => cofactor % r === 0n);
    const elements = small
      .map((r) =>
        [2n, 3n, 5n, 7n].map((base) => power(base, (p - 1n) / r, p)).find((y) => y !== 1n && y !== p - 1n),
      )
      .filter((y) => y !== undefined);
    expect(elements.length).toBeGreaterThan(0);
    // Alone, and as confinement attacks send them: multiplied into a good value.
    for (const y of [...elements, ...elements.map((y) => (y * g) % p), g]) {
      const pair = generateKeyPair(group);
      expect(() => pair.computeSharedSecret(bytes(1n))).toThrow(PeerMisbehaved);
      expect(pair.spent).toBe(false);
      // A power of a small element is 1 now and then, and then it is no secret.
      if (elements.includes(y)) tryIt(() => pair.computeSharedSecret(bytes(y)));
      else expect(pair.computeSharedSecret(bytes(y)).length).toBe(256);
      expect(pair.spent).toBe(true);
      for (const next of [y, g]) expect(() => pair.computeSharedSecret(bytes(next))).toThrow(RangeError);
    }
  });

  it("refuses a secret of 1, and the private key is gone", () => {
    const r = [3n, 5n, 7n, 11n, 13n].find((r) => ((p - 1n) / q) % r === 0n)!;
    const y = [2n, 3n, 5n, 7n].map((base) => power(base, (p - 1n) / r, p)).find((y) => y > 1n && y < p - 1n);
    if (y === undefined) throw new Error(`no element of order ${r}`);
    const pair = keyPairFromPrivate(group, hex((r << 200n).toString(16).padStart(64, "0")));
    expect(() => pair.computeSharedSecret(bytes(y))).toThrow(/small order/);
    expect(pair.spent).toBe(true);
  });

  it("takes every power of the generator, and computes as arithmetic says", () => {
    const x = 0xfedcba9876543210fedcba9876543210n;
    for (const k of [1n, 2n, 3n, q - 1n, q / 2n]) {
      const pair = keyPairFromPrivate(group, hex(x.toString(16)));
      const y = power(g, k, p);
      expect(toHex(pair.computeSharedSecret(bytes(y)).reveal())).toBe(toHex(bytes(power(y, x, p))));
    }
  });
});

describeCurves("node:crypto");

const example = {
  xA: `0881382C DB87660C 6DC13E61 4938D5B9 C8B2F248 581CC5E3 1B354543 97FCE50E`,
  yA: `2E9380C8 323AF975 45BC4941 DEB0EC37 42C62FE0 ECE824A6 ABDBE66C 59BEE024
    2911BFB9 67235CEB A35AE13E 4EC752BE 630B92DC 4BDE2847 A9C62CB8 15274542
    1FB7EB60 A63C0FE9 159FCCE7 26CE7CD8 523D7450 667EF840 E4919121 EB5F01C8
    C9B0D3D6 48A93BFB 75689E82 44AC134A F544711C E79A02DC C3422668 4780DDDC
    B4985941 06C37F5B C7985648 7AF5AB02 2A2E5E42 F09897C1 A85A11EA 0212AF04
    D9B4CEBC 937C3C1A 3E15A8A0 342E3376 15C84E7F E3B8B9B8 7FB1E73A 15AF12A3
    0D746E06 DFC34F29 0D797CE5 1AA13AA7 85BF6658 AFF5E4B0 93003CBE AF665B3C
    2E113A3A 4E905269 341DC071 1426685F 4EF37E86 8A8126FF 3F2279B5 7CA67E29`,
  xB: `7D62A7E3 EF36DE61 7B13D1AF B82C780D 83A23BD4 EE670564 5121F371 F546A53D`,
  yB: `575F0351 BD2B1B81 7448BDF8 7A6C362C 1E289D39 03A30B98 32C5741F A250363E
    7ACBC7F7 7F3DACBC 1F131ADD 8E03367E FF8FBBB3 E1C57844 24809B25 AFE4D226
    2A1A6FD2 FAB64105 CA30A674 E07F7809 85208863 2FC04923 3791AD4E DD083A97
    8B883EE6 18BC5E0D D047415F 2D95E683 CF14826B 5FBE10D3 CE41C6C1 20C78AB2
    0008C698 BF7F0BCA B9D7F407 BED0F43A FB2970F5 7F8D1204 3963E66D DD320D59
    9AD9936C 8F44137C 08B180EC 5E985CEB E186F3D5 49677E80 607331EE 17AF3380
    A725B078 2317D7DD 43F59D7A F9568A9B B63A84D3 65F92244 ED120988 219302F4
    2924C7CA 90B89D24 F71B0AB6 97823D7D EB1AFF5B 0E8E4A45 D49F7F53 757E1913`,
  Z: `86C70BF8 D0BB81BB 01078A17 219CB7D2 7203DB2A 19C877F1 D1F19FD7 D77EF225
    46A68F00 5AD52DC8 4553B78F C60330BE 51EA7C06 72CAC151 5E4B35C0 47B9A551
    B88F39DC 26DA14A0 9EF74774 D47C762D D177F9ED 5BC2F11E 52C879BD 95098504
    CD9EECD8 A8F9B3EF BD1F008A C5853097 D9D1837F 2B18F77C D7BE01AF 80A7C7B5
    EA3CA54C C02D0C11 6FEE3F95 BB873993 85875D7E 86747E67 6E728938 ACBFF709
    8E05BE4D CFB24052 B83AEFFB 14783F02 9ADBDE7F 53FAE920 84224090 E007CEE9
    4D4BF2BA CE9FFD4B 57D2AF7C 724D0CAA 19BF0501 F6F17B4A A10F425E 3EA76080
    B4B9D6B3 CEFEA115 B2CEB878 9BB8A3B0 EA87FEBE 63B6C8F8 46EC6DB0 C26C5D7C`,
};

type KeyPair = ReturnType<typeof generateKeyPair>;

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let b = base, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus)
    if (e & 1n) result = (result * b) % modulus;
  return result;
}

/** [2^bits pi], by Machin's formula with 64 guard bits. */
function scaledPi(bits: bigint): bigint {
  const one = 1n << (bits + 64n);
  const arctanOfInverse = (x: bigint) => {
    let sum = 0n;
    for (let term = one / x, k = 1n, sign = 1n; term !== 0n; term /= x * x, k += 2n, sign = -sign)
      sum += (sign * term) / k;
    return sum;
  };
  return (4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n))) >> 64n;
}
