export { explainConfig } from "./explain.ts";
export type * from "./model.ts";
export { type ParsedConfig, type ParseInput, parseConfig } from "./parse.ts";
export { type ConfigProblem, formatProblem } from "./problem.ts";
export type { SecretFile } from "./psk.ts";
export { configSchema } from "./schema.ts";
