import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { espFlaws, knownFlaws } from "./known-flaws-rows.ts";

const read = (file: string) => readFileSync(fileURLToPath(new URL(file, import.meta.url)), "utf8");

describe("every flaw that others are known for", () => {
  it.each([...knownFlaws, ...espFlaws].map((row) => [row.known, row] as const))(
    "%s has its tests",
    (_, { tests }) => {
      expect(tests.length).toBeGreaterThan(0);
      for (const [file, text] of tests) {
        expect(existsSync(fileURLToPath(new URL(file, import.meta.url))), file).toBe(true);
        // A title may be broken over lines by the formatter.
        expect(read(file).replaceAll(/\s+/g, " "), `${file}: ${text}`).toContain(text);
      }
    },
  );

  it("is named once", () => {
    const names = [...knownFlaws, ...espFlaws].map(({ known }) => known);
    expect(new Set(names).size).toBe(names.length);
  });
});
