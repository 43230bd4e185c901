import { describe, expect, it } from "vitest";
import { MessageIds } from "../../../src/ike/v1/message-ids.ts";
import { SeededRandom } from "../../sim/random.ts";

const free = () => false;

describe("message IDs (RFC 2408 §3.1)", () => {
  it("never repeat, are never 0 or taken, and fit into the header", () => {
    const ids = new MessageIds(new SeededRandom(1));
    const seen = new Set<number>();
    for (let i = 0; i < 50_000; i++) {
      const id = ids.next((other) => other % 7 === 0);
      expect(Number.isInteger(id) && id > 0 && id <= 0xffff_ffff && id % 7 !== 0).toBe(true);
      seen.add(id);
    }
    expect(seen.size).toBe(50_000);
  });

  it("are recognised as ours, however old, and the peer's are not", () => {
    const [ours, theirs] = [new MessageIds(new SeededRandom(2)), new MessageIds(new SeededRandom(3))];
    const mine = Array.from({ length: 2000 }, () => ours.next(free));
    const others = Array.from({ length: 2000 }, () => theirs.next(free));
    expect(mine.every((id) => ours.isOurs(id))).toBe(true);
    expect(others.filter((id) => ours.isOurs(id))).toEqual([]);
    // What will be ours is not yet.
    expect(ours.isOurs(new MessageIds(new SeededRandom(2)).next(free))).toBe(true);
    expect(new MessageIds(new SeededRandom(2)).isOurs(mine[0]!)).toBe(false);
  });

  it("differ between ISAKMP SAs, and look like nothing in particular", () => {
    const random = new SeededRandom(4);
    const firsts = Array.from({ length: 1000 }, () => new MessageIds(random).next(free));
    expect(new Set(firsts).size).toBe(1000);
    const ids = new MessageIds(random);
    const list = Array.from({ length: 4096 }, () => ids.next(free));
    // Each bit is set in about half of them: five standard deviations.
    for (let bit = 0; bit < 32; bit++) {
      const set = list.filter((id) => ((id >>> bit) & 1) === 1).length;
      expect(Math.abs(set - 2048)).toBeLessThan(160);
    }
  });
});
