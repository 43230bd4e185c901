import { describe, expect, it } from "vitest";
import { converse, type IkeFuzzTotals } from "./ike-mutate.ts";

describe("IKEv2 state machine under a peer that damages what it says", () => {
  it("600 conversations: no throw, bounded state, everything forgotten, a good peer still served", () => {
    const totals: IkeFuzzTotals = { conversations: 0, messages: 0, established: 0 };
    for (let seed = 1; seed <= 600; seed++) {
      try {
        converse(seed, totals);
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
    }
    // The fuzzer is worth something only while a good part of its conversations gets behind IKE_AUTH.
    expect(totals.established).toBeGreaterThan(150);
  });
});
