import { describe, expect, it } from "vitest";
import { RandomPool } from "../../../src/core/random-pool.ts";

/** Octets that say where in its output they are, modulo a prime so that no two pieces of 3 or more are equal. */
const counting = () => {
  const drawn: Uint8Array[] = [];
  let next = 0;
  const source = {
    bytes(length: number) {
      const piece = Uint8Array.from({ length }, () => next++ % 251);
      drawn.push(piece);
      return piece;
    },
  };
  return { source, drawn };
};

describe("a pool of randomness", () => {
  it("hands out each octet of its source once, and leaves none of them behind", () => {
    const { source, drawn } = counting();
    const pool = new RandomPool(source);
    let expected = 0;
    for (let i = 0; i < 2000; i += 1) {
      const before = drawn.length;
      const length = 1 + (i % 48);
      const piece = pool.bytes(length);
      if (drawn.length > before) expected = 4096 * before; // what was too short at the end of the last one is lost
      expect([...piece]).toEqual(Array.from({ length }, (_, k) => (expected + k) % 251));
      expected += length;
      const latest = drawn.at(-1)!;
      const given = expected - 4096 * (drawn.length - 1);
      expect(latest.subarray(0, given).every((octet) => octet === 0)).toBe(true);
    }
    expect(drawn.length).toBeGreaterThan(10);
    expect(drawn.every((piece) => piece.length === 4096)).toBe(true);
    for (const old of drawn.slice(0, -1)) expect(old.every((octet) => octet === 0)).toBe(true);
  });

  it("gives memory that is the taker's alone", () => {
    const pool = new RandomPool(counting().source);
    const first = pool.bytes(8);
    const second = pool.bytes(8);
    first.fill(0xff);
    expect([...second]).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    expect(first.buffer).not.toBe(second.buffer);
  });

  it("passes long requests on, and gives nothing for nothing", () => {
    const { source, drawn } = counting();
    const pool = new RandomPool(source);
    expect(pool.bytes(0)).toHaveLength(0);
    expect(pool.bytes(257)).toHaveLength(257);
    expect(drawn.map((piece) => piece.length)).toEqual([257]);
    expect(pool.bytes(256)).toHaveLength(256);
    expect(drawn.map((piece) => piece.length)).toEqual([257, 4096]);
  });
});
