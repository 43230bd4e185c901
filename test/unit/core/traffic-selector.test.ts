import { describe, expect, it } from "vitest";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import {
  equalSelectors,
  formatSelector,
  intersectSelectors,
  selectorFromPrefix,
  type TrafficSelector,
} from "../../../src/core/traffic-selector.ts";

const net = (text: string, more: Partial<TrafficSelector> = {}): TrafficSelector => ({
  ...selectorFromPrefix(Prefix.parse(text)),
  ...more,
});
const range = (from: string, to: string): TrafficSelector =>
  net("0.0.0.0/0", { startAddress: IpAddress.parse(from), endAddress: IpAddress.parse(to) });

describe("traffic selectors (RFC 7296 §2.9)", () => {
  it("intersects to what both cover, in either order", () => {
    const cases: [TrafficSelector, TrafficSelector, string | undefined][] = [
      [net("0.0.0.0/0"), net("10.1.0.0/16"), "10.1.0.0/16"],
      [net("10.1.0.0/16"), net("10.1.2.0/24"), "10.1.2.0/24"],
      [net("10.1.0.0/16"), net("10.2.0.0/16"), undefined],
      [range("10.0.0.1", "10.0.0.9"), range("10.0.0.5", "10.0.0.20"), "10.0.0.5-10.0.0.9"],
      [net("0.0.0.0/0"), net("::/0"), undefined],
      [net("10.0.0.0/8", { protocol: 6 }), net("10.0.0.0/8"), "10.0.0.0/8[6]"],
      [net("10.0.0.0/8", { protocol: 6 }), net("10.0.0.0/8", { protocol: 17 }), undefined],
      [
        net("10.0.0.0/8", { protocol: 6, startPort: 80, endPort: 90 }),
        net("10.0.0.0/8", { protocol: 6, startPort: 90, endPort: 100 }),
        "10.0.0.0/8[6/90]",
      ],
      [
        net("10.0.0.0/8", { startPort: 1, endPort: 2 }),
        net("10.0.0.0/8", { startPort: 3, endPort: 4 }),
        undefined,
      ],
    ];
    for (const [a, b, expected] of cases) {
      for (const both of [intersectSelectors(a, b), intersectSelectors(b, a)])
        expect(both && formatSelector(both)).toBe(expected);
    }
  });

  it("prints prefixes as prefixes and other ranges as ranges", () => {
    expect(formatSelector(net("2001:db8::/32"))).toBe("2001:db8::/32");
    expect(formatSelector(range("10.0.0.0", "10.0.0.3"))).toBe("10.0.0.0/30");
    expect(formatSelector(range("10.0.0.1", "10.0.0.4"))).toBe("10.0.0.1-10.0.0.4");
    expect(formatSelector(range("10.0.0.7", "10.0.0.7"))).toBe("10.0.0.7/32");
    expect(formatSelector(net("10.0.0.0/8", { protocol: 17, startPort: 53, endPort: 54 }))).toBe(
      "10.0.0.0/8[17/53-54]",
    );
  });

  it("are equal only when every field is", () => {
    const a = net("10.0.0.0/8", { protocol: 6, startPort: 1, endPort: 2 });
    expect(equalSelectors(a, { ...a })).toBe(true);
    const others: TrafficSelector[] = [
      { ...a, protocol: 17 },
      { ...a, startPort: 0 },
      { ...a, endPort: 3 },
      { ...a, startAddress: IpAddress.parse("10.0.0.1") },
      { ...a, endAddress: IpAddress.parse("10.0.0.1") },
    ];
    for (const other of others) expect(equalSelectors(a, other)).toBe(false);
  });
});
