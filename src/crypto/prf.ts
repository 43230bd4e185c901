import { Secret, secretMemory } from "../core/secret.ts";
import { PRF, type PrfRow, prfById } from "../registry/index.ts";
import { acceleratedPrfPlus } from "./accelerator.ts";
import { hmac, hmacInto } from "./hmac.ts";

/** The row of a PRF that this build can run. RangeError otherwise: negotiation must not have chosen it. */
export function prfRow(prf: number): PrfRow {
  const row = prfById.get(prf);
  if (!row?.implemented.ike) throw new RangeError(`${PRF.nameOf(prf)} is not implemented`);
  return row;
}

/** prf(key, parts...): the negotiated pseudorandom function (RFC 7296 §2.13). */
export function prf(id: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  return hmac(prfRow(id).hash, key, ...parts);
}

/** The same where the result is a key. */
export function secretPrf(id: number, key: Uint8Array, ...parts: readonly Uint8Array[]): Secret {
  const row = prfRow(id);
  const out = secretMemory(row.keyBytes);
  hmacInto(out, row.hash, key, parts);
  return new Secret(out);
}

/**
 * prf+ (RFC 7296 §2.13):
 *
 *   prf+ (K,S) = T1 | T2 | T3 | T4 | ...
 *   T1 = prf (K, S | 0x01)
 *   T2 = prf (K, T1 | S | 0x02)
 *
 * `length`: octets wanted, at most 255 times the PRF's output. RangeError beyond: the counter is one octet.
 */
export function prfPlus(id: number, key: Uint8Array, seed: readonly Uint8Array[], length: number): Secret {
  const row = prfRow(id);
  if (length > 255 * row.keyBytes) throw new RangeError(`prf+ cannot give ${length} octets`);
  const out = secretMemory(length);
  if (!acceleratedPrfPlus(row.hash, out, key, seed)) prfPlusByBlocks(row, out, key, seed);
  return new Secret(out);
}

function prfPlusByBlocks(row: PrfRow, out: Uint8Array, key: Uint8Array, seed: readonly Uint8Array[]): void {
  let previous: Uint8Array = new Uint8Array(0);
  const block = secretMemory(row.keyBytes);
  for (let at = 0, counter = 1; at < out.length; counter++) {
    hmacInto(block, row.hash, key, [previous, ...seed, Uint8Array.of(counter)]);
    out.set(block.subarray(0, out.length - at), at);
    previous = block;
    at += block.length;
  }
  block.fill(0);
}

/** Key material as consecutive secrets of the given lengths. They are its memory, and wiped each for itself. */
export function cut(keymat: Secret, lengths: readonly number[]): Secret[] {
  const bytes = keymat.reveal();
  let at = 0;
  return lengths.map((length) => {
    const from = at;
    at += length;
    return new Secret(bytes.subarray(from, at));
  });
}
