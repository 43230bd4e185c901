import { describe, expect, it } from "vitest";
import { converseIsakmp, type IsakmpFuzzTotals } from "./isakmp-mutate.ts";

describe("IKEv1 state machine under a peer that damages what it says", () => {
  it("250 conversations: no throw, bounded state, everything forgotten, a good peer still served", () => {
    const totals: IsakmpFuzzTotals = { conversations: 0, messages: 0, authenticated: 0, established: 0 };
    for (let seed = 1; seed <= 250; seed++) {
      try {
        converseIsakmp(seed, totals);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
    // The fuzzer is worth something only while a good part of its conversations gets behind phase 1, and quick mode.
    expect(totals.authenticated).toBeGreaterThan(100);
    expect(totals.established).toBeGreaterThan(50);
  });
});
