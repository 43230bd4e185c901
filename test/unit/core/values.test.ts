import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError, WireError } from "../../../src/core/errors.ts";
import { jittered, type Random, randomBelow } from "../../../src/core/random.ts";
import { err, ok } from "../../../src/core/result.ts";
import { Secret } from "../../../src/core/secret.ts";
import { earlier } from "../../../src/core/time.ts";

const replay = (...chunks: number[][]): Random => ({ bytes: () => Uint8Array.from(chunks.shift()!) });

describe("Secret", () => {
  it("never shows its bytes", () => {
    const secret = Secret.fromText("hunter2");
    for (const text of [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect({ deep: [secret] }),
    ]) {
      expect(text).toContain("[secret]");
      expect(text).not.toContain("hunter2");
      expect(text).not.toContain("104");
    }
    expect(Object.keys(secret)).toEqual([]);
  });

  it("zeroes the very bytes it was given, and is empty afterwards", () => {
    const bytes = Uint8Array.of(1, 2, 3);
    const secret = new Secret(bytes);
    expect(secret.length).toBe(3);
    expect(secret.reveal()).toBe(bytes);
    secret.wipe();
    expect(bytes).toEqual(new Uint8Array(3));
    expect(secret.length).toBe(0);
  });

  it("has copies that outlive it", () => {
    const secret = new Secret(Uint8Array.of(1, 2, 3));
    const copy = secret.copy();
    secret.wipe();
    expect(copy.reveal()).toEqual(Uint8Array.of(1, 2, 3));
  });
});

describe("Random", () => {
  it("draws again where the last partial block would favour small values", () => {
    // 2^32 mod 3 is 1: only 0xffffffff is beyond the last whole block.
    expect(randomBelow(replay([255, 255, 255, 255], [0, 0, 0, 5]), 3)).toBe(2);
    expect(randomBelow(replay([255, 255, 255, 254]), 3)).toBe(0xfffffffe % 3);
    expect(randomBelow(replay([255, 255, 255, 255]), 2 ** 32)).toBe(0xffffffff);
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 32 + 1])(
    "refuses the bound %d instead of drawing for ever",
    (bound) => {
      expect(() => randomBelow(replay(), bound)).toThrow(RangeError);
    },
  );

  it("jitters within the fraction", () => {
    expect(jittered(replay([0, 0, 0, 0]), 100, 0.1)).toBeCloseTo(90);
    expect(jittered(replay([128, 0, 0, 0]), 100, 0.1)).toBeCloseTo(100);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
        const value = jittered({ bytes: () => bytes }, 1000, 0.25);
        expect(value).toBeGreaterThanOrEqual(750);
        expect(value).toBeLessThan(1250);
      }),
    );
  });
});

describe("small values", () => {
  it("takes the earlier deadline, and the only one when there is one", () => {
    expect(earlier(1, 2)).toBe(1);
    expect(earlier(2, 1)).toBe(1);
    expect(earlier(undefined, 2)).toBe(2);
    expect(earlier(0, undefined)).toBe(0);
    expect(earlier(undefined, undefined)).toBeUndefined();
  });

  it("errors carry where they happened", () => {
    expect(new WireError("SA > Proposal", "is short")).toMatchObject({
      field: "SA > Proposal",
      message: "SA > Proposal: is short",
    });
    expect(new ConfigError("gateway.name", "is missing")).toMatchObject({ path: "gateway.name" });
    expect(ok(1)).toEqual({ ok: true, value: 1 });
    expect(err("x")).toEqual({ ok: false, error: "x" });
  });
});
