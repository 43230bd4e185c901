import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadlines } from "../../../src/ike/common/deadlines.ts";

describe("deadlines", () => {
  it("agree with a map that is searched, whatever is set, moved, removed and taken", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), owner: fc.nat(20), at: fc.nat(100) }),
      fc.record({ kind: fc.constant("delete" as const), owner: fc.nat(20) }),
      fc.record({ kind: fc.constant("take" as const), now: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const deadlines = new Deadlines<number>();
        const model = new Map<number, number>();
        for (const s of steps) {
          if (s.kind === "set") {
            deadlines.set(s.owner, s.at);
            model.set(s.owner, s.at);
          } else if (s.kind === "delete") {
            deadlines.set(s.owner, undefined);
            model.delete(s.owner);
          } else {
            const due = [...model].filter(([, at]) => at <= s.now);
            const taken = deadlines.takeDue(s.now).map((owner) => [owner, model.get(owner)!] as const);
            expect(taken.map(([, at]) => at)).toEqual(due.map(([, at]) => at).sort((a, b) => a - b));
            expect(new Set(taken.map(([owner]) => owner))).toEqual(new Set(due.map(([owner]) => owner)));
            for (const [owner] of taken) model.delete(owner);
          }
          const earliest = Math.min(...model.values());
          expect(deadlines.next()).toBe(model.size > 0 ? earliest : undefined);
        }
      }),
    );
  });
});
