/** Pre-shared keys: where they may stand, what they may be, and how one is made. No message shows more than a length. */
import { type Random, randomBelow } from "../core/random.ts";
import { Secret } from "../core/secret.ts";

/** What the daemon found at a secret's path. `bytes` become ours: they are wiped after use. `mode`: permission bits. */
export type SecretFile =
  | { readonly ok: true; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly ok: false; readonly problem: string };

export type PskResult =
  | { readonly ok: true; readonly psk: Secret }
  | { readonly ok: false; readonly found: string; readonly rule: string };

export const pskRule = "1 to 100 printable characters";
/** RFC 8784 §4: at least 256 bits of entropy. Shorter ones are no protection against what it is made for. */
export const ppkRule = "32 to 256 printable characters";

/** Which kind of key: the lengths that it may have, and their words. */
export interface KeyKind {
  readonly lengths: readonly [min: number, max: number];
  readonly rule: string;
}
export const pskKind: KeyKind = { lengths: [1, 100], rule: pskRule };
export const ppkKind: KeyKind = { lengths: [32, 256], rule: ppkRule };

/** The key in a file of its own: one line, its end of line does not count. */
export function pskFromFile(path: string, file: SecretFile, kind = pskKind): PskResult {
  if (!file.ok) return { ok: false, found: path, rule: `a readable file (${file.problem})` };
  const { bytes, mode } = file;
  try {
    if (mode !== undefined && openToOthers(mode))
      return { ok: false, found: path, rule: `a file that only its owner may read: ${remedy(mode)}` };
    return pskFromBytes(withoutEndOfLine(bytes), kind);
  } finally {
    bytes.fill(0);
  }
}

/** The key in the configuration itself; `fileMode` is that file's, undefined when nobody knows. */
export function pskFromValue(value: string, fileMode: number | undefined, kind = pskKind): PskResult {
  if (fileMode === undefined || openToOthers(fileMode)) {
    const why = fileMode === undefined ? "its mode is unknown" : remedy(fileMode);
    const rule = `{file: …}, or a configuration file that only its owner may read: ${why}`;
    return { ok: false, found: `[secret], ${[...value].length} characters`, rule };
  }
  return pskFromBytes(new TextEncoder().encode(value), kind);
}

/** 40 characters of 62: 238 bits. */
export function generatePsk(random: Random): Secret {
  const bytes = new Uint8Array(40).map(() => alphabet.charCodeAt(randomBelow(random, alphabet.length)));
  return new Secret(bytes);
}

function pskFromBytes(bytes: Uint8Array, { lengths: [min, max], rule: allowed }: KeyKind): PskResult {
  const printable = bytes.every((b) => b >= 0x20 && b <= 0x7e);
  if (bytes.length < min || bytes.length > max)
    return { ok: false, found: `[secret], ${bytes.length} characters`, rule: allowed };
  if (!printable) {
    const rule = `${allowed} (ASCII, on one line)`;
    return { ok: false, found: `[secret], ${bytes.length} bytes, some of them not printable`, rule };
  }
  return { ok: true, psk: new Secret(Uint8Array.from(bytes)) };
}

function withoutEndOfLine(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  if (end > 0 && bytes[end - 1] === 0x0a) end--;
  if (end > 0 && end < bytes.length && bytes[end - 1] === 0x0d) end--;
  return bytes.subarray(0, end);
}

const openToOthers = (mode: number): boolean => (mode & 0o077) !== 0;
const remedy = (mode: number): string =>
  `chmod 600 (its mode is ${(mode & 0o7777).toString(8).padStart(4, "0")})`;
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
