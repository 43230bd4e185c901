/** What is wrong with a configuration: every fault with its place, the value found, and what is allowed. */

/** Keys and list positions from the top, e.g. `["connections", "hq", "ike", "proposals", 0]`. */
export type Path = readonly (string | number)[];

/** Both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface ConfigProblem extends Position {
  readonly file: string;
  /** The key, e.g. `connections.hq.ike.proposals[0]`; empty when the file as a whole is meant. */
  readonly path: string;
  /** What was found, shortened; undefined when nothing can be shown. Never a secret. */
  readonly value: string | undefined;
  /** What is allowed. */
  readonly rule: string;
}

/** `culvert.yaml:31: connections.hq.ipsec.lifetimeKilobytes: 100: 0 or at least 2560`: one line, always. */
export function formatProblem(problem: ConfigProblem): string {
  const parts = [`${problem.file}:${problem.line}`, problem.path, problem.value, problem.rule];
  return parts.filter((part) => part !== undefined && part !== "").join(": ");
}

/** Collects problems; `sorted` gives them in the file's order, each once. */
export class Problems {
  readonly #file: string;
  readonly #found = new Map<string, ConfigProblem>();
  readonly #paths = new Set<string>();

  constructor(file: string) {
    this.#file = file;
  }

  get empty(): boolean {
    return this.#found.size === 0;
  }

  /** Whether something was added at exactly this path. */
  has(path: Path): boolean {
    return this.#paths.has(pathKey(path));
  }

  add(at: Position, path: Path, value: string | undefined, rule: string): void {
    const problem = {
      file: this.#file,
      line: at.line,
      column: at.column,
      path: formatPath(path),
      value: value === undefined ? undefined : shortened(value),
      // Rules quote names that the file defines.
      rule: escapeUnprintable(rule),
    };
    this.#paths.add(pathKey(path));
    this.#found.set(`${at.column} ${formatProblem(problem)}`, problem);
  }

  sorted(): readonly ConfigProblem[] {
    return [...this.#found.values()].sort((a, b) => a.line - b.line || a.column - b.column);
  }
}

/** Names with a dot or other signs are quoted, so that a path reads one way only. */
export function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += `${text === "" ? "" : "."}${/^[\w-]{1,100}$/.test(part) ? part : quoted(part)}`;
  }
  return text;
}

export const pathKey = (path: Path): string => JSON.stringify(path);

/** Whether what stands at or below `path` may be a pre-shared key, even a misplaced one. */
export function hidesSecret(path: Path): boolean {
  if (path[0] !== "connections") return false;
  if (path[2] === "psk") return path[3] !== "file";
  return path[2] === "ike" && path[3] === "ppk" && !["id", "file", "required"].includes(String(path[4]));
}

/** A value as messages show it: short, one line, and of a possible secret its size only. */
export function show(path: Path, value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const text = String(value);
  if (hidesSecret(path)) return `[secret], ${[...text].length} characters`;
  // What was quoted in the file is shown quoted when that is the fault: "10" is no integer.
  if (typeof value === "string" && (text === "" || looksOtherwise(text))) return `"${text}"`;
  return shortened(text);
}

/** A text that would have been a number, a truth value or nothing without its quotes. */
function looksOtherwise(text: string): boolean {
  const number = Number(text);
  return (Number.isFinite(number) && String(number) === text) || /^(?:true|false|null|~)$/.test(text);
}

function shortened(text: string): string {
  const printable = text.search(unprintable) < 0 ? text : quoted(text);
  return printable.length <= 60 ? printable : `${printable.slice(0, 57)}...`;
}

function quoted(text: string): string {
  const escaped = escapeUnprintable(JSON.stringify(text));
  return escaped.length <= 80 ? escaped : `${escaped.slice(0, 77)}..."`;
}

/** Control characters, bidirectional marks and line separators could forge or hide parts of a terminal's line. */
function escapeUnprintable(text: string): string {
  return text.replace(unprintable, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`);
}

const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu;
