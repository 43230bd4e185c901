/** What `culvert status` prints. Pure: answers in, lines out. */
import type { DaemonStatus, DropCount, SaTraffic } from "../api/control-protocol.ts";
import type { ConnectionStatus, TunnelStatus } from "../gateway/contract.ts";
import { formatEspSpi } from "../wire/index.ts";
import { fewChildren, pairRows, pairsWarning, renderManyChildren, selectorText } from "./render-children.ts";
import { renderFailure, renderWarning } from "./render-failure.ts";
import { formatBytes, formatDuration, labelled, printable, table, wrap } from "./table.ts";

/** The whole gateway: one row per configured connection, up or not, and why those that fail do. */
export function renderOverview(status: DaemonStatus, width: number): string[] {
  const { gateway, daemon, tun } = status;
  const upFor = formatDuration(daemon.nowMs - daemon.startedAtMs);
  const lines = [
    printable(
      `gateway ${gateway.name} on ${tun.name} (MTU ${tun.mtu}), culvertd ${daemon.version} for ${upFor}`,
    ),
    "",
  ];
  if (gateway.connections.length === 0) lines.push("no connections are configured");
  else {
    const columns = [
      { title: "CONNECTION", shrink: true },
      { title: "STATE" },
      { title: "FOR" },
      { title: "PEER", shrink: true },
      { title: "IN", align: "right" as const },
      { title: "OUT", align: "right" as const },
    ];
    const rows = gateway.connections.map((connection) => {
      const traffic = status.connectionTraffic.find((row) => row.connection === connection.name);
      return [
        printable(connection.name),
        connection.state + marks(connection),
        formatDuration(daemon.nowMs - connection.sinceMs),
        printable(peerOf(connection)),
        formatBytes(traffic?.inbound.bytes ?? 0),
        formatBytes(traffic?.outbound.bytes ?? 0),
      ];
    });
    lines.push(...table(columns, rows, width));
    if (gateway.connections.some((connection) => connection.weak.length > 0))
      lines.push("", "* weak: see culvert status CONNECTION");
    if (gateway.connections.some((connection) => connection.warnings.length > 0))
      lines.push("", "! works, and will fail later: see below");
  }
  for (const connection of gateway.connections) {
    if (connection.state !== "up" && connection.lastFailure)
      lines.push(
        "",
        ...renderFailure(connection.lastFailure, daemon.nowMs - connection.lastFailure.atMs, width),
      );
  }
  for (const connection of gateway.connections)
    for (const warning of connection.warnings)
      lines.push("", ...renderWarning(warning, daemon.nowMs - warning.atMs, width));
  for (const { name, tunnels } of gateway.connections) {
    const warning = pairsWarning(name, tunnels);
    if (warning) lines.push("", ...labelled("warning: ", printable(warning), 9, width));
  }
  if (status.drops.length > 0) lines.push("", ...renderDrops(status.drops, width));
  for (const warning of daemon.warnings)
    lines.push("", ...labelled("warning: ", printable(warning), 9, width));
  if (daemon.restartNeeded.length > 0) lines.push("", ...wrap(printable(restartHint(status)), width));
  return lines;
}

const marks = ({ weak, warnings }: ConnectionStatus): string =>
  `${weak.length > 0 ? " *" : ""}${warnings.length > 0 ? " !" : ""}`;

/** Everything about one connection. */
export function renderConnection(
  connection: ConnectionStatus,
  status: DaemonStatus,
  width: number,
): string[] {
  const { nowMs } = status.daemon;
  const lines = [
    printable(`${connection.name}: ${connection.state} for ${formatDuration(nowMs - connection.sinceMs)}`),
  ];
  for (const weak of connection.weak) lines.push(...labelled("  weak", printable(weak), labelWidth, width));
  for (const tunnel of connection.tunnels) lines.push("", ...renderTunnel(tunnel, status, width));
  if (connection.lastFailure) {
    const ago = nowMs - connection.lastFailure.atMs;
    lines.push("", lastFailureTitle(connection));
    lines.push(...renderFailure(connection.lastFailure, ago, width));
  }
  for (const warning of connection.warnings)
    if (warning.atMs !== connection.lastFailure?.atMs)
      lines.push("", ...renderWarning(warning, nowMs - warning.atMs, width));
  if (connection.failures.length > 1) lines.push("", ...renderHistory(connection, nowMs, width));
  return lines;
}

/** The failures before the last one, the newest first. */
function renderHistory({ failures }: ConnectionStatus, nowMs: number, width: number): string[] {
  const columns = [
    { title: "EARLIER FAILURE" },
    { title: "AGO", align: "right" as const },
    { title: "TIMES", align: "right" as const },
    { title: "DIFFERS", shrink: true },
  ];
  const rows = failures
    .slice(1)
    .map(({ code, atMs, times, difference }) => [
      code,
      formatDuration(nowMs - atMs),
      String(times),
      printable(difference),
    ]);
  return table(columns, rows, width);
}

/** Why packets died, most frequent first. */
export function renderDrops(drops: readonly DropCount[], width: number): string[] {
  const columns = [
    { title: "DROPPED", align: "right" as const },
    { title: "REASON" },
    { title: "MEANING", shrink: true },
  ];
  const sorted = [...drops].sort((a, b) => b.packets - a.packets);
  const rows = sorted.map((drop) => [String(drop.packets), drop.reason, printable(drop.text)]);
  return table(columns, rows, width);
}

function renderTunnel(tunnel: TunnelStatus, status: DaemonStatus, width: number): string[] {
  const rows: [string, string][] = [
    ["state", tunnel.state],
    ["local", [tunnel.local, tunnel.localId].filter(Boolean).join("  id ")],
    ["remote", [tunnel.remote, tunnel.remoteId].filter(Boolean).join("  id ")],
  ];
  if (tunnel.ike) {
    const { ike } = tunnel;
    rows.push(
      ["IKE SA", `${versionOf(ike)}, ${ike.spiInitiator}_i ${ike.spiResponder}_r, ${ike.role}`],
      ["IKE suite", ike.suite],
      ["age", `${age(ike.ageMs, ike.rekeyInMs)}, handshake ${Math.round(ike.handshakeMs)} ms`],
      ["NAT", ike.nat],
    );
  }
  if (tunnel.pathMtu) rows.push(["path MTU", `${tunnel.pathMtu.bytes} bytes, ${tunnel.pathMtu.state}`]);
  if (tunnel.pairs) rows.push(...pairRows(tunnel.pairs));
  const many = tunnel.children.length > fewChildren;
  if (many) rows.push(["IPsec SAs", String(tunnel.children.length)]);
  for (const child of many ? [] : tunnel.children) {
    const inbound = find(status.traffic, "inbound", child.spiIn);
    const outbound = find(status.traffic, "outbound", child.spiOut);
    rows.push(
      [
        "IPsec SA",
        `in ${formatEspSpi(child.spiIn)}, out ${formatEspSpi(child.spiOut)}, ${encapsulation[child.encapsulation]}`,
      ],
      ["IPsec suite", child.suite],
      ["selectors", selectorText(child)],
      ["inner MTU", `${child.innerMtu} bytes`],
      ["age", age(child.ageMs, child.rekeyInMs)],
      ["in", totals(inbound)],
      ["out", totals(outbound)],
    );
  }
  return [
    printable(`  tunnel to ${tunnel.customerGateway}`),
    ...rows
      .filter(([, text]) => text !== "")
      .flatMap(([label, text]) => labelled(`    ${label}`, printable(text), labelWidth, width)),
    ...(many ? renderManyChildren(tunnel.children, status.traffic, width) : []),
  ];
}

const versionOf = ({ version, mode }: NonNullable<TunnelStatus["ike"]>): string =>
  mode === undefined ? `IKEv${version}` : `IKEv${version} ${mode} mode`;

function lastFailureTitle({ state, warnings, lastFailure }: ConnectionStatus): string {
  if (warnings.some((warning) => warning.atMs === lastFailure?.atMs))
    return "warning: works now, and will fail:";
  return state === "up" ? "last failure, since recovered:" : "last failure:";
}

function peerOf(connection: ConnectionStatus): string {
  const tunnel = connection.tunnels.find((t) => t.state === "up") ?? connection.tunnels[0];
  return tunnel?.remote ?? tunnel?.customerGateway ?? "";
}

function find(
  traffic: readonly SaTraffic[],
  direction: "inbound" | "outbound",
  spiNumber: number,
): SaTraffic | undefined {
  return traffic.find((sa) => sa.direction === direction && sa.spi === spiNumber);
}

const totals = (sa: SaTraffic | undefined): string =>
  sa === undefined ? "" : `${sa.packets} packets, ${formatBytes(sa.bytes)}`;

const age = (ageMs: number, rekeyInMs: number | undefined): string =>
  formatDuration(ageMs) + (rekeyInMs === undefined ? "" : `, rekey in ${formatDuration(rekeyInMs)}`);

const restartHint = ({ daemon }: DaemonStatus): string =>
  `${daemon.configFile} has changed since the daemon started (${daemon.restartNeeded.join(", ")}): ` +
  "systemctl restart culvert applies it";

const encapsulation = { esp: "ESP (protocol 50)", udp: "ESP in UDP" } as const;
const labelWidth = 18;
