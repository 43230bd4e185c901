/** Carries out what the gateway asks for: each `GatewayOutput` becomes one call to the host or the data plane. */
import type { SaSpec } from "../core/dataplane.ts";
import type { GatewayInput, GatewayOutput } from "../gateway/contract.ts";
import type { EventLog } from "../telemetry/event-log.ts";
import type { Log } from "../telemetry/log.ts";
import { formatEspSpi } from "../wire/index.ts";
import type { HostRouting } from "./host-routing.ts";
import type { Keylog } from "./keylog.ts";
import type { DataPlanePort } from "./ports.ts";
import type { Resolver } from "./resolver.ts";
import type { SendTrouble } from "./send-trouble.ts";
import type { TrafficTotals } from "./traffic-totals.ts";

export interface Performer {
  readonly dataPlane: Pick<
    DataPlanePort,
    "sendIke" | "sendKeepalive" | "installSa" | "removeSa" | "updateSa" | "publish"
  >;
  readonly sendTrouble: Pick<SendTrouble, "watch">;
  readonly traffic: Pick<TrafficTotals, "installed" | "moved" | "removed">;
  readonly routing: Pick<HostRouting, "publish">;
  readonly resolve: Resolver;
  readonly log: Pick<Log, "write" | "takes">;
  readonly events: Pick<EventLog, "push">;
  /** Writes one row of a Wireshark table; absent unless the operator asked for the keys. */
  readonly keylog: Keylog["write"] | undefined;
  /** Feeds the gateway, later than the output that is being performed. */
  readonly feed: (input: GatewayInput) => void;
  readonly onStopped: () => void;
}

/** Throws what the host or the data plane throws: the shell reports it and performs the next output. */
export function perform(output: GatewayOutput, to: Performer): void {
  switch (output.kind) {
    case "sendIke":
      to.sendTrouble.watch(output.remote, () =>
        to.dataPlane.sendIke(output.local, output.remote, output.datagram, output.unfragmented),
      );
      break;
    case "sendKeepalive":
      to.sendTrouble.watch(output.remote, () => to.dataPlane.sendKeepalive(output.local, output.remote));
      break;
    case "installSa":
      installSa(output.sa, to);
      break;
    case "removeSa":
      removeSa(output, to);
      break;
    case "updateSa":
      updateSa(output, to);
      break;
    case "publish":
      to.dataPlane.publish(output.plan);
      break;
    case "kernelRoutes":
      to.routing.publish(output.destinations);
      break;
    case "resolve":
      resolve(output.name, to);
      break;
    case "log":
      to.log.write(output.level, output.message, output.fields);
      break;
    case "failure":
      to.log.write("warn", "connection failed", { ...output.record });
      break;
    case "event":
      to.events.push(output.event);
      break;
    case "keylog":
      to.keylog?.(output.table, output.line);
      break;
    case "stopped":
      to.onStopped();
      break;
  }
}

/**
 * The data plane has its own copy of the keys when `installSa` returns; ours die whether or not it took them. A refusal
 * is the gateway's to know: it says so in a failure record, tells the peer and tries again.
 */
function installSa(sa: SaSpec, to: Performer): void {
  try {
    to.dataPlane.installSa(sa);
    to.traffic.installed(sa);
  } catch (error) {
    const { direction, spi, remote } = sa;
    to.feed({ kind: "refusedSa", direction, spi, remote, reason: (error as Error).message });
  } finally {
    sa.encrKey.wipe();
    sa.integKey.wipe();
  }
}

function removeSa(output: Extract<GatewayOutput, { kind: "removeSa" }>, to: Performer): void {
  const { direction, spi, remote } = output;
  const totals = to.dataPlane.removeSa(direction, spi, remote);
  to.traffic.removed(direction, spi, remote, totals);
  if (to.log.takes("debug"))
    to.log.write("debug", "IPsec SA removed", { direction, spi: formatEspSpi(spi), ...totals });
}

/** An SA that cannot take the path of its IKE SA is as bad as one that cannot be installed. */
function updateSa(output: Extract<GatewayOutput, { kind: "updateSa" }>, to: Performer): void {
  const { direction, spi, remote, path } = output;
  try {
    if (!to.dataPlane.updateSa(direction, spi, remote, path)) return;
    to.traffic.moved(direction, spi, remote, path.remote);
    const { local, encapsulation } = path;
    const fields = {
      direction,
      spi: formatEspSpi(spi),
      local,
      remote: path.remote,
      encapsulation: encapsulation.kind,
    };
    to.log.write("debug", "IPsec SA moved", fields);
  } catch (error) {
    // Nobody asks for its removal any more: what is refused is not installed.
    removeSa({ kind: "removeSa", direction, spi, remote }, to);
    to.feed({ kind: "refusedSa", direction, spi, remote: path.remote, reason: (error as Error).message });
  }
}

function resolve(name: string, to: Performer): void {
  to.resolve(name, (addresses, error) => {
    if (error !== undefined) to.log.write("warn", "peer name did not resolve", { name, error });
    to.feed({ kind: "resolved", name, addresses });
  });
}
