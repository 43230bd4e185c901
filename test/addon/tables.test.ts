import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeEvents } from "../../src/dataplane/events.ts";
import { dropReasons, nativeTables } from "../../src/dataplane/tables.ts";

const rowsOf = (file: string, macro: string): string[] =>
  [...readFileSync(`native/tables/${file}`, "utf8").matchAll(new RegExp(`^${macro}\\((\\w+),`, "gm"))].map(
    (match) => match[1]!,
  );

describe("native tables", () => {
  it("reach TypeScript as they stand in the .def files", () => {
    const tables = nativeTables();
    expect(tables.drops.map((row) => row.name)).toEqual(rowsOf("drops.def", "DROP"));
    expect(tables.counters.map((row) => row.name)).toEqual(rowsOf("counters.def", "COUNTER"));
    expect(tables.events.map((row) => row.name)).toEqual(rowsOf("events.def", "EVENT"));
    expect(tables.ciphers.map((row) => row.name)).toEqual(rowsOf("esp_algorithms.def", "ESP_CIPHER"));
    expect(tables.integrities.map((row) => row.name)).toEqual(rowsOf("esp_algorithms.def", "ESP_INTEGRITY"));
  });

  it("have a text for every row and a severity for every drop", () => {
    const { drops, counters, events } = nativeTables();
    for (const row of [...drops, ...counters, ...events]) expect(row.text, row.name).not.toBe("");
    for (const row of drops) expect(["info", "warn", "error"], row.name).toContain(row.severity);
  });

  it("agree with the DropReason union", () => {
    expect(nativeTables().drops.map((row) => row.name)).toEqual(["none", ...dropReasons]);
  });

  it("name only events that TypeScript decodes", () => {
    const kinds = nativeTables().events.map(({ name }) => name);
    const record = (kind: number) => {
      const bytes = new Uint8Array(32 + 4 + 4);
      bytes.set([kind, 0, 0, 4, 4]);
      return bytes;
    };
    for (const [kind, name] of kinds.entries()) {
      const camelCase = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
      expect(decodeEvents(record(kind), kinds)).toMatchObject([{ kind: camelCase }]);
    }
    expect(() => decodeEvents(record(kinds.length), kinds)).toThrow(RangeError);
  });
});
