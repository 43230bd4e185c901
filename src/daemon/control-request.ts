/** What a client may ask on the control socket, checked before anything acts on it. */
import { z } from "zod";
import { type ControlError, type ControlRequest, controlVersion } from "../api/control-protocol.ts";
import { err, ok, type Result } from "../core/result.ts";

const envelope = { v: z.literal(controlVersion), id: z.int().min(0) };
const connection = z.string().min(1).max(100);

const schema = z.discriminatedUnion("verb", [
  z.strictObject({ ...envelope, verb: z.literal("status") }),
  z.strictObject({ ...envelope, verb: z.enum(["up", "down", "reset"]), connection }),
  z.strictObject({ ...envelope, verb: z.literal("rekey"), connection, ike: z.boolean() }),
  z.strictObject({
    ...envelope,
    verb: z.enum(["log", "events"]),
    lines: z.int().min(0).max(1000),
    follow: z.boolean(),
  }),
  z.strictObject({ ...envelope, verb: z.enum(["counters", "metrics"]) }),
  z.strictObject({ ...envelope, verb: z.literal("dump") }),
]);

export interface RequestError {
  readonly id: number;
  readonly error: ControlError;
}

/** One line of the socket as a request, or the error to answer with. */
export function parseRequest(line: string): Result<ControlRequest, RequestError> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return err({ id: 0, error: { code: "BAD_REQUEST", message: "not a JSON object" } });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return err({ id: 0, error: { code: "BAD_REQUEST", message: "not a JSON object" } });
  const id = idOf(value);
  const version = field(value, "v");
  if (version !== controlVersion) {
    const message = `this daemon speaks version ${controlVersion} of the control protocol`;
    return err({ id, error: { code: "UNSUPPORTED_VERSION", message } });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return ok(parsed.data);
  const issue = parsed.error.issues[0];
  const where = issue && issue.path.length > 0 ? `${issue.path.join(".")}: ` : "";
  return err({
    id,
    error: { code: "BAD_REQUEST", message: `${where}${issue?.message ?? "not a request"}` },
  });
}

function idOf(value: object): number {
  const id = field(value, "id");
  return typeof id === "number" && Number.isSafeInteger(id) && id >= 0 ? id : 0;
}

const field = (value: object, name: string): unknown => (value as Record<string, unknown>)[name];
