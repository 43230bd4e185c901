import type { DaemonStatus } from "../../api/control-protocol.ts";
import type { ConnectionStatus } from "../../gateway/contract.ts";
import type { ControlClient } from "../client.ts";
import { CommandError, exitCode } from "../exit-codes.ts";
import { type Output, printJson } from "../output.ts";
import { renderConnection, renderOverview } from "../render-status.ts";

/** `culvert status [CONNECTION]`. */
export async function status(
  client: ControlClient,
  output: Output,
  connectionName: string | undefined,
  json: boolean,
): Promise<void> {
  const answer = await client.ask<DaemonStatus>({ verb: "status" });
  if (connectionName === undefined) {
    if (json) return printJson(output, answer);
    for (const line of renderOverview(answer, output.width)) output.line(line);
    return;
  }
  const connection = findConnection(answer, connectionName);
  if (json) return printJson(output, connection);
  for (const line of renderConnection(connection, answer, output.width)) output.line(line);
}

/** Throws CommandError that lists the names there are. */
export function findConnection(answer: DaemonStatus, name: string): ConnectionStatus {
  const found = answer.gateway.connections.find((connection) => connection.name === name);
  if (found) return found;
  const names = answer.gateway.connections.map((connection) => connection.name).join(", ");
  throw new CommandError(exitCode.failed, `no connection is named ${name}; configured: ${names || "none"}`);
}
