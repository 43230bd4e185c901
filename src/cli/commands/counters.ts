/** `culvert counters`: what the data plane counts, and why packets died. */
import type { CountersResult } from "../../api/control-protocol.ts";
import type { ControlClient } from "../client.ts";
import { type Output, printJson } from "../output.ts";
import { renderDrops } from "../render-status.ts";
import { table } from "../table.ts";

export async function counters(client: ControlClient, output: Output, json: boolean): Promise<void> {
  const answer = await client.ask<CountersResult>({ verb: "counters" });
  if (json) return printJson(output, answer);
  const rows = Object.entries(answer.counters).map(([name, value]) => [name, String(value)]);
  const columns = [
    { title: "COUNTER", shrink: true },
    { title: "VALUE", align: "right" as const },
  ];
  for (const line of table(columns, rows, output.width)) output.line(line);
  if (answer.drops.length === 0) return;
  output.line("");
  for (const line of renderDrops(answer.drops, output.width)) output.line(line);
}
