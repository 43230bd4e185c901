/** What the daemon answers on the control socket, verb by verb. */
import type {
  CommandResult,
  ControlError,
  ControlRequest,
  CountersResult,
  DaemonStatus,
  DropCount,
  LogResult,
  MetricsResult,
} from "../api/control-protocol.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { GatewayCommand, GatewayInput, GatewayMachine } from "../gateway/contract.ts";
import { ikeDrops } from "../ike/common/drops.ts";
import type { LogRing } from "../telemetry/log-ring.ts";
import type { MetricsPage } from "../telemetry/metrics.ts";
import type { DataPlanePort } from "./ports.ts";
import type { Clock } from "./shell.ts";
import type { TrafficTotals } from "./traffic-totals.ts";

export interface ControlSubject {
  readonly machine: Pick<GatewayMachine, "status">;
  readonly dataPlane: Pick<DataPlanePort, "traffic" | "counters" | "drops" | "dump">;
  readonly clock: Pick<Clock, "now">;
  readonly ring: LogRing;
  readonly events: LogRing;
  readonly metrics: Pick<MetricsPage, "render">;
  readonly feed: (input: GatewayInput) => void;
  readonly daemon: Omit<DaemonStatus["daemon"], "nowMs">;
  readonly tun: DaemonStatus["tun"];
  readonly totals: Pick<TrafficTotals, "perConnection">;
  /** By connection number. */
  readonly connectionNames: readonly string[];
  readonly stopping: boolean;
}

export function answerControl(
  request: ControlRequest,
  on: ControlSubject,
): Result<unknown, ControlError> | Promise<Result<unknown, ControlError>> {
  switch (request.verb) {
    case "status":
      return ok(status(on));
    case "up":
    case "down":
    case "reset":
      return command({ verb: request.verb, connection: request.connection }, on);
    case "rekey":
      return command({ verb: request.verb, connection: request.connection, ike: request.ike }, on);
    case "log":
      return ok<LogResult>({ records: on.ring.recent(request.lines).map((line) => JSON.parse(line)) });
    case "events":
      return ok<LogResult>({ records: on.events.recent(request.lines).map((line) => JSON.parse(line)) });
    case "counters":
      return ok<CountersResult>({ counters: on.dataPlane.counters(), drops: countedDrops(on) });
    case "metrics":
      return on.metrics.render().then((text) => ok<MetricsResult>({ text }));
    case "dump":
      return ok({ ...status(on), dataPlane: on.dataPlane.dump() });
  }
}

function status(on: ControlSubject): DaemonStatus {
  const nowMs = on.clock.now();
  const traffic = on.dataPlane.traffic();
  return {
    daemon: { ...on.daemon, nowMs },
    tun: on.tun,
    gateway: on.machine.status(nowMs),
    connectionTraffic: on.totals.perConnection(on.connectionNames, traffic),
    traffic,
    drops: countedDrops(on),
  };
}

function command(command: GatewayCommand, on: ControlSubject): Result<CommandResult, ControlError> {
  if (on.stopping) return err({ code: "UNAVAILABLE", message: "the daemon is shutting down" });
  const acceptedAtMs = on.clock.now();
  const { connection } = command;
  const { connections } = on.machine.status(acceptedAtMs);
  const found = connections.find(({ name }) => name === connection);
  if (!found) {
    const names = connections.map(({ name }) => name);
    const message = `no connection is named ${connection}; configured: ${names.join(", ") || "none"}`;
    return err({ code: "UNKNOWN_CONNECTION", message });
  }
  if (command.verb === "rekey" && found.state !== "up") {
    const message = `${connection} is ${found.state}: there is nothing to rekey; culvert up ${connection}`;
    return err({ code: "NOT_UP", message });
  }
  on.feed({ kind: "command", command });
  return ok({ acceptedAtMs });
}

/** The data plane's reasons and IKE's, in one list; reasons that nothing died of stay out of the operator's way. */
function countedDrops(on: ControlSubject): DropCount[] {
  const { drops } = on.machine.status(on.clock.now()).ike;
  const texts: Readonly<Record<string, string>> = ikeDrops;
  const ike = Object.entries(drops).map(([reason, packets]) => ({
    reason: `ike_${reason}`,
    severity: "warn",
    text: texts[reason] ?? "",
    packets,
  }));
  return [...on.dataPlane.drops(), ...ike].filter((drop) => drop.packets > 0);
}
