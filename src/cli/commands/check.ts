/**
 * `culvert check [FILE]`: every problem of a configuration, one per line, and when there is none what works but
 * deserves a word, and what the file comes to. Changes nothing and needs no daemon.
 */
import { loadConfigFile, storedPskPath } from "../../api/config-file.ts";
import { systemRandom } from "../../api/system-random.ts";
import { explainConfig, formatPeer } from "../../config/explain.ts";
import type { ConnectionConfig } from "../../config/model.ts";
import type { ParsedConfig } from "../../config/parse.ts";
import { wipeKeys } from "../../config/ppk.ts";
import { CommandError, exitCode } from "../exit-codes.ts";
import { type Output, printJson } from "../output.ts";
import { labelled, printable, table } from "../table.ts";

/** Throws CommandError with exit code 78 when there are problems. */
export function check(file: string, stateDirectory: string, output: Output, json: boolean): void {
  const loaded = loadConfigFile(file, stateDirectory, systemRandom);
  if (!loaded.ok) {
    if (json) printJson(output, { file, valid: false, problems: loaded.error });
    else for (const problem of loaded.error) output.error(problem);
    throw new CommandError(
      exitCode.config,
      json ? "" : `${count(loaded.error.length, "problem")}; nothing was changed`,
    );
  }
  const config = loaded.value;
  try {
    if (json) printJson(output, summary(file, config));
    else for (const line of renderCheck(file, stateDirectory, config, output.width)) output.line(line);
  } finally {
    for (const connection of config.connections) wipeKeys(connection);
    for (const { psk } of config.generatedPsks) psk.wipe();
  }
}

function renderCheck(file: string, stateDirectory: string, config: ParsedConfig, width: number): string[] {
  const { gateway, connections, routes } = config;
  const lines = [
    printable(`${file}: valid`),
    "",
    ...labelled("gateway", `${gateway.name} at ${gateway.addresses.join(", ")}`, labelWidth, width),
    ...labelled("TUN device", `${gateway.tun.name}, MTU ${gateway.tun.mtu}`, labelWidth, width),
  ];
  if (connections.length > 0) {
    const columns = [
      { title: "CONNECTION", shrink: true },
      { title: "PEER", shrink: true },
      { title: "ROUTING" },
      { title: "START" },
    ];
    lines.push("", ...table(columns, connections.map(connectionRow), width));
    for (const connection of connections) lines.push("", ...renderSuites(connection, width));
  }
  if (routes.destination.length > 0) {
    const columns = [
      { title: "DESTINATION" },
      { title: "CONNECTION", shrink: true },
      { title: "WEIGHT", align: "right" as const },
      { title: "PUBLISHED" },
    ];
    const rows = routes.destination.map((route) => [
      String(route.destination),
      route.connection,
      String(route.weight),
      route.publish ? "yes" : "no",
    ]);
    lines.push("", ...table(columns, rows, width));
  }
  for (const warning of config.warnings)
    lines.push(
      "",
      ...labelled(
        "warning: ",
        printable(`${file}:${warning.line}: ${warning.path}: ${warning.text}`),
        9,
        width,
      ),
    );
  for (const { connection, psk } of config.generatedPsks) {
    const kept = storedPskPath(stateDirectory, connection);
    lines.push(
      "",
      ...labelled(
        "psk: ",
        `${connection} has none. culvertd makes one at its first start and keeps it in ${kept}; or use this one, made now and kept nowhere:`,
        5,
        width,
      ),
      `     ${new TextDecoder().decode(psk.reveal())}`,
    );
  }
  return lines;
}

const connectionRow = (connection: ConnectionConfig): string[] => [
  connection.name,
  connection.tunnels.map((tunnel) => formatPeer(tunnel.address)).join(", "),
  connection.routing,
  connection.start,
];

function renderSuites(connection: ConnectionConfig, width: number): string[] {
  const offers = (proposals: readonly { readonly text: string }[]) =>
    proposals.map(({ text }) => text).join(" ");
  return [
    `${connection.name} offers`,
    ...labelled("  IKE", offers(connection.ike.proposals), labelWidth, width),
    ...labelled("  IPsec", offers(connection.ipsec.proposals), labelWidth, width),
  ];
}

/** The configuration as it takes effect, defaults filled in. No key but those made now, once. */
function summary(file: string, config: ParsedConfig) {
  const generatedPsks = config.generatedPsks.map(({ connection, psk }) => ({
    connection,
    psk: new TextDecoder().decode(psk.reveal()),
  }));
  return { file, valid: true, warnings: config.warnings, generatedPsks, effective: explainConfig(config) };
}

const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

const labelWidth = 12;
