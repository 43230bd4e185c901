import { Secret } from "../core/secret.ts";
import { PRF, type PrfRow, prfById } from "../registry/index.ts";
import { hmac } from "./hmac.ts";

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
  const out = new Uint8Array(length);
  let previous: Uint8Array = new Uint8Array(0);
  for (let at = 0, counter = 1; at < length; counter++) {
    const block = hmac(row.hash, key, previous, ...seed, Uint8Array.of(counter));
    out.set(block.subarray(0, length - at), at);
    previous.fill(0);
    previous = block;
    at += block.length;
  }
  previous.fill(0);
  return new Secret(out);
}

/** Cuts key material into consecutive secrets of the given lengths, each in memory of its own, and wipes it. */
export function cut(keymat: Secret, lengths: readonly number[]): Secret[] {
  const bytes = keymat.reveal();
  let at = 0;
  const keys = lengths.map((length) => {
    const key = new Secret(bytes.slice(at, at + length));
    at += length;
    return key;
  });
  keymat.wipe();
  return keys;
}
