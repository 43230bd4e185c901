/** Reads the configuration and the secrets that it names from disk, for the daemon and for `culvert check`. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { type ParsedConfig, parseConfig } from "../config/parse.ts";
import { type ConfigProblem, formatProblem } from "../config/problem.ts";
import type { SecretFile } from "../config/psk.ts";
import type { Random } from "../core/random.ts";
import { err, type Result } from "../core/result.ts";

export const defaultStateDirectory = "/var/lib/culvert";

/** Where the daemon keeps the key that it made for a connection without one. Names cannot leave the directory. */
export function storedPskPath(stateDirectory: string, connection: string): string {
  // A name may be `.` or `..`: the suffix keeps the file in its directory.
  return join(stateDirectory, "psk", `${connection}.psk`);
}

/** Loads `file`; on failure every problem as one line of text. `stateDirectory`: where made keys are kept. */
export function loadConfigFile(
  file: string,
  stateDirectory: string,
  random: Random,
): Result<ParsedConfig, readonly string[]> {
  const read = readBounded(file, maxConfigBytes);
  if (!read.ok) return err([`${file}: cannot be read: ${read.problem}`]);
  const text = decodeUtf8(read.bytes);
  read.bytes.fill(0);
  if (text === undefined) return err([`${file}: is not UTF-8 text`]);
  const directory = dirname(resolve(file));
  const parsed = parseConfig({
    text,
    file,
    fileMode: read.mode,
    readSecret: (path) => readBounded(resolve(directory, path), maxSecretBytes),
    storedPsk: (connection) => {
      const stored = readBounded(storedPskPath(stateDirectory, connection), maxSecretBytes);
      return !stored.ok && stored.problem === errnoText.ENOENT ? undefined : stored;
    },
    random,
  });
  return parsed.ok ? parsed : err(parsed.error.map((problem: ConfigProblem) => formatProblem(problem)));
}

/** A regular file's bytes and mode, at most `limit` bytes. Never waits: a FIFO or a device is refused. */
function readBounded(path: string, limit: number): SecretFile {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return { ok: false, problem: describe(error) };
  }
  try {
    const stat = fstatSync(descriptor);
    const { size, mode } = stat;
    if (!stat.isFile())
      return { ok: false, problem: stat.isDirectory() ? "is a directory" : "not a regular file" };
    if (size > limit) return { ok: false, problem: `${size} bytes, at most ${limit} are read` };
    const bytes = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const got = readSync(descriptor, bytes, length, size - length, length);
      if (got === 0) break;
      length += got;
    }
    return { ok: true, bytes: bytes.subarray(0, length), mode: mode & 0o7777 };
  } catch (error) {
    return { ok: false, problem: describe(error) };
  } finally {
    closeSync(descriptor);
  }
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return errnoText[code ?? ""] ?? message;
}

const errnoText: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  EISDIR: "is a directory",
  ENOTDIR: "a part of its path is not a directory",
  ELOOP: "too many symbolic links",
};

const maxConfigBytes = 4 * 1024 * 1024;
/** A key has 100 characters; the rest tells a wrong file from a key. */
const maxSecretBytes = 512;
