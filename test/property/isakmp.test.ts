import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress } from "../../src/core/address.ts";
import { WireError } from "../../src/core/errors.ts";
import { IsakmpReassembly } from "../../src/ike/v1/reassembly.ts";
import {
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  fragmentIsakmp,
  type IsakmpCipher,
  type IsakmpPayload,
  isakmpBody,
  isIsakmpFragment,
  MAX_ISAKMP_FRAGMENTS,
  openIsakmp,
  type ReceivedPayload,
  sealIsakmp,
  sealIsakmpWithHash,
} from "../../src/wire/v1/index.ts";
import { isakmpHeader, isakmpPayloadArbitraries, isakmpPayloads } from "./isakmp-arbitraries.ts";

/** Cipher of the reader's imagination: every block is flipped by the one before. */
function toyCipher(block: number): IsakmpCipher {
  const chain = (iv: Uint8Array, text: Uint8Array, ciphertext: (i: number, out: Uint8Array) => number) => {
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++)
      out[i] = text[i]! ^ 0xa5 ^ (i < block ? iv[i]! : ciphertext(i - block, out));
    return out;
  };
  return {
    block,
    encrypt: (iv, text) => chain(iv, text, (i, out) => out[i]!),
    decrypt: (iv, text) => chain(iv, text, (i) => text[i]!),
  };
}
const cipherAndIv = fc
  .constantFrom(8, 16)
  .chain((block) =>
    fc.tuple(fc.constant(toyCipher(block)), fc.uint8Array({ minLength: block, maxLength: block })),
  );

/** What was sent, again: without what only a received payload has. */
const sent = (payloads: readonly ReceivedPayload[]) => payloads.map(({ body: _, ...payload }) => payload);

function outcome(decode: () => unknown): "decoded" | "refused" {
  try {
    decode();
    return "decoded";
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    expect(error.field).not.toBe("");
    return "refused";
  }
}

describe("IKEv1: decode ∘ encode is the identity", () => {
  it.each(Object.entries(isakmpPayloadArbitraries))("%s payload", (_, arbitrary) => {
    fc.assert(
      fc.property(isakmpHeader, arbitrary as fc.Arbitrary<IsakmpPayload>, (header, payload) => {
        const { payloads } = decodeIsakmp(encodeIsakmp(header, [payload]));
        expect(sent(payloads)).toEqual([payload]);
        expect(payloads[0]!.body).toEqual(isakmpBody(payload));
      }),
      { numRuns: 200 },
    );
  });

  it("messages in the clear", () => {
    fc.assert(
      fc.property(isakmpHeader, isakmpPayloads, (header, chain) => {
        const datagram = encodeIsakmp(header, chain);
        const decoded = decodeIsakmp(datagram);
        expect(decoded.header).toMatchObject({ ...header, encrypted: false, length: datagram.length });
        expect(sent(decoded.payloads)).toEqual(chain);
        // And encode ∘ decode: the same octets again.
        expect(encodeIsakmp(decoded.header, decoded.payloads)).toEqual(datagram);
      }),
      { numRuns: 300 },
    );
  });

  it("encrypted messages, with or without more padding than needed", () => {
    fc.assert(
      fc.property(
        isakmpHeader,
        isakmpPayloads,
        cipherAndIv,
        fc.boolean(),
        (header, chain, [cipher, iv], pad) => {
          let { datagram, nextIv } = sealIsakmp(header, chain, cipher, iv);
          if (pad || chain.length === 0) {
            // A block more, ending with its own length.
            const more = new Uint8Array(cipher.block);
            more[cipher.block - 1] = cipher.block - 1;
            const ciphertext = cipher.encrypt(nextIv, more);
            datagram = Uint8Array.from([...datagram, ...ciphertext]);
            new DataView(datagram.buffer).setUint32(24, datagram.length);
            nextIv = ciphertext;
          }
          const h = decodeIsakmpHeader(datagram);
          expect(h).toMatchObject({ ...header, encrypted: true });
          const opened = openIsakmp(datagram, h, cipher, iv);
          expect(sent(opened.payloads)).toEqual(chain);
          expect(opened.nextIv).toEqual(nextIv);
          expect((datagram.length - 28) % cipher.block).toBe(0);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("encrypted messages that begin with a HASH, which covers all that follows", () => {
    fc.assert(
      fc.property(
        isakmpHeader,
        isakmpPayloads,
        cipherAndIv,
        fc.uint8Array({ minLength: 16, maxLength: 64 }),
        (header, chain, [cipher, iv], hash) => {
          let covered: Uint8Array | undefined;
          const { datagram, nextIv } = sealIsakmpWithHash(
            header,
            chain,
            hash.length,
            (afterHash) => {
              covered = Uint8Array.from(afterHash);
              return hash;
            },
            cipher,
            iv,
          );
          const opened = openIsakmp(datagram, decodeIsakmpHeader(datagram), cipher, iv);
          expect(sent(opened.payloads)).toEqual([{ kind: "HASH", data: hash }, ...chain]);
          expect(opened.afterHash).toEqual(covered);
          expect(opened.nextIv).toEqual(nextIv);
          expect(covered).toEqual(encodeIsakmp(header, chain).subarray(28));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("messages in fragments, in any order", () => {
    fc.assert(
      fc.property(
        isakmpHeader,
        isakmpPayloads,
        fc.integer({ min: 0, max: 700 }),
        fc.integer({ min: 0, max: 65_535 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 1 << 20 })),
        (header, chain, maxBytes, id, numbers) => {
          const whole = encodeIsakmp(header, chain);
          const fragments = fragmentIsakmp(whole, header, id, maxBytes);
          if (whole.length <= maxBytes || whole.length === 0) {
            expect(fragments).toEqual([whole]);
            return;
          }
          expect(fragments.length).toBeLessThanOrEqual(MAX_ISAKMP_FRAGMENTS);
          if (maxBytes > 36 + whole.length / MAX_ISAKMP_FRAGMENTS)
            expect(Math.max(...fragments.map((f) => f.length))).toBeLessThanOrEqual(maxBytes);
          const shuffled = fragments
            .map((fragment) => ({ fragment, at: numbers.next().value as number }))
            .sort((a, b) => a.at - b.at);
          const reassembly = new IsakmpReassembly({ reassemblyBytes: 65_536, reassemblyMs: 1 });
          const results = shuffled.map(({ fragment }) => {
            const h = decodeIsakmpHeader(fragment);
            expect(isIsakmpFragment(h)).toBe(true);
            return reassembly.collect(0, IpAddress.parse("192.0.2.1"), h, fragment, true);
          });
          // A message whose first payload is a fragment is none that may be put together.
          if (chain[0]?.kind === "FRAGMENT") expect(results.at(-1)).toEqual({ drop: "malformed" });
          else expect(results.at(-1)).toMatchObject({ datagram: whole });
          expect(results.slice(0, -1).every((result) => result === "incomplete")).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("IKEv1: decoding anything", () => {
  it("gives a message or a WireError that names a field, for random octets", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(outcome(() => decodeIsakmp(bytes))).toBe("refused");
      }),
    );
    fc.assert(
      fc.property(
        isakmpHeader,
        fc.integer({ min: 0, max: 255 }),
        fc.uint8Array({ maxLength: 200 }),
        cipherAndIv,
        (header, type, bytes, [cipher, iv]) => {
          const datagram = Uint8Array.from([...encodeIsakmp(header, []), ...bytes]);
          datagram[16] = type;
          new DataView(datagram.buffer).setUint32(24, datagram.length);
          outcome(() => decodeIsakmp(datagram));
          datagram[19] = 1;
          outcome(() => openIsakmp(datagram, decodeIsakmpHeader(datagram), cipher, iv));
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("a wrong key gives a WireError or garbage, and never anything else", () => {
    fc.assert(
      fc.property(
        isakmpHeader,
        isakmpPayloads,
        cipherAndIv,
        fc.integer({ min: 1, max: 255 }),
        (h, chain, c, flip) => {
          const [cipher, iv] = c;
          const { datagram } = sealIsakmp(h, chain, cipher, iv);
          outcome(() =>
            openIsakmp(
              datagram,
              decodeIsakmpHeader(datagram),
              cipher,
              iv.map((o) => o ^ flip),
            ),
          );
        },
      ),
    );
  });

  it("refuses every truncation of a message, with its Length corrected or not", () => {
    const n = fc.array(isakmpPayloadArbitraries.N, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(isakmpHeader, n, (header, chain) => {
        const datagram = encodeIsakmp(header, chain);
        for (let length = 0; length < datagram.length; length++) {
          const cut = datagram.slice(0, length);
          expect(outcome(() => decodeIsakmp(cut))).toBe("refused");
          if (length < 28) continue;
          new DataView(cut.buffer).setUint32(24, length);
          expect(outcome(() => decodeIsakmp(cut))).toBe("refused");
        }
      }),
      { numRuns: 30 },
    );
  });
});
