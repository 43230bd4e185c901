import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Queue } from "../../../src/core/queue.ts";

describe("queue", () => {
  it("gives what an array's push and shift give, in bursts that make it compact itself", () => {
    const burst = fc.record({ push: fc.nat(3000), shift: fc.nat(3000) });
    fc.assert(
      fc.property(fc.array(burst, { maxLength: 12 }), (bursts) => {
        const queue = new Queue<number>();
        const model: number[] = [];
        let next = 0;
        for (const { push, shift } of bursts) {
          for (let i = 0; i < push; i++) {
            queue.push(next);
            model.push(next++);
          }
          const taken = Array.from({ length: shift }, () => queue.shift());
          const left = model.splice(0, shift);
          expect(taken).toEqual([...left, ...new Array<undefined>(shift - left.length).fill(undefined)]);
          expect(queue.size).toBe(model.length);
        }
      }),
      { numRuns: 30 },
    );
  });
});
