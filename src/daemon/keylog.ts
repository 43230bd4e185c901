/**
 * The operator's key log, for looking into captures with Wireshark. Whoever reads it reads the traffic: it exists only
 * when asked for by name, and its file is readable by its owner only.
 *
 * Each line is what tshark's `-o` takes: `uat:`, the table, and the row.
 */
import { closeSync, fchmodSync, openSync, writeSync } from "node:fs";
import { exitCode, StartError } from "./exit-codes.ts";

export interface Keylog {
  /** `table`: Wireshark's, e.g. `esp_sa`; `line`: its row. */
  write(table: string, line: string): void;
  close(): void;
}

/** Appends to `path`. Throws StartError when it cannot be opened. */
export function openKeylog(path: string): Keylog {
  let descriptor: number;
  try {
    descriptor = openSync(path, "a", 0o600);
    // The file may be older than this daemon and open to others.
    fchmodSync(descriptor, 0o600);
  } catch (error) {
    throw new StartError(
      exitCode.unavailable,
      `key log ${path}: ${(error as Error).message}`,
      "choose a writable path with --insecure-keylog, or leave it out",
    );
  }
  return {
    write: (table, line) => writeSync(descriptor, `uat:${table}:${line}\n`),
    close: () => closeSync(descriptor),
  };
}
