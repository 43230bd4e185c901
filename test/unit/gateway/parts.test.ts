import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { Secret } from "../../../src/core/secret.ts";
import { Backoff } from "../../../src/gateway/backoff.ts";
import { espKeyLine, ikeKeyLine } from "../../../src/gateway/keylog-lines.ts";
import { SpiAllocator } from "../../../src/gateway/spi-allocator.ts";
import { SeededRandom } from "../../sim/random.ts";

describe("inbound SPIs", () => {
  it.each([1, 2, 3, 4, 5, 8, 16, 256])(
    "with %d workers: unique, unreserved, spread evenly over real workers",
    (workers) => {
      const spis = new SpiAllocator(new SeededRandom(3), workers);
      const mask = 2 ** Math.ceil(Math.log2(workers)) - 1;
      const perWorker = new Array<number>(workers).fill(0);
      const seen = new Set<number>();
      for (let i = 0; i < workers * 20; i++) {
        const spi = spis.allocate();
        expect(spi).toBeGreaterThanOrEqual(256);
        expect(spi).toBeLessThan(2 ** 32);
        expect(seen.has(spi)).toBe(false);
        seen.add(spi);
        expect(spi & mask).toBeLessThan(workers);
        perWorker[spi & mask]!++;
      }
      expect(perWorker).toEqual(new Array(workers).fill(20));
    },
  );

  it("never gives out one that is taken, and gives a released one again", () => {
    // A source that repeats itself: every draw is the same SPI until it is taken.
    const draws = [0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 1, 9];
    let at = 0;
    const bytes = (n: number) => {
      at += n;
      return Uint8Array.from(draws.slice(at - n, at));
    };
    const spis = new SpiAllocator({ bytes }, 1);
    // 0x00000009 is reserved twice over; 0x00000109 is the first that may be used.
    expect(spis.allocate()).toBe(0x109);
    expect(spis.inUse).toBe(1);
    spis.release(0x109);
    at = 8;
    expect(spis.allocate()).toBe(0x109);
  });

  it("refuses an impossible number of workers", () => {
    for (const workers of [0, -1, 1.5, 257])
      expect(() => new SpiAllocator(new SeededRandom(1), workers)).toThrow(RangeError);
  });
});

describe("backoff", () => {
  it("doubles from one second to one minute, never gives up, never in step", () => {
    const backoff = new Backoff(new SeededRandom(5));
    const delays = Array.from({ length: 12 }, () => backoff.next());
    for (const [i, delay] of delays.entries()) {
      const nominal = Math.min(60_000, 1000 * 2 ** i);
      expect(delay).toBeGreaterThanOrEqual(nominal * 0.75 - 1);
      expect(delay).toBeLessThanOrEqual(nominal * 1.25 + 1);
    }
    expect(new Set(delays.slice(7)).size).toBeGreaterThan(1);
    backoff.reset();
    expect(backoff.next()).toBeLessThanOrEqual(1251);
  });
});

describe("key log lines, in the words of Wireshark", () => {
  const secret = (text: string) => new Secret(Uint8Array.from(Buffer.from(text, "hex")));

  it("ikev2_decryption_table, AES-CBC with HMAC-SHA2-256", () => {
    const line = ikeKeyLine({
      spiInitiator: 0x0123456789abcdefn,
      spiResponder: 1n,
      suite: { encr: 12, keyBits: 256, integ: 12, prf: 5, group: 14 },
      SK_ei: secret("aa01"),
      SK_er: secret("bb02"),
      SK_ai: secret("cc03"),
      SK_ar: secret("dd04"),
    });
    expect(line).toBe(
      '0123456789abcdef,0000000000000001,aa01,bb02,"AES-CBC-256 [RFC3602]",cc03,dd04,"HMAC_SHA2_256_128 [RFC4868]"',
    );
  });

  it("ikev2_decryption_table, AES-GCM", () => {
    const keys = { SK_ei: secret("aa"), SK_er: secret("bb"), SK_ai: secret(""), SK_ar: secret("") };
    const suite = { encr: 20, keyBits: 128, integ: 0, prf: 5, group: 31 };
    expect(ikeKeyLine({ spiInitiator: 2n, spiResponder: 1n, suite, ...keys })).toBe(
      '0000000000000002,0000000000000001,aa,bb,"AES-GCM-128 with 16 octet ICV [RFC5282]",,,"NONE [RFC4306]"',
    );
  });

  it("esp_sa; the keys are wiped once written", () => {
    const encrKey = secret("00112233");
    const line = espKeyLine({
      source: IpAddress.parse("192.0.2.1"),
      destination: IpAddress.parse("198.51.100.7"),
      spi: 0xabc,
      suite: { encr: 20, keyBits: 128, integ: 0, group: 0, esn: true },
      encrKey,
      integKey: secret(""),
    });
    expect(line).toBe(
      '"IPv4","192.0.2.1","198.51.100.7","0x00000abc","AES-GCM with 16 octet ICV [RFC4106]","0x00112233","NULL",""',
    );
    expect(encrKey.length).toBe(0);
  });
});
