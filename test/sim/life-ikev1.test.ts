/**
 * As `life.test.ts`, over IKEv1: main and aggressive mode, and `auto` on one side or both. By the ten thousand:
 * `npm run soak -- --ikev1 --lives N`; one that fails: `npm run soak -- --ikev1 --seed S --lives 1 --trace`.
 */
import { describe, expect, it } from "vitest";
import { live } from "./life.ts";

describe("IKEv1: both kinds of SA are rekeyed every few seconds, in bad weather, while things happen", () => {
  // Seeds that found a flaw once are here for good, whatever they find today.
  const once = [
    19, 34, 1021, 2659, 3386, 3608, 3735, 3869, 41288, 211694, 300832, 305106, 308235, 309772, 315550,
  ];
  const blocks = Array.from({ length: 4 }, (_, block) =>
    Array.from({ length: 20 }, (_, i) => 1000 + block * 20 + i),
  );
  it.each([once, ...blocks].map((seeds) => [`${seeds[0]} to ${seeds.at(-1)}`, seeds] as const))(
    "seeds %s",
    (_, seeds) => {
      for (const seed of seeds) {
        try {
          const { choices, children, ikeSas, interruptions } = live(seed, undefined, "ikev1");
          if (!choices.calm) continue;
          expect(interruptions).toBe(0);
          expect(children).toBeGreaterThanOrEqual(5);
          expect(ikeSas).toBeGreaterThanOrEqual(5);
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
    },
  );
});
