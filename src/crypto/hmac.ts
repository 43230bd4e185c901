/** HMAC and hashes, by the accelerator where there is one, else by node:crypto. */
import { createHash, createHmac } from "node:crypto";
import type { HashName } from "../registry/index.ts";
import { acceleratedDigest, acceleratedHmac } from "./accelerator.ts";

/** HMAC (RFC 2104) over the parts, one after the other. */
export function hmac(hash: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(digestBytes[hash]);
  hmacInto(out, hash, key, parts);
  return out;
}

/** The same into memory of the caller's, of a digest's length: for what is secret. */
export function hmacInto(
  out: Uint8Array,
  hash: HashName,
  key: Uint8Array,
  parts: readonly Uint8Array[],
): void {
  if (acceleratedHmac(hash, out, key, parts)) return;
  const mac = createHmac(hash, key);
  for (const part of parts) mac.update(part);
  const result = mac.digest();
  out.set(result);
  result.fill(0);
}

export function digest(hash: HashName, ...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(digestBytes[hash]);
  if (acceleratedDigest(hash, out, parts)) return out;
  const h = createHash(hash);
  for (const part of parts) h.update(part);
  return h.digest();
}

const digestBytes: Readonly<Record<HashName, number>> = {
  md5: 16,
  sha1: 20,
  sha256: 32,
  sha384: 48,
  sha512: 64,
};
