/**
 * The building blocks of the schema. Each leaf knows its type and what is allowed: the text of its errors, which
 * `docs/configuration.md` repeats (a test compares them).
 */
import { z } from "zod";

export interface LeafInfo {
  /** `text`, `integer`, `true or false`, `list of prefixes` … */
  readonly type: string;
  /** What is allowed, in a form that completes "allowed is …". */
  readonly rule: string;
}

export const leafInfo = z.registry<LeafInfo>();

/** What a reader answers: the value, or the rule that the text breaks. */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly rule: string | undefined };

export const accept = <T>(value: T): Read<T> => ({ ok: true, value });
/** Without `rule` the leaf's own rule is what the operator reads. */
export const refuse = (rule?: string): Read<never> => ({ ok: false, rule });

/** A leaf that `reader` makes a value of. Zod's own issues inside `raw` are replaced by the leaf's rule. */
export function leaf<R extends z.ZodType, T>(info: LeafInfo, raw: R, reader: (raw: z.output<R>) => Read<T>) {
  const schema = raw.transform((value, context): T => {
    const result = reader(value);
    if (result.ok) return result.value;
    context.addIssue({ code: "custom", message: result.rule ?? info.rule });
    return z.NEVER;
  });
  leafInfo.add(schema, info);
  return schema;
}

/** A text, or a number or truth value that stands where text is meant: names may look like that. */
export function text<T>(info: LeafInfo, reader: (text: string) => Read<T>) {
  return leaf(info, anyText(info.rule), (raw) => reader(String(raw)));
}

export const anyText = (rule: string) => z.union([z.string(), z.number(), z.boolean()], { error: rule });

/** An integer in any of `ranges`, both ends included. */
export function integer(...ranges: readonly (readonly [number, number])[]) {
  const rule = ranges.map(([low, high]) => (low === high ? `${low}` : `${low} to ${high}`)).join(" or ");
  return number(rule, (n) => ranges.some(([low, high]) => n >= low && n <= high));
}

/** An integer that `allowed` accepts. */
export function number(rule: string, allowed: (n: number) => boolean) {
  const schema = z.int({ error: rule }).refine(allowed, { error: rule });
  leafInfo.add(schema, { type: "integer", rule });
  return schema;
}

export function flag() {
  const rule = "true or false";
  const schema = z.boolean({ error: rule });
  leafInfo.add(schema, { type: rule, rule });
  return schema;
}

/** One of a few words. */
export function oneOf<const V extends readonly [string, ...string[]]>(...values: V) {
  const rule = values.length === 2 ? values.join(" or ") : `one of ${values.join(", ")}`;
  const schema = z.enum(values, { error: rule });
  leafInfo.add(schema, { type: "word", rule });
  return schema;
}

/** `auto`, or an integer. */
export function autoOr(low: number, high: number) {
  const rule = `auto, or ${low} to ${high}`;
  // The range is a rule of the whole, so that "0" is told what else would do, and not only that it is too small.
  const schema = z
    .union([z.literal("auto"), z.int()], { error: rule })
    .refine((value) => value === "auto" || (value >= low && value <= high), { error: rule });
  leafInfo.add(schema, { type: "auto or integer", rule });
  return schema;
}

/** A list of `low` to `high` elements, which say for themselves what they allow. */
export function list<S extends z.ZodType>(type: string, element: S, low: number, high: number) {
  const rule = `a list of ${low === 0 ? `at most ${high}` : `${low} to ${high}`}`;
  const schema = z.array(element, { error: rule }).min(low, { error: rule }).max(high, { error: rule });
  leafInfo.add(schema, { type, rule });
  return schema;
}

/** What a leaf allows; undefined for schemas that are none. */
export const ruleOf = (schema: z.ZodType): string | undefined => leafInfo.get(schema)?.rule;
