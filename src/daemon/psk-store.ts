/**
 * Keeps the pre-shared keys that were made for connections without one, so that they survive a restart: a file each,
 * readable by its owner only. The log names the file, never the key.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { storedPskPath } from "../api/config-file.ts";
import type { Secret } from "../core/secret.ts";
import { exitCode, StartError } from "./exit-codes.ts";

/** Writes the key and wipes our copy; returns its path. Throws StartError when it cannot be kept. */
export function storePsk(stateDirectory: string, connection: string, psk: Secret): string {
  const path = storedPskPath(stateDirectory, connection);
  const temporary = `${path}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // A crash leaves the old file or the new one, never half of one.
    unlinkIfThere(temporary);
    const descriptor = openSync(temporary, "wx", 0o600);
    try {
      writeSync(descriptor, psk.reveal());
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
    return path;
  } catch (error) {
    throw new StartError(
      exitCode.unavailable,
      `the key made for connection ${connection} cannot be kept: ${(error as Error).message}`,
      "make the directory writable for the daemon, name another with --state, or give the connection a psk",
    );
  } finally {
    psk.wipe();
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
