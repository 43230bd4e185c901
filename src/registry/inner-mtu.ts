import { encrById, integById } from "./algorithms.ts";

/**
 * The largest inner packet, in bytes, whose outer packet has at most `pathMtu` bytes. `outerBytes`: its IP header and,
 * with UDP encapsulation, its UDP header. `encryption`, `integrity`: IANA numbers; no integrity for AEAD.
 *
 *   outer headers + SPI and sequence (8) + IV + [inner + padding + pad length + next header] + ICV
 *   ⇒ inner = floor_to_multiple(pathMtu − outer headers − 8 − IV − ICV, max(block, 4)) − 2     (RFC 4303 §2.4)
 *
 * Throws RangeError for a number without an algorithm row.
 */
export function innerMtu(
  pathMtu: number,
  outerBytes: number,
  encryption: number,
  integrity: number | undefined,
): number {
  const cipher = encrById.get(encryption);
  if (!cipher) throw new RangeError(`no algorithm row for encryption transform ${encryption}`);
  const icvBytes =
    cipher.icvBytes + (integrity === undefined ? 0 : (integById.get(integrity)?.icvBytes ?? 0));
  const room = pathMtu - outerBytes - espHeaderBytes - cipher.ivBytes - icvBytes;
  // RFC 4303 §2.4: the pad length and next header fields end on a 4-byte boundary even without a block cipher.
  const unit = Math.max(cipher.block, 4);
  return Math.max(0, Math.floor(room / unit) * unit - trailerBytes);
}

const espHeaderBytes = 8;
const trailerBytes = 2;
