/** `culvert log [-f]`: the daemon's recent records, and with `-f` those to come. */
import type { LogResult } from "../../api/control-protocol.ts";
import type { ControlClient } from "../client.ts";
import type { Output } from "../output.ts";
import { printable } from "../table.ts";

export interface LogOptions {
  readonly lines: number;
  readonly follow: boolean;
  /** One JSON record per line, as the daemon wrote it. */
  readonly json: boolean;
}

export async function log(client: ControlClient, output: Output, options: LogOptions): Promise<void> {
  const print = (record: unknown) =>
    output.line(options.json ? JSON.stringify(record) : renderRecord(record));
  client.onRecord = ({ record, dropped }) => {
    if (dropped !== undefined) output.error(`(${dropped} records missed: the reader was too slow)`);
    print(record);
  };
  const answer = await client.ask<LogResult>({ verb: "log", lines: options.lines, follow: options.follow });
  for (const record of answer.records) print(record);
  if (options.follow) await client.closed;
}

/** `2026-01-02T03:04:05.678Z info  SA up  connection=hq peer=192.0.2.1`. */
export function renderRecord(record: unknown): string {
  if (typeof record !== "object" || record === null) return printable(JSON.stringify(record));
  const { time, level, msg, ...fields } = record as Record<string, unknown>;
  const head = `${String(time ?? "")} ${String(level ?? "").padEnd(5)} ${String(msg ?? "")}`;
  const tail = Object.entries(fields).map(([key, value]) => ` ${key}=${renderValue(value)}`);
  return printable(head + (tail.length > 0 ? " " : "") + tail.join(""));
}

function renderValue(value: unknown): string {
  if (typeof value === "string") return /[\s"=]/.test(value) || value === "" ? JSON.stringify(value) : value;
  return JSON.stringify(value);
}
