/** `culvert events [-f]`: what happened to tunnels and SAs, one line each, and with `-f` what happens from now on. */
import type { LogResult } from "../../api/control-protocol.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { GatewayEvent } from "../../gateway/gateway-events.ts";
import type { ControlClient } from "../client.ts";
import type { Output } from "../output.ts";
import { printable, wrap } from "../table.ts";
import type { LogOptions } from "./log.ts";

export async function events(client: ControlClient, output: Output, options: LogOptions): Promise<void> {
  const print = (record: unknown) => {
    if (options.json) output.line(JSON.stringify(record));
    else for (const line of renderEvent(record, output.width)) output.line(line);
  };
  client.onRecord = ({ record, dropped }) => {
    if (dropped !== undefined) output.error(`(${dropped} records missed: the reader was too slow)`);
    print(record);
  };
  const { lines, follow } = options;
  const answer = await client.ask<LogResult>({ verb: "events", lines, follow });
  for (const record of answer.records) print(record);
  if (follow) await client.closed;
}

/** `03:04:05 hq  CHILD_SA up aes256gcm16 in 00001001 out 00002002`, continued below when it is long. */
export function renderEvent(record: unknown, width: number): string[] {
  const event = record as GatewayEvent & { readonly time?: string };
  const at = String(event.time ?? "").slice(11, 19);
  const name = event.type === "failure" ? event.failure?.connection : event.connection;
  const indent = " ".repeat(at.length + 1);
  return wrap(printable(`${name ?? "gateway"}: ${words(event)}`), width - indent.length).map(
    (line, i) => (i === 0 ? `${at} ` : indent) + line,
  );
}

function words(event: GatewayEvent): string {
  switch (event.type) {
    case "tunnel":
      return `tunnel to ${event.customerGateway} ${event.from} to ${event.to}: ${event.why}`;
    case "ikeSa":
      return `IKE SA ${event.change} with ${event.peer}${tail(event)}`;
    case "childSa":
      return `CHILD_SA ${event.change}${tail(event)}, in ${event.spiIn} out ${event.spiOut}`;
    case "failure":
      return failureWords(event.failure);
    default:
      // A newer daemon tells of more than this program knows.
      return JSON.stringify(event);
  }
}

const tail = ({ suite, why }: { readonly suite?: string; readonly why?: string }): string =>
  `${suite === undefined ? "" : `, ${suite}`}${why === undefined ? "" : ` (${why})`}`;

const failureWords = ({ code, difference, remedy }: FailureRecord): string =>
  `failed: ${code}: ${difference}; ${remedy}`;
