import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { CookieJar, lowerNonce } from "../../../src/ike/v2/cookie.ts";
import { SeededRandom } from "../../sim/random.ts";

const address = IpAddress.parse("192.0.2.1");
const Ni = new Uint8Array(32).fill(1);

describe("cookies (RFC 7296 §2.6)", () => {
  const jar = () => new CookieJar(new SeededRandom(1), 1000);

  it("are good for the same nonce, address and SPI only", () => {
    const j = jar();
    const cookie = j.bake(0, Ni, address, 7n);
    expect(cookie.length).toBeLessThanOrEqual(64);
    expect(j.isGood(10, cookie, Ni, address, 7n)).toBe(true);
    expect(j.isGood(10, cookie, new Uint8Array(32), address, 7n)).toBe(false);
    expect(j.isGood(10, cookie, Ni, IpAddress.parse("192.0.2.2"), 7n)).toBe(false);
    expect(j.isGood(10, cookie, Ni, address, 8n)).toBe(false);
    expect(j.isGood(10, cookie.subarray(1), Ni, address, 7n)).toBe(false);
    expect(j.isGood(10, new Uint8Array(0), Ni, address, 7n)).toBe(false);
  });

  it("outlive one change of the secret, not two", () => {
    const j = jar();
    const cookie = j.bake(0, Ni, address, 7n);
    expect(j.isGood(1500, cookie, Ni, address, 7n)).toBe(true);
    expect(j.isGood(2600, cookie, Ni, address, 7n)).toBe(false);
  });

  it("die with a secret that nobody has used for two periods", () => {
    const j = jar();
    const cookie = j.bake(0, Ni, address, 7n);
    expect(j.isGood(2000, cookie, Ni, address, 7n)).toBe(false);
  });
});

it("the lower nonce is found by octets, and by length when one begins the other", () => {
  const a = Uint8Array.of(1, 2, 3);
  const b = Uint8Array.of(1, 2, 4);
  expect(lowerNonce(a, b)).toBe(a);
  expect(lowerNonce(b, a)).toBe(a);
  expect(lowerNonce(Uint8Array.of(1, 2), a)).toEqual(Uint8Array.of(1, 2));
});
