import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { IsakmpReassembly, type Reassembling } from "../../../src/ike/v1/reassembly.ts";
import {
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  fragmentIsakmp,
  type IsakmpFragmentPayload,
  type IsakmpHeader,
  MAX_ISAKMP_FRAGMENTS,
} from "../../../src/wire/v1/index.ts";
import { toHex } from "../wire/helpers.ts";

const limits = { reassemblyBytes: 4096, reassemblyMs: 30_000 };
const header: IsakmpHeader = {
  spiInitiator: 0x0102030405060708n,
  spiResponder: 0xf1f2f3f4f5f6f7f8n,
  exchangeType: 32,
  messageId: 7,
};
const source = IpAddress.parse("192.0.2.1");
const message = (bytes: number, of: IsakmpHeader = header, fill = 1) =>
  encodeIsakmp(of, [{ kind: "VID", data: new Uint8Array(bytes).fill(fill) }]);
const piece = (fragment: Partial<IsakmpFragmentPayload>, of: IsakmpHeader = header) =>
  encodeIsakmp(of, [
    { kind: "FRAGMENT", id: 1, number: 1, last: false, data: Uint8Array.of(1, 2, 3), ...fragment },
  ]);

/** In two fragments. */
const halves = (whole: Uint8Array, of: IsakmpHeader = header) =>
  fragmentIsakmp(whole, of, 1, Math.ceil(whole.length / 2) + 36) as [Uint8Array, Uint8Array];

class Collector {
  readonly of = new IsakmpReassembly(limits, { sas: 4, strangers: 3 });
  now = 0;
  take(datagram: Uint8Array, ofSa = true, from = source): Reassembling {
    return this.of.collect(this.now, from, decodeIsakmpHeader(datagram), datagram, ofSa);
  }
  takeAll(datagrams: readonly Uint8Array[]): Reassembling[] {
    return datagrams.map((datagram) => this.take(datagram));
  }
}

describe("messages in fragments ([MS-IKEE] §3.3.5.1)", () => {
  it("a message that fits goes as it is", () => {
    const whole = message(100);
    expect(fragmentIsakmp(whole, header, 1, whole.length)).toEqual([whole]);
  });

  it("fragments carry the header of the message, without the E flag, and are no larger than allowed", () => {
    const whole = message(1000);
    const fragments = fragmentIsakmp(whole, header, 0xabcd, 200);
    expect(Math.max(...fragments.map((f) => f.length))).toBe(200);
    const decoded = fragments.map((f) => decodeIsakmp(f));
    for (const [i, { header: h, payloads }] of decoded.entries()) {
      expect(h).toMatchObject({ ...header, encrypted: false });
      expect(payloads).toMatchObject([
        { kind: "FRAGMENT", id: 0xabcd, number: i + 1, last: i === decoded.length - 1 },
      ]);
    }
  });

  it("as few as there may be, when what is allowed is nothing", () => {
    const whole = message(5000);
    for (const maxBytes of [-100, 0, 36, 37, 100]) {
      const fragments = fragmentIsakmp(whole, header, 1, maxBytes);
      expect(fragments.length).toBeLessThanOrEqual(MAX_ISAKMP_FRAGMENTS);
    }
  });

  it("in any order are the message again", () => {
    const whole = message(1000);
    const fragments = fragmentIsakmp(whole, header, 1, 300);
    expect(fragments.length).toBe(4);
    for (const order of [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [2, 0, 3, 1],
    ]) {
      const collector = new Collector();
      const results = collector.takeAll(order.map((i) => fragments[i]!));
      expect(results.slice(0, 3)).toEqual(["incomplete", "incomplete", "incomplete"]);
      expect(results[3]).toMatchObject({ header: { messageId: 7, exchangeType: 32 } });
      const { datagram } = results[3] as { datagram: Uint8Array };
      expect(toHex(datagram)).toBe(toHex(whole));
      expect(collector.of.size).toBe(0);
    }
  });

  it("a repetition is dropped, and does not disturb", () => {
    const collector = new Collector();
    const [a, b] = halves(message(300));
    expect(collector.takeAll([a, a])).toEqual(["incomplete", { drop: "fragment_repeated" }]);
    expect(collector.take(b)).toMatchObject({ datagram: message(300) });
  });

  it("one that contradicts the others begins a new message: some peers give all messages one ID", () => {
    const collector = new Collector();
    const [, old] = halves(message(300, header, 1));
    const [a, b] = halves(message(340, header, 2));
    // What is left of an older message, then another one whose second fragment differs.
    expect(collector.takeAll([old, b])).toEqual(["incomplete", "incomplete"]);
    expect(collector.take(a)).toMatchObject({ datagram: message(340, header, 2) });
  });

  it.each([
    ["another ID", { id: 2, number: 2 }],
    ["a number beyond the last one", { number: 3 }],
    ["a second last one", { number: 1, last: true }],
    ["the last one, which is not the last any more", { number: 2, last: false }],
  ])("%s begins a new message", (_, other) => {
    const collector = new Collector();
    expect(collector.take(piece({ number: 2, last: true }))).toBe("incomplete");
    collector.take(piece(other));
    // The first fragment would have made the first message complete.
    const result = collector.take(piece({ number: 1, data: Uint8Array.of(9) }));
    expect(result).not.toHaveProperty("datagram");
  });

  it("gaps wait, then are forgotten", () => {
    const collector = new Collector();
    const [a, , c] = fragmentIsakmp(message(500), header, 1, 250) as Uint8Array[];
    expect(collector.takeAll([a!, c!])).toEqual(["incomplete", "incomplete"]);
    expect(collector.of.deadline).toBe(30_000);
    collector.of.handleTimeout(29_999);
    expect(collector.of.size).toBe(1);
    collector.of.handleTimeout(30_000);
    expect(collector.of.size).toBe(0);
    expect(collector.of.deadline).toBeUndefined();
  });

  it("more than 64, and more octets than we collect, are refused", () => {
    const collector = new Collector();
    expect(collector.take(piece({ number: 65 }))).toEqual({ drop: "fragment" });
    const data = new Uint8Array(1400);
    expect(collector.takeAll([1, 2, 3].map((number) => piece({ number, data })))).toEqual([
      "incomplete",
      "incomplete",
      { drop: "fragment" },
    ]);
    expect(collector.of.size).toBe(0);
  });

  it("a message of garbage, of other SPIs, or of fragments is refused", () => {
    const collector = new Collector();
    expect(collector.take(piece({ last: true }))).toEqual({ drop: "malformed" });
    const other = message(10, { ...header, spiResponder: 5n });
    expect(collector.take(piece({ last: true, data: other }))).toEqual({ drop: "fragment" });
    const nested = piece({ last: true, data: message(10) });
    expect(collector.take(piece({ last: true, data: nested }))).toEqual({ drop: "malformed" });
    const truncated = message(10).subarray(0, 30);
    expect(collector.take(piece({ last: true, data: truncated }))).toEqual({ drop: "malformed" });
    expect(collector.of.size).toBe(0);
  });

  it("the exchange type and message ID of a fragment mean nothing: strongSwan says main mode and 0 in all", () => {
    const collector = new Collector();
    const whole = message(300);
    const fragments = fragmentIsakmp(whole, { ...header, exchangeType: 2, messageId: 0 }, 1, 200);
    expect(collector.takeAll(fragments).at(-1)).toMatchObject({
      header: { exchangeType: 32, messageId: 7 },
      datagram: whole,
    });
  });

  it("one message for each ISAKMP SA, which another does not disturb", () => {
    const collector = new Collector();
    const other = { ...header, spiInitiator: 2n };
    const [a, b] = halves(message(300));
    const [c, d] = halves(message(300, other), other);
    expect(collector.takeAll([a, c])).toEqual(["incomplete", "incomplete"]);
    expect(collector.of.size).toBe(2);
    collector.of.forget(other);
    expect(collector.take(d)).toBe("incomplete");
    expect(collector.take(b)).toMatchObject({ datagram: message(300) });
  });

  it("strangers have one message for each address, and few in all: the oldest goes", () => {
    const collector = new Collector();
    const first = (n: number) => piece({}, { ...header, spiInitiator: BigInt(n), spiResponder: 0n });
    const from = (n: number) => IpAddress.parse(`198.51.100.${n}`);
    for (let n = 1; n <= 200; n++) {
      expect(collector.take(first(n), false, from(n))).toBe("incomplete");
      expect(collector.take(first(n + 1000), false, from(n))).toEqual({ drop: "fragment_repeated" });
      expect(collector.of.size).toBe(Math.min(n, 3));
    }
    // Those of ISAKMP SAs are not pushed out by them.
    const [a, b] = halves(message(300));
    collector.take(a);
    for (let n = 1; n <= 200; n++) collector.take(first(n), false, from(n));
    expect(collector.take(b)).toMatchObject({ datagram: message(300) });
  });

  it("ISAKMP SAs have one message each, and not all of them at once: the oldest goes", () => {
    const collector = new Collector();
    for (let n = 1; n <= 20; n++) {
      expect(collector.take(piece({}, { ...header, spiInitiator: BigInt(n) }))).toBe("incomplete");
      expect(collector.of.size).toBe(Math.min(n, 4));
    }
    // The latest is there, the first is not.
    const last = piece({ number: 2, last: true }, { ...header, spiInitiator: 20n });
    expect(collector.take(last)).toEqual({ drop: "malformed" });
    expect(collector.take(piece({ number: 2, last: true }, { ...header, spiInitiator: 1n }))).toBe(
      "incomplete",
    );
  });
});
