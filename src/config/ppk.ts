/** Postquantum preshared keys of a file (RFC 8784), read like pre-shared keys. */
import type { Secret } from "../core/secret.ts";
import type { ConnectionConfig } from "./model.ts";
import type { Path } from "./problem.ts";
import { ppkKind, ppkRule, pskFromFile, pskFromValue, type SecretFile } from "./psk.ts";
import type { Findings } from "./read.ts";
import type { Connection } from "./rules.ts";

export interface PpkSource {
  readonly readSecret: (path: string) => SecretFile;
  readonly fileMode?: number | undefined;
}

/** By connection; those without one are not in it. */
export function readPpks(
  connections: ReadonlyMap<string, Connection>,
  source: PpkSource,
  findings: Findings,
): ReadonlyMap<string, Secret> {
  const keys = new Map<string, Secret>();
  for (const [name, { ike }] of connections) {
    const ppk = ike?.ppk;
    if (ppk === undefined) continue;
    const at: Path = ["connections", name, "ike", "ppk"];
    if (ppk.file === undefined && ppk.value === undefined) {
      const unreadable = ["file", "value"].some((key) => findings.has([...at, key])) || findings.has(at);
      if (!unreadable) findings.report(at, undefined, `file or value, which is ${ppkRule}`);
      continue;
    }
    const result =
      ppk.file !== undefined
        ? pskFromFile(ppk.file, source.readSecret(ppk.file), ppkKind)
        : pskFromValue(ppk.value!, source.fileMode, ppkKind);
    if (result.ok) keys.set(name, result.psk);
    else findings.report([...at, ppk.file !== undefined ? "file" : "value"], result.found, result.rule);
  }
  return keys;
}

/** Wipes the keys of a connection that is not used, or no longer. */
export function wipeKeys({ psk, ike }: ConnectionConfig): void {
  psk.wipe();
  ike.ppk?.secret.wipe();
}
