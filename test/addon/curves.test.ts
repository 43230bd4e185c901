/** The addon's curves against everything that node:crypto's are held to, and against node:crypto itself. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PeerMisbehaved } from "../../src/core/errors.ts";
import { generateKeyPair, keyPairFromPrivate } from "../../src/crypto/index.ts";
import { nativeCurves } from "../../src/dataplane/index.ts";
import { DhGroup, type DhRow, dh } from "../../src/registry/index.ts";
import { describeCurves } from "../unit/crypto/curves.ts";
import { hex, toHex } from "../unit/crypto/wycheproof.ts";

const curves = nativeCurves();
const rows = Object.values(dh as Record<string, DhRow>).filter((row) => row.kind !== "modp");
const named = rows.map((row) => [DhGroup.nameOf(row.id), row] as const);
const { ECP_256, ECP_384, ECP_521, CURVE25519 } = DhGroup.code;

describeCurves("nettle", curves);

describe("key pairs with the addon's curves", () => {
  it("cover the four curves", () => {
    expect(rows.map((row) => row.id).sort((a, b) => a - b)).toEqual([ECP_256, ECP_384, ECP_521, CURVE25519]);
  });

  it.each(named)("%s: every private key has node:crypto's public value and secret", (_, row) => {
    const octets = fc.uint8Array({ minLength: row.sharedSecretBytes, maxLength: row.sharedSecretBytes });
    fc.assert(
      fc.property(octets, octets, (a, b) => {
        // Below every order, and never zero.
        for (const key of [a, b]) {
          if (row.kind === "ecp") key[0] = 0;
          key[1]! |= 1;
          if (row.id === ECP_521) key[1] = 1;
        }
        const peer = keyPairFromPrivate(row.id, b);
        const native = keyPairFromPrivate(row.id, a, curves);
        const node = keyPairFromPrivate(row.id, a);
        expect(toHex(native.publicValue)).toBe(toHex(node.publicValue));
        expect(toHex(native.computeSharedSecret(peer.publicValue).reveal())).toBe(
          toHex(node.computeSharedSecret(peer.publicValue).reveal()),
        );
      }),
      { numRuns: 40 },
    );
  });

  it.each(named)("%s: fresh pairs differ, and node:crypto's get the same secret", (_, row) => {
    const values = new Set<string>();
    for (let i = 0; i < 20; i += 1) {
      const native = generateKeyPair(row.id, curves);
      const node = generateKeyPair(row.id);
      expect(native.publicValue.length).toBe(row.publicBytes);
      const secret = native.computeSharedSecret(node.publicValue);
      expect(secret.length).toBe(row.sharedSecretBytes);
      expect(toHex(node.computeSharedSecret(native.publicValue).reveal())).toBe(toHex(secret.reveal()));
      values.add(toHex(native.publicValue));
    }
    expect(values.size).toBe(20);
  });

  it.each(named)("%s: refuse KE data of another length, and all zeros", (_, row) => {
    const pair = generateKeyPair(row.id, curves);
    for (const length of [0, 1, row.publicBytes - 1, row.publicBytes + 1, row.publicBytes])
      expect(() => pair.computeSharedSecret(new Uint8Array(length))).toThrow(PeerMisbehaved);
  });

  it.each(named)("%s: a pair that was wiped computes nothing", (_, row) => {
    const pair = generateKeyPair(row.id, curves);
    const peer = generateKeyPair(row.id).publicValue;
    pair.wipe();
    expect(() => pair.computeSharedSecret(peer)).toThrow(RangeError);
  });

  it.each([
    [ECP_256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"],
    [
      ECP_384,
      "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ],
    [
      ECP_521,
      `01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa
       51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409`,
    ],
  ])("group %d: 0, the order and more are no private keys; the order less 1 is one", (group, text) => {
    const order = hex(text);
    const last = Uint8Array.from(order);
    last[last.length - 1]! -= 1;
    for (const key of [new Uint8Array(order.length), order, new Uint8Array(order.length).fill(255)])
      expect(curves.publicValue(group, key)).toBeUndefined();
    expect(toHex(curves.publicValue(group, last)!)).toBe(toHex(keyPairFromPrivate(group, last).publicValue));
  });

  it("refuse coordinates that are not below the field's prime, though the point would be on the curve", () => {
    // P-256 has a point with x = 5; p + 5 still fits into 32 octets.
    const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
    const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
    const x = 5n;
    const y = power(x ** 3n - 3n * x + b, (p + 1n) / 4n, p);
    const point = (at: bigint) => hex([at, y].map((n) => n.toString(16).padStart(64, "0")).join(""));
    const pair = generateKeyPair(ECP_256, curves);
    expect(pair.computeSharedSecret(point(x)).length).toBe(32);
    expect(() => pair.computeSharedSecret(point(x + p))).toThrow(/not a point on the curve/);
  });

  it("throw a TypeError for what is no group of a curve or no Uint8Array", () => {
    for (const group of [0, 14, 22, -1, 2 ** 32 + 19, Number.NaN])
      expect(() => curves.publicValue(group, new Uint8Array(32))).toThrow(TypeError);
    for (const wrong of [undefined, null, "key", [1], new Uint16Array(16)] as never[]) {
      expect(() => curves.publicValue(CURVE25519, wrong)).toThrow(TypeError);
      expect(() => curves.sharedSecret(CURVE25519, new Uint8Array(32), wrong)).toThrow(TypeError);
    }
    for (const length of [0, 31, 33])
      expect(curves.publicValue(CURVE25519, new Uint8Array(length))).toBeUndefined();
  });
});

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let b = base, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus)
    if (e & 1n) result = (result * b) % modulus;
  return result;
}
