import { stringify } from "yaml";
import type { z } from "zod";
import { leafInfo } from "../../../src/config/leaf.ts";
import type { Schema } from "../../../src/config/read.ts";
import { configSchema } from "../../../src/config/schema.ts";

export interface SchemaKey {
  /** `connections.<name>.ike.mode`, `routes.destination[].weight` */
  readonly path: string;
  readonly type: string;
  /** What is allowed: of a list its length, of its elements theirs. */
  readonly allowed: string;
  /** In YAML's flow style; `required`, or undefined when the key may be absent and then has no value. */
  readonly fallback: string | undefined;
}

/** Every key of the schema that holds a value, in the schema's order. */
export function schemaKeys(): readonly SchemaKey[] {
  return keysOf(configSchema as unknown as Schema, "", "required");
}

function keysOf(schema: Schema, path: string, fallback: string | undefined): SchemaKey[] {
  const { def } = schema._zod;
  const info = leafInfo.get(schema as unknown as z.ZodType);
  switch (def.type) {
    case "prefault":
      return keysOf(def.innerType!, path, flow(def.defaultValue));
    case "optional":
      return keysOf(def.innerType!, path, undefined);
    case "object":
      return Object.entries(def.shape!).flatMap(([key, value]) =>
        keysOf(value, path === "" ? key : `${path}.${key}`, "required"),
      );
    case "record":
      return keysOf(def.valueType!, `${path}.<name>`, "required");
    case "array": {
      const element = leafInfo.get(def.element as unknown as z.ZodType);
      const allowed = element === undefined ? info!.rule : `${info!.rule}, each ${element.rule}`;
      const list = { path, type: info!.type, allowed, fallback };
      return element === undefined ? [list, ...keysOf(def.element!, `${path}[]`, "required")] : [list];
    }
    default:
      return [{ path, type: info!.type, allowed: info!.rule, fallback }];
  }
}

const flow = (value: unknown): string =>
  stringify(value, { collectionStyle: "flow", flowCollectionPadding: false, lineWidth: 0 }).trim();
