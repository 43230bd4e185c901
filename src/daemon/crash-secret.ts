/**
 * What the daemon's tokens of Quick Crash Detection (RFC 6290) are made of: 32 random octets that outlive it, in a file
 * that only its user may read. Whoever has them can end IKE SAs of this gateway at its peers, and do nothing else.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Random } from "../core/random.ts";
import { Secret } from "../core/secret.ts";

const secretBytes = 32;

/**
 * The secret of `stateDirectory`; made when there is none, and made anew when others could read it or it is damaged.
 * Throws what the file system throws: the daemon then runs without tokens.
 */
export function openCrashSecret(stateDirectory: string, random: Random): Secret {
  const path = join(stateDirectory, "qcd-secret");
  return readSecret(path) ?? makeSecret(stateDirectory, path, random);
}

function readSecret(path: string): Secret | undefined {
  let descriptor: number;
  try {
    // Not through a symbolic link, and not waiting for the writer of a pipe.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (["ENOENT", "ELOOP"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
  try {
    const { mode, size } = fstatSync(descriptor);
    const isFile = (mode & constants.S_IFMT) === constants.S_IFREG;
    if (!isFile || (mode & 0o077) !== 0 || size !== secretBytes) return undefined;
    const bytes = new Uint8Array(secretBytes);
    return readSync(descriptor, bytes) === secretBytes ? new Secret(bytes) : undefined;
  } finally {
    closeSync(descriptor);
  }
}

function makeSecret(directory: string, path: string, random: Random): Secret {
  const secret = new Secret(random.bytes(secretBytes));
  const temporary = `${path}.new`;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // A crash leaves the old file or the new one, never half of one.
  rmSync(temporary, { force: true });
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    writeSync(descriptor, secret.reveal());
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(temporary, path);
  return secret;
}
