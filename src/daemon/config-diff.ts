/** What a changed configuration file would change, for SIGHUP: names, never values. */

import type { Config, ConnectionConfig } from "../config/model.ts";
import { compareBytes } from "../core/address.ts";
import type { Secret } from "../core/secret.ts";

/** The parts that differ, e.g. `["gateway", "connection hq-branch", "routes"]`; empty when nothing does. */
export function configDifference(running: Config, wanted: Config): string[] {
  const parts: string[] = [];
  if (!same(running.gateway, wanted.gateway)) parts.push("gateway");
  const before = byName(running.connections);
  const after = byName(wanted.connections);
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [a, b] = [before.get(name), after.get(name)];
    if (!a || !b || !same(a, b) || !sameKey(a.psk, b.psk) || !sameKey(a.ike.ppk?.secret, b.ike.ppk?.secret))
      parts.push(`connection ${name}`);
  }
  if (!same(running.routes, wanted.routes)) parts.push("routes");
  return parts;
}

// Addresses and prefixes serialise as their text; a Secret as `[secret]`, which is why keys are compared apart.
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const sameKey = (a: Secret | undefined, b: Secret | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && compareBytes(a.reveal(), b.reveal()) === 0);

const byName = (connections: readonly ConnectionConfig[]) =>
  new Map(connections.map((connection) => [connection.name, connection]));
