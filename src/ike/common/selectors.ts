/**
 * Traffic selector negotiation (RFC 7296 §2.9): pure set arithmetic on lists of selectors.
 */
import { compareBytes } from "../../core/address.ts";
import { equalSelectors, intersectSelectors, type TrafficSelector } from "../../core/traffic-selector.ts";

/** Number of TSs is one byte on the wire (RFC 7296 §3.13). */
const maxSelectors = 255;

/**
 * The part of `offered` that `configured` allows, in the order of `configured`; empty when they share nothing.
 * A selector inside another of the result is left out.
 */
export function narrow(
  configured: readonly TrafficSelector[],
  offered: readonly TrafficSelector[],
): TrafficSelector[] {
  const shared: TrafficSelector[] = [];
  for (const ours of configured) {
    for (const theirs of offered) {
      const both = intersectSelectors(ours, theirs);
      if (!both || shared.some((known) => covers(known, both))) continue;
      // Later and wider replaces earlier and narrower, so that overlapping offers do not pile up.
      for (let i = shared.length - 1; i >= 0; i--) if (covers(both, shared[i]!)) shared.splice(i, 1);
      shared.push(both);
      if (shared.length === maxSelectors) return shared;
    }
  }
  return shared;
}

/** True when everything in `answer` lies inside one selector of `offered`, as an answer must (RFC 7296 §2.9). */
export function isSubset(answer: readonly TrafficSelector[], offered: readonly TrafficSelector[]): boolean {
  return answer.length > 0 && answer.every((ts) => offered.some((o) => covers(o, ts)));
}

/** True when both lists hold the same selectors, in any order. */
export function sameSelectors(a: readonly TrafficSelector[], b: readonly TrafficSelector[]): boolean {
  return a.length === b.length && a.every((x) => b.some((y) => equalSelectors(x, y)));
}

function covers(outer: TrafficSelector, inner: TrafficSelector): boolean {
  return (
    outer.startAddress.family === inner.startAddress.family &&
    (outer.protocol === 0 || outer.protocol === inner.protocol) &&
    outer.startPort <= inner.startPort &&
    outer.endPort >= inner.endPort &&
    compareBytes(outer.startAddress.bytes, inner.startAddress.bytes) <= 0 &&
    compareBytes(outer.endAddress.bytes, inner.endAddress.bytes) >= 0
  );
}
