/** `culvert metrics`: what Prometheus would read, for a look or for node_exporter's textfile collector. */
import type { MetricsResult } from "../../api/control-protocol.ts";
import type { ControlClient } from "../client.ts";
import type { Output } from "../output.ts";

export async function metrics(client: ControlClient, output: Output): Promise<void> {
  const { text } = await client.ask<MetricsResult>({ verb: "metrics" });
  output.line(text.trimEnd());
}
