/**
 * Text to plain values, and back to where each value stands in the text. YAML 1.2, one document, mappings with text
 * keys. Everything is bounded before it is built: text size, nesting, and the number of values after aliases are
 * expanded. Messages are culvert's own: the parser's quote the source, and the source may hold a pre-shared key.
 */
import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  visit,
  type YAMLError,
} from "yaml";
import type { Path, Position } from "./problem.ts";
import { hidesSecret, type Problems, pathKey } from "./problem.ts";

export const limits = { textBytes: 4 * 1024 * 1024, depth: 32, values: 500_000 } as const;

/** A file read: its value as JSON would hold it, and the place of each part. */
export interface ConfigDocument {
  readonly value: unknown;
  /** The place of the value at `path`, or of its nearest ancestor when it is absent. */
  readonly positionOf: (path: Path) => Position;
}

/** Reads `text`; what is wrong goes to `problems`. Undefined when no value could be made of it at all. */
export function readDocument(text: string, problems: Problems): ConfigDocument | undefined {
  const size = new TextEncoder().encode(text).length;
  if (size > limits.textBytes) {
    problems.add({ line: 1, column: 1 }, [], `${size} bytes`, `at most ${limits.textBytes} bytes`);
    return undefined;
  }
  const lines = new LineCounter();
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  const deep = tooDeep(tokens);
  if (deep !== undefined) {
    problems.add(
      position(lines, deep),
      [],
      undefined,
      `at most ${limits.depth} mappings and lists in each other`,
    );
    return undefined;
  }
  const composer = new Composer({
    version: "1.2",
    uniqueKeys: false,
    prettyErrors: false,
    keepSourceTokens: false,
  });
  const documents = [...composer.compose(tokens, true, text.length)];
  const document = documents[0]!;
  for (const fault of documents.flatMap((d) => [...d.errors, ...d.warnings])) {
    problems.add(position(lines, fault.pos[0]), [], undefined, syntaxRule(fault));
  }
  if (documents.length > 1) {
    const at = documents[1]!.range[0];
    problems.add(position(lines, at), [], undefined, "one YAML document in the file");
  }
  // A text that broke the grammar was repaired by guesses; judging those by the rules would only mislead.
  if (!problems.empty) return undefined;
  return new Reader(document, lines, problems).read();
}

class Reader {
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #problems: Problems;
  readonly #targets: Map<Node, Node>;
  readonly #positions = new Map<string, Position>();
  #values = 0;

  constructor(document: Document.Parsed, lines: LineCounter, problems: Problems) {
    this.#document = document;
    this.#lines = lines;
    this.#problems = problems;
    this.#targets = aliasTargets(document);
  }

  read(): ConfigDocument | undefined {
    this.#positions.set(pathKey([]), { line: 1, column: 1 });
    const value = this.#value(this.#document.contents, [], 0);
    if (this.#values > limits.values) {
      this.#problems.add({ line: 1, column: 1 }, [], undefined, `at most ${limits.values} values`);
      return undefined;
    }
    return { value, positionOf: (path) => this.#nearest(path) };
  }

  #value(node: Node | null, path: Path, depth: number): unknown {
    if (++this.#values > limits.values) return undefined;
    if (isAlias(node)) return this.#alias(node, path, depth);
    if (isScalar(node)) {
      this.#positions.set(pathKey(path), this.#positionOf(node));
      return scalarValue(node.value, node.source, node.type === "PLAIN");
    }
    if (isMap(node)) return this.#mapping(node.items as Pair<Node, Node | null>[], path, depth);
    if (isSeq(node)) {
      return node.items.map((item, i) => {
        const itemPath = [...path, i];
        this.#positions.set(pathKey(itemPath), this.#positionOf(item as Node));
        return this.#value(item as Node, itemPath, depth + 1);
      });
    }
    return null;
  }

  #alias(node: Node, path: Path, depth: number): unknown {
    const target = this.#targets.get(node);
    // An anchor may hold an alias to itself: depth ends it, and the grammar's own depth is checked before.
    if (target === undefined || depth >= limits.depth) {
      const rule = target === undefined ? "an anchor that was set before it" : "an alias that ends";
      this.#problems.add(this.#positionOf(node), path, undefined, rule);
      return undefined;
    }
    const value = this.#value(target, path, depth + 1);
    this.#positions.set(pathKey(path), this.#positionOf(node));
    return value;
  }

  #mapping(pairs: readonly Pair<Node, Node | null>[], path: Path, depth: number): Record<string, unknown> {
    const value: Record<string, unknown> = {};
    for (const pair of pairs) {
      const at = this.#positionOf(pair.key);
      const key = keyText(pair.key);
      if (key === undefined || key === "__proto__") {
        this.#problems.add(at, path, undefined, "keys that are plain text");
        continue;
      }
      const keyPath = [...path, key];
      if (Object.hasOwn(value, key)) {
        const first = this.#nearest(keyPath).line;
        const [where, what] = hidesSecret(path) ? [path, undefined] : [keyPath, undefined];
        this.#problems.add(at, where, what, `one time only (first in line ${first})`);
        continue;
      }
      this.#positions.set(pathKey(keyPath), at);
      value[key] = this.#value(pair.value, keyPath, depth + 1);
    }
    return value;
  }

  #nearest(path: Path): Position {
    for (let length = path.length; length > 0; length--) {
      const found = this.#positions.get(pathKey(path.slice(0, length)));
      if (found !== undefined) return found;
    }
    return { line: 1, column: 1 };
  }

  #positionOf(node: Node | null): Position {
    return position(this.#lines, node?.range?.[0] ?? 0);
  }
}

/** Each alias with the last node before it that carries its anchor. */
function aliasTargets(document: Document.Parsed): Map<Node, Node> {
  const anchors = new Map<string, Node>();
  const targets = new Map<Node, Node>();
  visit(document, {
    Node: (_key, node) => {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined && node.anchor !== "") {
        anchors.set(node.anchor, node);
      }
    },
  });
  return targets;
}

/**
 * A number stays a number only if its text is how JSON would print it. `1.10`, `007` and `0x0a` stay text, because an
 * AS number, a name or a key identifier would lose digits that its author wrote.
 */
function scalarValue(value: unknown, source: string | undefined, plain: boolean): unknown {
  if (value === null || typeof value === "string") return value;
  if (plain && source !== undefined && String(value) !== source) return source;
  return typeof value === "number" || typeof value === "boolean" ? value : String(value);
}

function keyText(key: Node | null): string | undefined {
  if (!isScalar(key) || key.value === null) return undefined;
  const value = scalarValue(key.value, key.source, key.type === "PLAIN");
  return String(value);
}

interface Token {
  readonly offset?: number;
  readonly items?: readonly Token[];
  readonly key?: Token | null;
  readonly value?: Token | null;
}

/** Offset of the first token that is nested deeper than allowed. Without recursion: depth is the sender's choice. */
function tooDeep(tokens: readonly unknown[]): number | undefined {
  const open = (tokens as readonly Token[]).map((token) => ({ token, depth: 0, offset: token.offset ?? 0 }));
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { token } = next;
    const offset = token.offset ?? next.offset;
    const depth = next.depth + (token.items === undefined ? 0 : 1);
    if (depth > limits.depth) return offset;
    for (const inner of token.items ?? []) open.push({ token: inner, depth, offset });
    for (const inner of [token.key, token.value]) if (inner) open.push({ token: inner, depth, offset });
  }
  return undefined;
}

function position(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

function syntaxRule(fault: YAMLError): string {
  return `valid YAML (${syntaxFaults[fault.code] ?? "this is not"})`;
}

const syntaxFaults: Partial<Record<YAMLError["code"], string>> = {
  ALIAS_PROPS: "an alias has neither anchor nor tag",
  BAD_ALIAS: "this alias or anchor is not usable",
  BAD_COLLECTION_TYPE: "tags are not used here",
  BAD_DIRECTIVE: "this directive is unknown",
  BAD_DQ_ESCAPE: "this escape is unknown in double quotes; single quotes take text as it is",
  BAD_INDENT: "the indentation does not fit",
  BAD_PROP_ORDER: "anchors and tags stand before the value",
  BAD_SCALAR_START: "a text that begins so needs quotes",
  BLOCK_AS_IMPLICIT_KEY: "a nested mapping starts on a line of its own",
  BLOCK_IN_FLOW: "no indented blocks inside { } or [ ]",
  KEY_OVER_1024_CHARS: "a key has at most 1024 characters",
  MISSING_CHAR: "a character is missing: a closing quote or bracket, a comma, or a space",
  MULTILINE_IMPLICIT_KEY: "a key stands on one line",
  MULTIPLE_ANCHORS: "one anchor per value",
  MULTIPLE_DOCS: "one document in the file",
  MULTIPLE_TAGS: "one tag per value",
  NON_STRING_KEY: "keys are text",
  RESOURCE_EXHAUSTION: "nested too deep",
  TAB_AS_INDENT: "indentation is spaces, not tabs",
  TAG_RESOLVE_FAILED: "tags are not used here",
  UNEXPECTED_TOKEN: "this was not expected here",
};
