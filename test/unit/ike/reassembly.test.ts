import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defaultLimits } from "../../../src/ike/common/settings.ts";
import { type Opening, Reassembly } from "../../../src/ike/v2/reassembly.ts";
import {
  decodeMessage,
  encodePayloads,
  type PlainPayload,
  type SkOpener,
  type SkSealer,
  sealFragment,
  sealFragmented,
  sealMessage,
} from "../../../src/wire/index.ts";
import { header } from "../wire/helpers.ts";

/** No cipher at all; the ICV is four octets that must be zero. */
const toy: SkSealer & SkOpener = {
  ivBytes: 8,
  icvBytes: 4,
  block: 1,
  seal() {},
  open(message, bodyOffset) {
    const icvAt = message.length - 4;
    if (message.subarray(icvAt).some((octet) => octet !== 0)) return undefined;
    return Uint8Array.from(message.subarray(bodyOffset + 8, icvAt));
  },
};

const limits = { ...defaultLimits, reassemblyMs: 1000 };
const take = (reassembly: Reassembly, datagram: Uint8Array, now = 0): Opening =>
  reassembly.open(now, datagram, decodeMessage(datagram), toy, true);
const vendor = (bytes: number, octet = 7): PlainPayload => ({
  kind: "V",
  data: new Uint8Array(bytes).fill(octet),
});
const fragment = (number: number, total: number, bytes = 4) =>
  sealFragment(header, number === 1 ? 43 : 0, number, total, new Uint8Array(bytes), toy);

describe("reassembly of one direction (RFC 7383 §2.6)", () => {
  it("gives the message when the last fragment is there, in any order, with any repetitions and forgeries", () => {
    const arrivals = fc.integer({ min: 1, max: 2000 }).chain((bytes) =>
      fc.record({
        bytes: fc.constant(bytes),
        maxBytes: fc.integer({ min: 60, max: 400 }),
        shuffle: fc.infiniteStream(fc.nat()),
      }),
    );
    fc.assert(
      fc.property(arrivals, ({ bytes, maxBytes, shuffle }) => {
        const payloads = [vendor(bytes), vendor(3, 9)];
        const content = encodePayloads(payloads).bytes;
        const datagrams = sealFragmented(header, payloads, toy, maxBytes);
        const reassembly = new Reassembly(limits);
        const missing = new Set(datagrams.keys());
        while (missing.size > 0) {
          const i = shuffle.next().value! % datagrams.length;
          const datagram = datagrams[i]!;
          const repeated = !missing.has(i);
          if (shuffle.next().value! % 3 === 0 && !repeated) {
            const forged = Uint8Array.from(datagram);
            forged[forged.length - 1] = 1;
            expect(take(reassembly, forged)).toEqual({ drop: "not_authentic" });
          }
          const opening = take(reassembly, datagram);
          missing.delete(i);
          if (missing.size === 0) expect(opening).toEqual({ payloads, datagram: datagrams[0], content });
          else expect(opening).toEqual(repeated ? { drop: "fragment_repeated" } : "incomplete");
        }
        expect(reassembly.deadline).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  it("opens a message in one piece, which ends what was collected", () => {
    const reassembly = new Reassembly(limits);
    take(reassembly, fragment(2, 3));
    const whole = sealMessage(header, [vendor(5)], toy);
    const content = encodePayloads([vendor(5)]).bytes;
    expect(take(reassembly, whole)).toEqual({ payloads: [vendor(5)], datagram: whole, content });
    expect(reassembly.deadline).toBeUndefined();
  });

  it("gives up after its time, counted from the first fragment", () => {
    const reassembly = new Reassembly(limits);
    take(reassembly, fragment(2, 3), 100);
    take(reassembly, fragment(1, 3), 900);
    expect(reassembly.deadline).toBe(1100);
    reassembly.handleTimeout(1099);
    expect(reassembly.deadline).toBe(1100);
    reassembly.handleTimeout(1100);
    expect(reassembly.deadline).toBeUndefined();
    expect(take(reassembly, fragment(2, 3), 1200)).toBe("incomplete");
  });

  it("forgets the fragments of another message ID", () => {
    const reassembly = new Reassembly(limits);
    take(reassembly, fragment(1, 2));
    const next = sealFragment({ ...header, messageId: 8 }, 0, 2, 2, new Uint8Array(4), toy);
    expect(take(reassembly, next)).toBe("incomplete");
    expect(take(reassembly, fragment(1, 2))).toBe("incomplete");
  });

  it("keeps a bounded number of octets", () => {
    const reassembly = new Reassembly({ ...limits, reassemblyBytes: 10_000 });
    const openings = Array.from({ length: 64 }, (_, i) => take(reassembly, fragment(i + 1, 64, 1000)));
    expect(openings.filter((o) => o !== "incomplete").length).toBeGreaterThan(5);
    expect(openings.filter((o) => o !== "incomplete")).toContainEqual({ drop: "fragment" });
    expect(take(reassembly, fragment(1, 65))).toEqual({ drop: "fragment" });
  });

  it("takes no fragments before both sides said that they support them", () => {
    const datagram = fragment(1, 1);
    const reassembly = new Reassembly(limits);
    expect(reassembly.open(0, datagram, decodeMessage(datagram), toy, false)).toEqual({ drop: "fragment" });
  });

  it("calls a fragment malformed that is authentic and whose padding cannot be", () => {
    const datagram = fragment(1, 2, 4);
    datagram[datagram.length - 5] = 200;
    expect(take(new Reassembly(limits), datagram)).toMatchObject({ payloads: "malformed", datagram });
  });
});
