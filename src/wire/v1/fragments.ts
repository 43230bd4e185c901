/**
 * Messages in fragments, as [MS-IKEE] §3.3.6.1 has them: a whole message, encrypted or not, is cut into pieces, and each
 * travels as the payload of a message of its own, whose header is the whole one's but for the length and the flags.
 * Nothing in them is authenticated. What is put together again is a datagram, to be read as if it had come in one.
 *
 *   header | Fragment generic header | Fragment_ID | Fragment_Number | Flags | Fragment_Data
 */
import { IKE_HEADER_BYTES } from "../header.ts";
import type { IsakmpHeader } from "./header.ts";
import { encodeIsakmp } from "./message.ts";

/** More fragments than this are neither sent nor collected: in IP datagrams of 576 octets they carry 32 KB. */
export const MAX_ISAKMP_FRAGMENTS = 64;

const OVERHEAD = IKE_HEADER_BYTES + 8;

/**
 * `datagram` as it is when it has at most `maxBytes`, else in fragments that have. A `maxBytes` so small that more than
 * MAX_ISAKMP_FRAGMENTS were needed is exceeded instead. `id`: 0 to 65535, another one for each message.
 */
export function fragmentIsakmp(
  datagram: Uint8Array,
  header: IsakmpHeader,
  id: number,
  maxBytes: number,
): Uint8Array[] {
  if (datagram.length <= maxBytes) return [datagram];
  const pieceBytes = Math.max(maxBytes - OVERHEAD, Math.ceil(datagram.length / MAX_ISAKMP_FRAGMENTS), 1);
  const total = Math.ceil(datagram.length / pieceBytes);
  return Array.from({ length: total }, (_, i) =>
    encodeIsakmp(header, [
      {
        kind: "FRAGMENT",
        id,
        number: i + 1,
        last: i === total - 1,
        data: datagram.subarray(i * pieceBytes, (i + 1) * pieceBytes),
      },
    ]),
  );
}
