/**
 * Hashes, HMAC, prf+ and the ciphers of the Encrypted payload by another's code than node:crypto's, whose objects cost
 * several times what they compute on messages as short as IKE's (bench/RESULTS.md). Who composes the process hands it
 * in, once, before the first message; without it, and for what exceeds its memory, node:crypto does the work, and
 * results are the same.
 *
 * Invariant: nothing secret stays in the shared block when a function here returns.
 */
import type { Secret } from "../core/secret.ts";
import { EncryptionAlgorithm, type HashName, IntegrityAlgorithm } from "../registry/index.ts";

/**
 * What goes in and comes out lies in `block`, from its start, one part behind the other; the arguments count octets.
 * `hash` is 1 to 5 for MD5, SHA-1, SHA-256, SHA-384 and SHA-512. What does not fit is a TypeError.
 */
export interface Accelerator {
  readonly block: Uint8Array;
  /** text → digest, at the start. */
  digest(hash: number, textBytes: number): void;
  /** key, text → HMAC, behind them; they are wiped. */
  hmac(hash: number, keyBytes: number, textBytes: number): void;
  /** key, seed → `bytes` of prf+, behind them; they are wiped. At most 255 digests. */
  prfPlus(hash: number, keyBytes: number, seedBytes: number, bytes: number): void;
  /**
   * message with its IV, key and salt, integrity key → message, protected; the keys are wiped. False when the layout
   * is impossible.
   */
  seal(encr: number, keyBits: number, integ: number, bodyOffset: number, messageBytes: number): boolean;
  /** The same, opened. False also when the ICV is wrong. */
  open(encr: number, keyBits: number, integ: number, bodyOffset: number, messageBytes: number): boolean;
}

/** For the whole process; undefined: node:crypto alone. */
export function accelerate(accelerator: Accelerator | undefined): void {
  current = accelerator;
}

/** Whether it was done; `out` has the length of a digest. */
export function acceleratedDigest(hash: HashName, out: Uint8Array, parts: readonly Uint8Array[]): boolean {
  const block = room(0, parts, out.length);
  if (!block) return false;
  current!.digest(hashNumbers[hash], put(block, 0, parts));
  copy(block, 0, out);
  return true;
}

/** As above. */
export function acceleratedHmac(
  hash: HashName,
  out: Uint8Array,
  key: Uint8Array,
  parts: readonly Uint8Array[],
): boolean {
  const block = room(key.length, parts, out.length);
  if (!block) return false;
  block.set(key);
  const end = put(block, key.length, parts);
  current!.hmac(hashNumbers[hash], key.length, end - key.length);
  move(block, end, out);
  return true;
}

/** Whether `out` was filled. */
export function acceleratedPrfPlus(
  hash: HashName,
  out: Uint8Array,
  key: Uint8Array,
  seed: readonly Uint8Array[],
): boolean {
  const block = room(key.length, seed, out.length);
  if (!block) return false;
  block.set(key);
  const end = put(block, key.length, seed);
  current!.prfPlus(hashNumbers[hash], key.length, end - key.length, out.length);
  move(block, end, out);
  return true;
}

/** One direction's SK_e and SK_a, as negotiated. */
export interface SkKeys {
  readonly encr: number;
  readonly keyBits: number;
  /** 0 with an AEAD. */
  readonly integ: number;
  /** With the salt behind the key where the cipher has one. */
  readonly encrKey: Secret;
  readonly integKey: Secret;
}

/** Protects `message` in place, whose IV is there; whether it was done. */
export function acceleratedSeal(keys: SkKeys, message: Uint8Array, bodyOffset: number): boolean {
  const block = roomForMessage(keys, message);
  if (!block) return false;
  const { encr, keyBits, integ } = keys;
  if (!current!.seal(encr, keyBits, integ, bodyOffset, message.length))
    throw new RangeError(
      `a message of ${message.length} octets has no room for ${EncryptionAlgorithm.nameOf(encr)} with ${IntegrityAlgorithm.nameOf(integ)} at ${bodyOffset}`,
    );
  copy(block, 0, message);
  return true;
}

/** What is at `from` to `to` of the opened message; false when it is not authentic, undefined when it was not done. */
export function acceleratedOpen(
  keys: SkKeys,
  message: Uint8Array,
  bodyOffset: number,
  from: number,
  to: number,
): Uint8Array | false | undefined {
  const block = roomForMessage(keys, message);
  if (!block) return undefined;
  if (!current!.open(keys.encr, keys.keyBits, keys.integ, bodyOffset, message.length)) return false;
  const plaintext = block.slice(from, to);
  block.fill(0, from, to);
  return plaintext;
}

let current: Accelerator | undefined;

/** The shared block, when it holds so much. */
function room(keyBytes: number, parts: readonly Uint8Array[], resultBytes: number): Uint8Array | undefined {
  if (!current) return undefined;
  let bytes = keyBytes + resultBytes;
  for (const part of parts) bytes += part.length;
  return bytes <= current.block.length ? current.block : undefined;
}

function roomForMessage({ encrKey, integKey }: SkKeys, message: Uint8Array): Uint8Array | undefined {
  const integAt = message.length + encrKey.length;
  if (!current || integAt + integKey.length > current.block.length) return undefined;
  // The other side takes as many octets of the block as the suite says.
  if (encrKey.length === 0) throw new RangeError("the key was wiped");
  const { block } = current;
  block.set(message);
  block.set(encrKey.reveal(), message.length);
  block.set(integKey.reveal(), integAt);
  return block;
}

/** Writes the parts one after the other; where they end. */
function put(block: Uint8Array, at: number, parts: readonly Uint8Array[]): number {
  for (const part of parts) {
    block.set(part, at);
    at += part.length;
  }
  return at;
}

function copy(block: Uint8Array, at: number, out: Uint8Array): void {
  out.set(block.subarray(at, at + out.length));
}

function move(block: Uint8Array, at: number, out: Uint8Array): void {
  copy(block, at, out);
  block.fill(0, at, at + out.length);
}

/** native/crypto/algorithms.h, `Hash`. */
const hashNumbers: Readonly<Record<HashName, number>> = { md5: 1, sha1: 2, sha256: 3, sha384: 4, sha512: 5 };
