import { describe, expect, it } from "vitest";
import { AskPacer, excuseLateness, type Patience } from "../../../src/ike/common/patience.ts";

const waiting = (): Patience => ({ nextAt: 1_000, delayMs: 800, giveUpAt: 30_000 });

describe("time in which we did not run", () => {
  it("counts when it is short: timers are never exact", () => {
    const wait = waiting();
    expect(excuseLateness(wait, 1_999)).toBe(false);
    expect(wait).toEqual(waiting());
  });

  it("leaves the patience that there was, and a repetition that is due", () => {
    const wait = waiting();
    expect(excuseLateness(wait, 61_000)).toBe(true);
    expect(wait).toMatchObject({ nextAt: 61_000, giveUpAt: 90_000 });
  });

  it("leaves the full delay of a last repetition when there was none left", () => {
    const wait = { ...waiting(), nextAt: 30_500 };
    expect(excuseLateness(wait, 40_000)).toBe(true);
    expect(wait).toMatchObject({ nextAt: 40_000, giveUpAt: 40_800 });
  });

  it("is taken back five times at most", () => {
    const wait = waiting();
    const taken = Array.from({ length: 8 }, (_, i) => excuseLateness(wait, 100_000 * (i + 1)));
    expect(taken).toEqual([true, true, true, true, true, false, false, false]);
  });
});

describe("turns for questions", () => {
  it("come at once for few, and 2000 a second for many, in groups", () => {
    const pacer = new AskPacer();
    const turns = Array.from({ length: 10_000 }, () => pacer.take(1_000));
    expect(turns.filter((at) => at === 1_000).length).toBe(65);
    expect(turns.at(-1)).toBe(5_970);
    for (const [i, at] of turns.slice(1).entries()) expect(at).toBeGreaterThanOrEqual(turns[i]!);
    const groups = new Map<number, number>();
    for (const at of turns.slice(65)) groups.set(at, (groups.get(at) ?? 0) + 1);
    expect(Math.max(...groups.values())).toBe(20);
  });

  it("are free again after a pause", () => {
    const pacer = new AskPacer();
    for (let i = 0; i < 1_000; i++) pacer.take(0);
    expect(pacer.take(10_000)).toBe(10_000);
  });
});
