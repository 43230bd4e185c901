/**
 * A few of the lives that `npm run soak -- --lives N` goes through by the hundred thousand. A seed that fails can be
 * watched: `npm run soak -- --seed S --lives 1 --trace`.
 */
import { describe, expect, it } from "vitest";
import { live } from "./life.ts";

describe("both kinds of SA are rekeyed every few seconds, in bad weather, while things happen", () => {
  // Seeds that found a flaw once are here for good, whatever they find today.
  const once = [
    13, 19, 27, 83, 93, 133, 174, 191, 205, 212, 215, 278, 10951, 32963, 33266, 34261, 36325, 98448, 112209,
  ];
  const blocks = Array.from({ length: 6 }, (_, block) =>
    Array.from({ length: 25 }, (_, i) => 1000 + block * 25 + i),
  );
  it.each([once, ...blocks].map((seeds) => [`${seeds[0]} to ${seeds.at(-1)}`, seeds] as const))(
    "seeds %s",
    (_, seeds) => {
      for (const seed of seeds) {
        try {
          const { choices, children, ikeSas, interruptions } = live(seed);
          if (!choices.calm) continue;
          expect(interruptions).toBe(0);
          expect(children).toBeGreaterThanOrEqual(5);
          if (!choices.reauthenticate) expect(ikeSas).toBeGreaterThanOrEqual(5);
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
    },
  );
});
