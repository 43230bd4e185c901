/** Every kind of collision, in a part of the orders and mishaps; `npm run soak -- --only matrix` goes through them all. */
import { describe, expect, it } from "vitest";
import { type Entry, entries, run } from "./matrix.ts";

const all = entries();
/** Prime to 70 orders and to 17 mishaps, so that all of either come up. */
const every = 97;

describe(`the collision matrix: 36 pairs of acts, ${all.length} cases, one in ${every} here`, () => {
  it("is every order of arrival of two conversations, with no mishap, and with each datagram lost or repeated", () => {
    const orders = 70;
    const mishaps = 1 + 8 + 8;
    // Where successors compete, also with each of the four nonces the lowest.
    const contests = 2 * 3;
    expect(all).toHaveLength((36 + contests) * orders * mishaps);
  });

  it.each([...byName()])("%s", (_, those) => {
    for (const entry of those) run(entry);
  });
});

function byName(): Map<string, Entry[]> {
  const part = new Map<string, Entry[]>();
  for (const [i, entry] of all.entries()) {
    if (i % every !== 0) continue;
    part.set(entry.name, [...(part.get(entry.name) ?? []), entry]);
  }
  return part;
}
