/**
 * Messages in fragments (RFC 7383 §2.5): the content of the Encrypted payload is cut into chunks, and each chunk
 * travels and is protected as an Encrypted Fragment payload of its own. What is put together again is a list of
 * chunks; `decodePayloads` reads their concatenation.
 *
 *   header | SKF generic header | Fragment Number | Total Fragments | IV | chunk | padding | Pad Length | ICV
 */
import { PayloadType } from "../registry/index.ts";
import { Writer } from "./cursor.ts";
import { encodeHeader, IKE_HEADER_BYTES, type IkeHeader } from "./header.ts";
import { firstTypeOf, type PlainPayload } from "./message.ts";
import type { SkfPayload } from "./payloads/encrypted.ts";
import { draft, openBody, type SkLayout, type SkOpener, type SkSealer, seal } from "./sk.ts";

/**
 * More fragments than this are neither sent nor collected. In IP datagrams of 576 octets, the smallest that RFC 7383
 * §2.5.1 recommends, they carry 32 KB: several times the largest message of any exchange.
 */
export const MAX_FRAGMENTS = 64;

const SK_HEADER_BYTES = 4;
const SKF_HEADER_BYTES = 8;

/**
 * Encodes and protects a message, in fragments when it would be larger than `maxBytes` in one. A `maxBytes` so small
 * that more than MAX_FRAGMENTS were needed is exceeded instead.
 */
export function sealFragmented(
  header: IkeHeader,
  payloads: readonly PlainPayload[],
  sealer: SkSealer,
  maxBytes: number,
): Uint8Array[] {
  const whole = draft(header, payloads, sealer);
  const bytes = whole.w.done().subarray(whole.bodyOffset + sealer.ivBytes);
  if (bytes.length <= capacity(maxBytes, SK_HEADER_BYTES, sealer)) return [seal(whole, sealer)];
  const first = firstTypeOf(payloads);
  const wanted = capacity(maxBytes, SKF_HEADER_BYTES, sealer);
  const chunkBytes = Math.max(wanted, Math.ceil(bytes.length / MAX_FRAGMENTS), 1);
  const total = Math.max(1, Math.ceil(bytes.length / chunkBytes));
  return Array.from({ length: total }, (_, i) => {
    const chunk = bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes);
    // RFC 7383 §2.5: only the first fragment names the first payload inside.
    return sealFragment(header, i === 0 ? first : PayloadType.code.NONE, i + 1, total, chunk, sealer);
  });
}

/** Octets of content with which a message in one piece has at most `maxBytes`; negative when none has. */
export function contentCapacity(maxBytes: number, layout: SkLayout): number {
  return capacity(maxBytes, SK_HEADER_BYTES, layout);
}

/** One fragment: `HDR, SKF(Frag# = number, TotalFrags = total) {chunk}`. */
export function sealFragment(
  header: IkeHeader,
  firstPayload: number,
  number: number,
  total: number,
  chunk: Uint8Array,
  sealer: SkSealer,
): Uint8Array {
  const w = new Writer();
  const { lengthAt } = encodeHeader(w, header, PayloadType.code.SKF);
  const payloadAt = w.length;
  w.u8(firstPayload).u8(0).u16(0).u16(number).u16(total);
  const bodyOffset = w.length;
  w.zeros(sealer.ivBytes).bytes(chunk);
  return seal({ w, lengthAt, payloadAt, bodyOffset }, sealer);
}

/**
 * The chunk in a fragment of `datagram`, in memory of its own; undefined when it is not authentic. Throws WireError
 * when it is authentic and yet malformed.
 */
export function openFragment(
  datagram: Uint8Array,
  fragment: SkfPayload,
  opener: SkOpener,
): Uint8Array | undefined {
  return openBody(datagram, fragment, opener);
}

/** Octets of content that fit in a message of `maxBytes`; negative when not even an empty one does. */
function capacity(
  maxBytes: number,
  payloadHeaderBytes: number,
  { ivBytes, icvBytes, block }: SkLayout,
): number {
  const padded = maxBytes - IKE_HEADER_BYTES - payloadHeaderBytes - ivBytes - icvBytes;
  return Math.floor(padded / block) * block - 1;
}
