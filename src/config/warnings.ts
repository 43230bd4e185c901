/** What works and deserves a word: `culvert check` prints these, the daemon logs them once. */

import { warnIkev1 } from "./ikev1.ts";
import type { Path } from "./problem.ts";
import type { Partly } from "./read.ts";
import type { Connection } from "./rules.ts";
import { peersOf } from "./rules.ts";
import type { FileConfig } from "./schema.ts";

export type Warn = (path: Path, text: string) => void;

export function collectWarnings(
  file: Partly<FileConfig>,
  connections: ReadonlyMap<string, Connection>,
  warn: Warn,
): void {
  const routed = new Set((file.routes?.destination ?? []).map((route) => route?.connection));
  for (const [name, connection] of connections) {
    const at = ["connections", name];
    warnWeak(at, connection, warn);
    warnIkev1(at, connection, file, warn);
    warnRouting(at, connection, routed.has(name), warn);
  }
  warnTwins(file, connections, warn);
  for (const [i, route] of (file.routes?.destination ?? []).entries()) {
    const connection = route?.connection === undefined ? undefined : connections.get(route.connection);
    if (connection?.routing === "protected-data-flows")
      warn(
        ["routes", "destination", i],
        "the connection carries only its own subnets (routing is protected-data-flows): what else this route sends there is dropped",
      );
  }
}

function warnWeak(at: Path, connection: Connection, warn: Warn): void {
  for (const part of ["ike", "ipsec"] as const)
    for (const [i, proposal] of (connection[part]?.proposals ?? []).entries())
      for (const { keyword, reason } of proposal?.weak ?? [])
        warn([...at, part, "proposals", i], `weak: ${keyword}: ${reason}`);
}

function warnRouting(at: Path, connection: Connection, routed: boolean, warn: Warn): void {
  if (connection.routing !== "destination") return;
  if (!routed) warn(at, "no route leads to this connection: it carries nothing that starts on this side");
  for (const side of ["localSubnets", "remoteSubnets"] as const)
    if ((connection[side]?.length ?? 0) > 0)
      warn([...at, side], "not used: routing is destination, where routes alone decide");
}

/** A responder knows a peer by address and identity only; two connections that share both are one to it. */
function warnTwins(file: Partly<FileConfig>, connections: ReadonlyMap<string, Connection>, warn: Warn): void {
  const first = new Map<string, string>();
  for (const [name, connection] of connections) {
    for (const peer of peersOf(connection, file)) {
      const key = JSON.stringify([peer, connection.ike?.remoteId ?? null]);
      const other = first.get(key);
      if (other === undefined) first.set(key, name);
      else if (other !== name)
        warn(
          ["connections", name],
          `when the peer starts, this connection and ${other} look the same: give each its own ike.remoteId`,
        );
    }
  }
}
