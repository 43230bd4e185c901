import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatBytes, formatDuration, labelled, printable, table, wrap } from "../../../src/cli/table.ts";

describe("tables", () => {
  it("align columns under their titles and leave no space at a line's end", () => {
    const columns = [{ title: "NAME" }, { title: "N", align: "right" as const }, { title: "LAST" }];
    expect(
      table(
        columns,
        [
          ["a", "7", "x"],
          ["longer", "1234", ""],
        ],
        80,
      ),
    ).toEqual(["NAME       N  LAST", "a          7  x", "longer  1234"]);
  });

  it("cut the widest shrinkable column first, and mark the cut", () => {
    const columns = [{ title: "A", shrink: true }, { title: "B", shrink: true }, { title: "C" }];
    const lines = table(columns, [["a".repeat(30), "b".repeat(60), "kept"]], 60);
    expect(Math.max(...lines.map((line) => line.length))).toBe(60);
    expect(lines[1]).toMatch(/^a+…? {2}b+… {2}kept$/);
  });

  it("fit the width whatever the cells are, as long as the fixed columns do", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string(), fc.string({ maxLength: 10 }), fc.string())), (rows) => {
        const columns = [
          { title: "NAME", shrink: true },
          { title: "STATE" },
          { title: "PEER", shrink: true },
        ];
        for (const line of table(columns, rows, 80)) expect(line.length).toBeLessThanOrEqual(80);
      }),
    );
  });
});

describe("wrapped text", () => {
  it("breaks at spaces and indents what follows the label", () => {
    expect(labelled("  peer offered", "one two three", 16, 24)).toEqual([
      "  peer offered  one two",
      "                three",
    ]);
  });

  it("loses no character and keeps the width, whatever the words", () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,40}$/)),
        fc.integer({ min: 5, max: 80 }),
        (words, width) => {
          const lines = wrap(words.join(" "), width);
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
          expect(lines.join("").replaceAll(" ", "")).toBe(words.join(""));
        },
      ),
    );
  });
});

describe("figures", () => {
  it.each([
    [0, "0s"],
    [-5, "0s"],
    [999, "0s"],
    [7_000, "7s"],
    [60_000, "1m"],
    [725_000, "12m 5s"],
    [7_980_000, "2h 13m"],
    [3_600_000, "1h"],
    [273_600_000, "3d 4h"],
  ])("%d ms is %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [150 * 1024, "150 KiB"],
    [3 * 1024 ** 4, "3.0 TiB"],
    [2000 * 1024 ** 5, "2000 PiB"],
  ])("%d bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe("text from a peer", () => {
  it("cannot move the cursor, hide itself or forge a line", () => {
    expect(printable("a\u001b[2Jb\nc\u202ed\u2028e\u200bf")).toBe("a?[2Jb?c?d?e?f");
    expect(printable("prämie → ok")).toBe("prämie → ok");
  });
});
