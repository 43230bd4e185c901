import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WireError } from "../../src/core/errors.ts";
import {
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads,
  findPayload,
  IKE_HEADER_BYTES,
  MAX_FRAGMENTS,
  openFragment,
  openSk,
  type SkOpener,
  type SkSealer,
  sealFragmented,
  sealMessage,
} from "../../src/wire/index.ts";
import { header, payloadArbitraries, payloads } from "./wire-arbitraries.ts";

/** Cipher of the reader's imagination: every octet is flipped, the ICV is a sum. */
function toyCipher(ivBytes: number, icvBytes: number, block: number): SkSealer & SkOpener {
  const sum = (bytes: Uint8Array) => bytes.reduce((total, octet) => (total * 31 + octet + 1) & 0xff, 7);
  return {
    ivBytes,
    icvBytes,
    block,
    seal(message, bodyOffset) {
      const icvAt = message.length - icvBytes;
      message.fill(0xa5, bodyOffset, bodyOffset + ivBytes);
      for (let i = bodyOffset + ivBytes; i < icvAt; i++) message[i]! ^= 0xff;
      message.fill(sum(message.subarray(0, icvAt)), icvAt);
    },
    open(message, bodyOffset) {
      const icvAt = message.length - icvBytes;
      const expected = sum(message.subarray(0, icvAt));
      if (message.subarray(icvAt).some((octet) => octet !== expected)) return undefined;
      return message.subarray(bodyOffset + ivBytes, icvAt).map((octet) => octet ^ 0xff);
    },
  };
}

const cipher = fc
  .record({
    ivBytes: fc.constantFrom(8, 16),
    icvBytes: fc.integer({ min: 8, max: 32 }),
    block: fc.constantFrom(1, 4, 8, 16),
  })
  .map((c) => toyCipher(c.ivBytes, c.icvBytes, c.block));

describe("decode ∘ encode is the identity", () => {
  it.each(Object.entries(payloadArbitraries))("%s payload", (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary as fc.Arbitrary<Parameters<typeof encodePayloads>[0][number]>, (payload) => {
        const { first, bytes } = encodePayloads([payload]);
        expect(decodePayloads(first, bytes)).toEqual([payload]);
      }),
      { numRuns: 200 },
    );
  });

  it("messages in the clear", () => {
    fc.assert(
      fc.property(header, payloads, (h, chain) => {
        const datagram = encodeMessage({ header: h, payloads: chain });
        const decoded = decodeMessage(datagram);
        expect(decoded.header).toMatchObject({
          ...h,
          majorVersion: 2,
          minorVersion: 0,
          length: datagram.length,
        });
        expect(decoded.payloads).toEqual(chain);
        // And encode ∘ decode: the same octets again.
        expect(encodeMessage({ header: decoded.header, payloads: decoded.payloads as typeof chain })).toEqual(
          datagram,
        );
      }),
      { numRuns: 300 },
    );
  });

  it("messages inside SK, for every IV, block and ICV length", () => {
    fc.assert(
      fc.property(header, payloads, cipher, (h, chain, c) => {
        const datagram = sealMessage(h, chain, c);
        const message = decodeMessage(datagram);
        expect(message.header).toMatchObject(h);
        expect(message.payloads.map((p) => p.kind)).toEqual(["SK"]);
        expect(openSk(datagram, message, c)).toEqual(chain);
      }),
      { numRuns: 300 },
    );
  });
});

describe("messages in fragments (RFC 7383 §2.5)", () => {
  it("none is larger than allowed, unless 64 were not enough, and the chunks are the content again", () => {
    fc.assert(
      fc.property(header, payloads, cipher, fc.integer({ min: 0, max: 700 }), (h, chain, c, maxBytes) => {
        const datagrams = sealFragmented(h, chain, c, maxBytes);
        const whole = sealMessage(h, chain, c);
        if (whole.length <= maxBytes) {
          expect(datagrams).toEqual([whole]);
          return;
        }
        const { first, bytes } = encodePayloads(chain);
        expect(datagrams.length).toBeLessThanOrEqual(MAX_FRAGMENTS);
        const chunks = datagrams.map((datagram, i) => {
          const message = decodeMessage(datagram);
          expect(message.header).toMatchObject(h);
          expect(message.payloads.map((p) => p.kind)).toEqual(["SKF"]);
          const skf = findPayload(message.payloads, "SKF")!;
          expect(skf).toMatchObject({ fragmentNumber: i + 1, totalFragments: datagrams.length });
          expect(skf.firstPayload).toBe(i === 0 ? first : 0);
          return openFragment(datagram, skf, c)!;
        });
        expect(Buffer.concat(chunks)).toEqual(Buffer.from(bytes));
        const overhead = IKE_HEADER_BYTES + 8 + c.ivBytes + c.block + c.icvBytes;
        const room = maxBytes - overhead;
        if (room > bytes.length / MAX_FRAGMENTS)
          expect(Math.max(...datagrams.map((d) => d.length))).toBeLessThanOrEqual(maxBytes);
      }),
      { numRuns: 300 },
    );
  });
});

describe("decoding anything", () => {
  const outcome = (decode: () => unknown): string => {
    try {
      decode();
      return "decoded";
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      expect(error.field).not.toBe("");
      return "refused";
    }
  };

  it("gives a message or a WireError that names a field, for random octets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(outcome(() => decodeMessage(bytes))).toBe("refused");
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 200 }), (type, bytes) => {
        outcome(() => decodePayloads(type, bytes));
      }),
      { numRuns: 1000 },
    );
  });

  it("refuses every truncation of a message, with its Length corrected or not", () => {
    fc.assert(
      fc.property(header, fc.array(payloadArbitraries.N, { minLength: 1, maxLength: 3 }), (h, chain) => {
        const datagram = encodeMessage({ header: h, payloads: chain });
        for (let length = 0; length < datagram.length; length++) {
          const cut = datagram.slice(0, length);
          expect(outcome(() => decodeMessage(cut))).toBe("refused");
          if (length < 28) continue;
          new DataView(cut.buffer).setUint32(24, length);
          expect(outcome(() => decodeMessage(cut))).toBe("refused");
        }
      }),
      { numRuns: 30 },
    );
  });
});
