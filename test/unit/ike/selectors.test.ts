import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import {
  formatSelector,
  selectorFromPrefix,
  type TrafficSelector,
} from "../../../src/core/traffic-selector.ts";
import { isSubset, narrow, sameSelectors } from "../../../src/ike/common/selectors.ts";

const ts = (...prefixes: string[]) => prefixes.map((p) => selectorFromPrefix(Prefix.parse(p)));
const text = (selectors: readonly TrafficSelector[]) => selectors.map(formatSelector);

describe("narrowing (RFC 7296 §2.9)", () => {
  it.each([
    [["10.1.0.0/16"], ["0.0.0.0/0"], ["10.1.0.0/16"]],
    [["0.0.0.0/0", "::/0"], ["0.0.0.0/0"], ["0.0.0.0/0"]],
    [
      ["10.1.0.0/16", "10.2.0.0/16"],
      ["10.2.3.0/24", "10.1.0.0/16"],
      ["10.1.0.0/16", "10.2.3.0/24"],
    ],
    [["10.1.0.0/16"], ["10.2.0.0/16"], []],
    [["2001:db8::/32"], ["10.0.0.0/8"], []],
  ])("%j with an offer of %j gives %j", (ours, theirs, expected) => {
    expect(text(narrow(ts(...ours), ts(...theirs)))).toEqual(expected);
  });

  it("leaves out what lies inside another of the result", () => {
    // The first selector of an offer is often the packet that triggered it (§2.9).
    expect(text(narrow(ts("0.0.0.0/0"), ts("10.1.2.3/32", "10.1.0.0/16")))).toEqual(["10.1.0.0/16"]);
  });

  it("keeps protocols and ports", () => {
    const [any] = ts("10.0.0.0/8");
    const https = { ...any!, protocol: 6, startPort: 443, endPort: 443 };
    expect(text(narrow([any!], [https]))).toEqual(["10.0.0.0/8[6/443]"]);
  });

  const selector = fc
    .tuple(fc.nat(255), fc.nat(255), fc.nat(3), fc.nat(100), fc.nat(100))
    .map(([a, b, protocol, p, q]) => ({
      protocol,
      startPort: Math.min(p, q),
      endPort: Math.max(p, q),
      startAddress: IpAddress.fromBytes(Uint8Array.of(10, 0, 0, Math.min(a, b))),
      endAddress: IpAddress.fromBytes(Uint8Array.of(10, 0, 0, Math.max(a, b))),
    }));
  const holds = (list: readonly TrafficSelector[], x: { protocol: number; port: number; last: number }) =>
    list.some(
      (s) =>
        (s.protocol === 0 || s.protocol === x.protocol) &&
        s.startPort <= x.port &&
        x.port <= s.endPort &&
        s.startAddress.bytes[3]! <= x.last &&
        x.last <= s.endAddress.bytes[3]!,
    );

  it("covers exactly the packets that both lists cover", () => {
    const packet = fc.record({
      protocol: fc.integer({ min: 1, max: 3 }),
      port: fc.nat(100),
      last: fc.nat(255),
    });
    const list = fc.array(selector, { maxLength: 6 });
    fc.assert(
      fc.property(list, list, fc.array(packet, { minLength: 20, maxLength: 20 }), (ours, theirs, packets) => {
        const both = narrow(ours, theirs);
        for (const p of packets) expect(holds(both, p)).toBe(holds(ours, p) && holds(theirs, p));
      }),
    );
  });

  it("its result is a subset of the offer, and narrowing again changes nothing", () => {
    const list = fc.array(selector, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(list, list, (ours, theirs) => {
        const both = narrow(ours, theirs);
        if (both.length === 0) return;
        expect(isSubset(both, theirs)).toBe(true);
        expect(sameSelectors(narrow(both, both), both)).toBe(true);
      }),
    );
  });
});

describe("an answer must lie inside the offer", () => {
  it.each([
    [["10.1.0.0/16"], ["0.0.0.0/0"], true],
    [["0.0.0.0/0"], ["10.1.0.0/16"], false],
    [["10.1.0.0/16", "::/0"], ["0.0.0.0/0"], false],
    [[], ["0.0.0.0/0"], false],
  ])("%j inside %j: %s", (answer, offered, expected) => {
    expect(isSubset(ts(...answer), ts(...offered))).toBe(expected);
  });
});
