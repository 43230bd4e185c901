import { describe, expect, it } from "vitest";
import { problems } from "./helpers.ts";

/**
 * One row per rule of the configuration: a value that is taken, and a value that is refused with the whole line an
 * operator reads. `at` is where the value goes; the line number is found by looking for the value's marker.
 */
export interface Rule {
  readonly rule: string;
  readonly good: readonly string[];
  readonly bad: readonly (readonly [text: string, message: string])[];
}

export function check(title: string, at: (text: string) => string, rules: readonly Rule[]) {
  describe(title, () => {
    for (const { rule, good, bad } of rules) {
      it.each(good)(`${rule}: takes %s`, (text) => {
        expect(problems(at(text))).toEqual([]);
      });
      it.each(bad)(`${rule}: refuses %s`, (text, message) => {
        const source = at(text);
        const found = problems(source);
        expect(found.map((line) => line.replace(/^culvert\.yaml:\d+: /, ""))).toEqual(message.split("\n"));
        for (const line of found)
          expect(Number(/^culvert\.yaml:(\d+): /.exec(line)![1])).toBe(lineOf(source, line));
      });
    }
  });
}

/** The line of the last key of the problem's path, below its parents: an independent and simple-minded search. */
function lineOf(source: string, problem: string): number {
  const path = /^culvert\.yaml:\d+: (.+?): /.exec(problem)![1]!;
  const keys = path
    .replaceAll('"', "")
    .split(/\.(?=[a-zA-Z])/)
    .map((key) => key.replace(/\[\d+\]$/, "").replace(/\.\.\.$/, ".*"));
  const lines = source.split("\n");
  let line = 0;
  for (const key of keys) {
    const next = lines.findIndex((text, i) => i >= line && new RegExp(`(^|[\\s{,"])${key}"?:`).test(text));
    if (next >= 0) line = next;
  }
  return line + 1;
}

/** What every refused name is told. */
export const names = "a name of 1 to 100 letters, digits, dots, underscores and hyphens";
