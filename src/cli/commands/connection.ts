/**
 * `culvert up|down|reset|rekey CONNECTION`: tells the daemon, then watches the status until the connection is where it
 * should be, failed, or `--timeout` passed. The daemon goes on trying after a failure: desired state is up.
 */
import type { CommandResult, DaemonStatus } from "../../api/control-protocol.ts";
import type { ConnectionStatus } from "../../gateway/contract.ts";
import type { ControlClient } from "../client.ts";
import { CommandError, type ExitCode, exitCode } from "../exit-codes.ts";
import { type Output, printJson } from "../output.ts";
import { renderFailure } from "../render-failure.ts";
import { printable } from "../table.ts";
import { findConnection } from "./status.ts";

export type Verb = "up" | "down" | "reset" | "rekey";

/** `ike`: of `rekey`, the IKE SA in place of the CHILD_SAs. */
export interface Action {
  readonly verb: Verb;
  readonly ike?: boolean;
}

export interface Wait {
  readonly timeoutMs: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}

export async function changeConnection(
  client: ControlClient,
  output: Output,
  action: Action,
  name: string,
  wait: Wait,
  json: boolean,
): Promise<void> {
  const before = findConnection(await client.ask<DaemonStatus>({ verb: "status" }), name);
  const { verb, ike = false } = action;
  const request =
    verb === "rekey" ? ({ verb, connection: name, ike } as const) : ({ verb, connection: name } as const);
  const { acceptedAtMs } = await client.ask<CommandResult>(request);
  const deadline = wait.now() + wait.timeoutMs;
  for (;;) {
    const status = await client.ask<DaemonStatus>({ verb: "status" });
    const connection = findConnection(status, name);
    const outcome = judge(action, before, connection, acceptedAtMs);
    if (outcome !== "pending") return report(output, verb, outcome, connection, status, json);
    if (wait.now() >= deadline) {
      if (json) printJson(output, { connection: name, verb, outcome: "timeout", status: connection });
      throw new CommandError(
        exitCode.timeout,
        `${name} is ${connection.state} after ${Math.round(wait.timeoutMs / 1000)} s; ` +
          `the daemon goes on trying: see culvert status ${name}`,
      );
    }
    await wait.sleep(pollMs);
  }
}

type Outcome = "done" | "failed" | "pending";

/** Where the command stands, from the status before it, the status now, and when the daemon took it. */
export function judge(
  { verb, ike = false }: Action,
  before: ConnectionStatus,
  now: ConnectionStatus,
  acceptedAtMs: number,
): Outcome {
  if (verb === "down") return now.state === "down" || now.state === "disabled" ? "done" : "pending";
  // `reset` and `rekey` are done when it is up with SAs that are not the old ones.
  const sas = verb === "rekey" && !ike ? childSas : ikeSas;
  if (now.state === "up" && (verb === "up" || isNew(sas(before), sas(now)))) return "done";
  if (now.lastFailure && now.lastFailure.atMs >= acceptedAtMs) return "failed";
  return "pending";
}

function isNew(before: readonly string[], now: readonly string[]): boolean {
  const old = new Set(before);
  return now.every((sa) => !old.has(sa));
}

/**
 * In IKEv1 an old SA stands beside the one that replaced it for a while, for a peer that sends on it: what counts is which
 * one packets leave on. The children are in that order.
 */
const childSas = (connection: ConnectionStatus): string[] =>
  connection.tunnels.flatMap(({ ike, children }) => {
    const isPreferred = (child: Child) => children.find((other) => sameTraffic(child, other)) === child;
    return children
      .filter((child) => ike?.version !== 1 || isPreferred(child))
      .map(({ spiIn }) => `${spiIn}`);
  });

type Child = ConnectionStatus["tunnels"][number]["children"][number];

const sameTraffic = (a: Child, b: Child): boolean =>
  `${a.localSelectors} ${a.remoteSelectors}` === `${b.localSelectors} ${b.remoteSelectors}`;

const ikeSas = (connection: ConnectionStatus): string[] =>
  connection.tunnels.flatMap(({ ike }) => (ike ? [`${ike.spiInitiator} ${ike.spiResponder}`] : []));

function report(
  output: Output,
  verb: Verb,
  outcome: "done" | "failed",
  connection: ConnectionStatus,
  status: DaemonStatus,
  json: boolean,
): void {
  const code: ExitCode = outcome === "done" ? exitCode.ok : exitCode.failed;
  if (json) {
    printJson(output, { connection: connection.name, verb, outcome, status: connection });
    if (code !== exitCode.ok) throw new CommandError(code, "");
    return;
  }
  if (outcome === "done") {
    for (const line of renderDone(connection)) output.line(printable(line));
    return;
  }
  const failure = connection.lastFailure!;
  const lines = renderFailure(failure, status.daemon.nowMs - failure.atMs, output.width);
  throw new CommandError(code, lines.join("\n"));
}

function renderDone(connection: ConnectionStatus): string[] {
  const headline = `${connection.name} is ${connection.state}`;
  const tunnel = connection.tunnels.find((t) => t.state === "up");
  if (connection.state !== "up" || !tunnel?.ike) return [headline];
  return [
    `${headline} with ${tunnel.remote ?? tunnel.customerGateway}`,
    `  IKE    ${tunnel.ike.suite}`,
    ...tunnel.children.map((child) => `  IPsec  ${child.suite}`),
  ];
}

const pollMs = 100;
