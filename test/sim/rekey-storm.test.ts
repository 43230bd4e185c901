import { describe, expect, it } from "vitest";
import { rekeyStorm } from "./rekey-storm.ts";

describe("rekeys every few seconds from both sides, a fifth of the datagrams lost", () => {
  const blocks = Array.from({ length: 4 }, (_, block) =>
    Array.from({ length: 10 }, (_, i) => block * 10 + i + 1),
  );
  it.each(blocks.map((seeds) => [`${seeds[0]} to ${seeds.at(-1)}`, seeds] as const))(
    "seeds %s",
    (_, seeds) => {
      let made = { children: 0, ikeSas: 0 };
      for (const seed of seeds) {
        try {
          const { children, ikeSas } = rekeyStorm(seed);
          made = { children: made.children + children, ikeSas: made.ikeSas + ikeSas };
        } catch (error) {
          throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
        }
      }
      expect(made.children).toBeGreaterThan(100);
      expect(made.ikeSas).toBeGreaterThanOrEqual(20);
    },
  );
});
