import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PeerMisbehaved } from "../../../src/core/errors.ts";
import { answerKeyExchange, keyPairFromPrivate, startKeyExchange } from "../../../src/crypto/index.ts";
import { answerMlKem, startMlKem } from "../../../src/crypto/mlkem.ts";
import { DhGroup, dh, kem } from "../../../src/registry/index.ts";
import { hex, toHex, wycheproof } from "./wycheproof.ts";

const mlkem = kem.ML_KEM_768;

describe("ML-KEM-768 (FIPS 203)", () => {
  it("agrees with Wycheproof's seeds and ciphertexts, implicit rejection included", () => {
    let completed = 0;
    let refused = 0;
    for (const test of wycheproof<{ seed: string; ek: string; c: string; K: string }>("mlkem_768").flatMap(
      (group) => group.tests,
    )) {
      if (hex(test.seed).length !== 64) {
        expect(() => startMlKem(mlkem, hex(test.seed))).toThrow();
        continue;
      }
      const exchange = startMlKem(mlkem, hex(test.seed));
      if (test.result === "invalid") {
        expect(() => exchange.complete(hex(test.c))).toThrow(PeerMisbehaved);
        refused++;
        continue;
      }
      expect([test.tcId, toHex(exchange.publicValue)]).toEqual([test.tcId, test.ek]);
      expect([test.tcId, toHex(exchange.complete(hex(test.c)).reveal())]).toEqual([test.tcId, test.K]);
      completed++;
    }
    expect(completed).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(0);
  });

  it("makes the keys that Wycheproof's seeds give", () => {
    for (const test of wycheproof<{ seed: string; ek: string }>("mlkem_768_keygen_seed").flatMap(
      (g) => g.tests,
    ))
      expect([test.tcId, toHex(startMlKem(mlkem, hex(test.seed)).publicValue)]).toEqual([test.tcId, test.ek]);
  });

  it("encapsulates as Wycheproof does, and refuses every key with a coefficient that is not below q", () => {
    const counts = { valid: 0, invalid: 0 };
    type Encaps = { m: string; ek: string; c: string; K: string };
    for (const test of wycheproof<Encaps>("mlkem_768_encaps").flatMap((group) => group.tests)) {
      if (test.result === "valid") {
        const answer = answerMlKem(mlkem, hex(test.ek), hex(test.m));
        expect([test.tcId, toHex(answer.publicValue)]).toEqual([test.tcId, test.c]);
        expect([test.tcId, toHex(answer.shared.reveal())]).toEqual([test.tcId, test.K]);
        counts.valid++;
      } else {
        expect(() => answerMlKem(mlkem, hex(test.ek), hex(test.m))).toThrow(PeerMisbehaved);
        counts.invalid++;
      }
    }
    expect(counts.valid).toBeGreaterThan(0);
    expect(counts.invalid).toBeGreaterThan(0);
  });

  it("refuses a key with one coefficient of q or more, wherever it stands, and takes q - 1", () => {
    const key = startMlKem(mlkem, new Uint8Array(64)).publicValue;
    const withCoefficient = (index: number, value: number) => {
      const changed = Uint8Array.from(key);
      const at = Math.floor(index / 2) * 3;
      if (index % 2 === 0) {
        changed[at] = value & 0xff;
        changed[at + 1] = (changed[at + 1]! & 0xf0) | (value >> 8);
      } else {
        changed[at + 1] = (changed[at + 1]! & 0x0f) | ((value & 0x0f) << 4);
        changed[at + 2] = value >> 4;
      }
      return changed;
    };
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 767 }), fc.integer({ min: 3329, max: 4095 }), (index, value) => {
        expect(() => answerMlKem(mlkem, withCoefficient(index, value))).toThrow(
          /coefficient of 3329 or more/,
        );
      }),
    );
    for (const index of [0, 1, 766, 767])
      expect(answerMlKem(mlkem, withCoefficient(index, 3328)).shared.length).toBe(mlkem.sharedSecretBytes);
  });

  it("gives a secret that the responder does not have when the ciphertext was changed", () => {
    const exchange = startMlKem(mlkem);
    const { publicValue, shared } = answerMlKem(mlkem, exchange.publicValue);
    expect(toHex(exchange.complete(publicValue).reveal())).toBe(toHex(shared.reveal()));
    publicValue[500]! ^= 1;
    const other = exchange.complete(publicValue);
    expect(other.length).toBe(mlkem.sharedSecretBytes);
    expect(toHex(other.reveal())).not.toBe(toHex(shared.reveal()));
  });
});

const methods = [...Object.values(dh), ...Object.values(kem)].map(
  (row) => [DhGroup.nameOf(row.id), row.id] as const,
);

describe("key exchange, started by one side and answered by the other", () => {
  it.each(methods)("%s: both have one secret, and never twice the same", (_, method) => {
    const secrets = [1, 2].map(() => {
      const exchange = startKeyExchange(method);
      expect(exchange.method).toBe(method);
      const answer = answerKeyExchange(method, exchange.publicValue);
      const secret = toHex(exchange.complete(answer.publicValue).reveal());
      expect(secret).toBe(toHex(answer.shared.reveal()));
      return secret;
    });
    expect(secrets[0]).not.toBe(secrets[1]);
  });

  it.each(methods)("%s: refuses data of another length on both sides", (_, method) => {
    const exchange = startKeyExchange(method);
    const answer = answerKeyExchange(method, exchange.publicValue);
    const lengths = (data: Uint8Array) => [
      new Uint8Array(0),
      data.subarray(1),
      data.subarray(0, -1),
      Uint8Array.from([0, ...data]),
    ];
    for (const data of lengths(exchange.publicValue))
      expect(() => answerKeyExchange(method, data)).toThrow(PeerMisbehaved);
    for (const data of lengths(answer.publicValue))
      expect(() => exchange.complete(data)).toThrow(PeerMisbehaved);
  });

  it.each(methods)("%s: completes nothing once it is wiped", (_, method) => {
    const exchange = startKeyExchange(method);
    const answer = answerKeyExchange(method, exchange.publicValue);
    exchange.wipe();
    expect(() => exchange.complete(answer.publicValue)).toThrow(RangeError);
  });

  it("takes the key pairs of Diffie-Hellman from where it is told, and wipes the answering one", () => {
    const taken: { group: number; wiped: boolean }[] = [];
    const source = (group: number) => {
      const pair = keyPairFromPrivate(group, new Uint8Array(32).fill(taken.length + 1));
      const record = { group, wiped: false };
      taken.push(record);
      return {
        ...pair,
        wipe: () => {
          record.wiped = true;
          pair.wipe();
        },
      };
    };
    const exchange = startKeyExchange(31, source);
    const answer = answerKeyExchange(31, exchange.publicValue, source);
    expect(toHex(exchange.complete(answer.publicValue).reveal())).toBe(toHex(answer.shared.reveal()));
    expect(() => answerKeyExchange(31, new Uint8Array(32), source)).toThrow(PeerMisbehaved);
    expect(taken).toEqual([
      { group: 31, wiped: false },
      { group: 31, wiped: true },
      { group: 31, wiped: true },
    ]);
  });

  it.each([0, 38, 1025])("has no exchange for method %d", (method) => {
    expect(() => startKeyExchange(method)).toThrow(RangeError);
    expect(() => answerKeyExchange(method, new Uint8Array(32))).toThrow(RangeError);
  });
});
