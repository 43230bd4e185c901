/**
 * Applies the schema and goes on after a fault: every part that can be read is read, so that the rules about several
 * values can speak in the same run, and an operator sees all problems at once. `configSchema.parse` accepts exactly
 * what this reads without a problem (a property test holds them together).
 */
import type { z } from "zod";
import type { IpAddress, Prefix } from "../core/address.ts";
import type { ParsedProposal } from "../registry/index.ts";
import { ruleOf } from "./leaf.ts";
import type { Identity, PeerAddress } from "./model.ts";
import { hidesSecret, type Path, show } from "./problem.ts";
import { suggestion } from "./suggest.ts";

/** Receives a fault at `path`: what was found, as messages show it, and what is allowed. */
export type Report = (path: Path, found: string | undefined, rule: string) => void;

/** A report that remembers, so that a value that could not be read is not called missing as well. */
export interface Findings {
  readonly report: Report;
  /** Whether something was reported at exactly this path. */
  readonly has: (path: Path) => boolean;
}

/** A value of which any part may be missing because it could not be read. */
export type Partly<T> = T extends IpAddress | Prefix | PeerAddress | Identity | ParsedProposal
  ? T
  : T extends readonly (infer E)[]
    ? readonly (Partly<E> | undefined)[]
    : T extends object
      ? { readonly [K in keyof T]?: Partly<T[K]> | undefined }
      : T;

export function readPartly<S extends z.ZodType>(
  schema: S,
  raw: unknown,
  findings: Findings,
): Partly<z.output<S>> | undefined {
  const report: Report = (path, found, rule) => {
    if (!findings.has(path)) findings.report(path, found, rule);
  };
  return readAt(schema as unknown as Schema, raw, [], report) as Partly<z.output<S>> | undefined;
}

/** What this file needs to know of Zod's schemas, by `type`. */
export interface Schema {
  readonly _zod: { readonly def: SchemaDefinition };
}
export interface SchemaDefinition {
  readonly type: string;
  readonly innerType?: Schema;
  readonly defaultValue?: unknown;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly keyType?: Schema;
  readonly valueType?: Schema;
  readonly element?: Schema;
}

function readAt(schema: Schema, raw: unknown, path: Path, report: Report): unknown {
  const { def } = schema._zod;
  switch (def.type) {
    case "prefault":
      return readAt(def.innerType!, raw === undefined ? def.defaultValue : raw, path, report);
    case "optional":
      return raw === undefined ? undefined : readAt(def.innerType!, raw, path, report);
    case "object":
      return readObject(def.shape!, raw, path, report);
    case "record":
      return readRecord(def, raw, path, report);
    case "array":
      return readList(schema, def.element!, raw, path, report);
    default:
      return readLeaf(schema, raw, path, report);
  }
}

function readObject(
  shape: Readonly<Record<string, Schema>>,
  raw: unknown,
  path: Path,
  report: Report,
): Record<string, unknown> | undefined {
  if (!isMapping(raw)) {
    report(path, show(path, raw), `a mapping with the keys ${Object.keys(shape).join(", ")}`);
    return undefined;
  }
  for (const key of Object.keys(raw)) {
    if (Object.hasOwn(shape, key)) continue;
    const rule = `unknown key${suggestion(key, Object.keys(shape))}`;
    // `psk: {hunter2}` makes a key of the secret itself.
    const inSecret = hidesSecret(path);
    report(inSecret ? path : [...path, key], undefined, inSecret ? "the key file or the key value" : rule);
  }
  const entries = Object.entries(shape).map(([key, schema]) => {
    const value = Object.hasOwn(raw, key) ? raw[key] : undefined;
    return [key, readAt(schema, value, [...path, key], report)] as const;
  });
  return Object.fromEntries(entries);
}

function readRecord(
  def: SchemaDefinition,
  raw: unknown,
  path: Path,
  report: Report,
): Record<string, unknown> | undefined {
  if (!isMapping(raw)) {
    report(path, show(path, raw), "a mapping from names to settings");
    return undefined;
  }
  const value: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(raw)) {
    const at = [...path, key];
    readLeaf(def.keyType!, key, at, (_path, _found, rule) => report(at, undefined, rule));
    if (key !== "__proto__") value[key] = readAt(def.valueType!, inner, at, report);
  }
  return value;
}

function readList(
  schema: Schema,
  element: Schema,
  raw: unknown,
  path: Path,
  report: Report,
): readonly unknown[] | undefined {
  if (!Array.isArray(raw)) return readLeaf(schema, raw, path, report) as undefined;
  const probe = (schema as unknown as z.ZodType).safeParse(raw);
  const length = probe.error?.issues.find((issue) => issue.path.length === 0);
  if (length !== undefined) report(path, `a list of ${raw.length}`, length.message);
  return raw.map((item: unknown, i) => readAt(element, item, [...path, i], report));
}

function readLeaf(schema: Schema, raw: unknown, path: Path, report: Report): unknown {
  const zodSchema = schema as unknown as z.ZodType;
  if (raw === undefined) {
    report(path, "missing", ruleOf(zodSchema) ?? "a value");
    return undefined;
  }
  const result = zodSchema.safeParse(raw);
  if (result.success) return result.data;
  report(path, show(path, raw), result.error.issues[0]!.message);
  return undefined;
}

function isMapping(raw: unknown): raw is Record<string, unknown> {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw);
}
