/**
 * Encrypted IKEv1 messages (RFC 2409 appendix B): everything behind the header goes through a block cipher in CBC mode.
 * There is no IV on the wire: each exchange has a chain of its own, whose next IV is the last block of ciphertext of the
 * message before. Nothing is authenticated but by the HASH payload inside, so that what comes out of `openIsakmp` is
 * garbage as likely as not, and the chain goes on only when the hash was right: these functions keep no state.
 *
 *   header | payloads | padding      Length covers the padding, no payload does
 */
import { WireError } from "../../core/errors.ts";
import { IsakmpPayloadType } from "../../registry/index.ts";
import { Reader, Writer } from "../cursor.ts";
import { IKE_HEADER_BYTES } from "../header.ts";
import { type DecodedIsakmpHeader, encodeIsakmpHeader, type IsakmpHeader } from "./header.ts";
import {
  decodeIsakmpChain,
  encodeIsakmpChain,
  firstIsakmpType,
  type IsakmpPayload,
  type ReceivedPayload,
} from "./message.ts";

/** CBC under the key of an ISAKMP SA, the same for both directions. Texts are whole blocks; results are new memory. */
export interface IsakmpCipher {
  /** Octets of a block and of an IV. */
  readonly block: number;
  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

export interface SealedIsakmp {
  readonly datagram: Uint8Array;
  /** The IV of the next message of the exchange, in memory of its own. */
  readonly nextIv: Uint8Array;
}

export interface OpenedIsakmp {
  readonly payloads: readonly ReceivedPayload[];
  /**
   * When the first payload is HASH: all that follows it, generic headers included, up to the end of the last payload.
   * HASH(1) and HASH(2) cover it. Else nothing.
   */
  readonly afterHash: Uint8Array;
  /** The IV of the next message of the exchange, in memory of its own. */
  readonly nextIv: Uint8Array;
}

/** `HDR*, payloads`. Throws RangeError when a value does not fit: our own bug. */
export function sealIsakmp(
  header: IsakmpHeader,
  payloads: readonly IsakmpPayload[],
  cipher: IsakmpCipher,
  iv: Uint8Array,
): SealedIsakmp {
  const w = new Writer();
  const { lengthAt } = encodeIsakmpHeader(w, header, firstIsakmpType(payloads), true);
  encodeIsakmpChain(w, payloads);
  return seal(w, lengthAt, cipher, iv);
}

/**
 * `HDR*, HASH, payloads`. `hash` gets what `afterHash` is at the other side and returns the hash's data, of
 * `hashBytes` octets.
 */
export function sealIsakmpWithHash(
  header: IsakmpHeader,
  payloads: readonly IsakmpPayload[],
  hashBytes: number,
  hash: (afterHash: Uint8Array) => Uint8Array,
  cipher: IsakmpCipher,
  iv: Uint8Array,
): SealedIsakmp {
  const w = new Writer();
  const { lengthAt } = encodeIsakmpHeader(w, header, IsakmpPayloadType.code.HASH, true);
  encodeIsakmpChain(w, [{ kind: "HASH", data: new Uint8Array(hashBytes) }, ...payloads]);
  const hashAt = IKE_HEADER_BYTES + GENERIC_HEADER_BYTES;
  const message = w.done();
  const data = hash(message.subarray(hashAt + hashBytes));
  if (data.length !== hashBytes) throw new RangeError(`the hash has ${data.length} octets, not ${hashBytes}`);
  message.set(data, hashAt);
  return seal(w, lengthAt, cipher, iv);
}

/**
 * The payloads of an encrypted message. Throws WireError when the ciphertext is not whole blocks, or when what it
 * decrypts to is no chain of payloads: a wrong key, a wrong IV, or damage.
 */
export function openIsakmp(
  datagram: Uint8Array,
  header: DecodedIsakmpHeader,
  cipher: IsakmpCipher,
  iv: Uint8Array,
): OpenedIsakmp {
  const ciphertext = datagram.subarray(IKE_HEADER_BYTES);
  if (ciphertext.length === 0 || ciphertext.length % cipher.block !== 0)
    throw new WireError("encrypted message", `has ${ciphertext.length} octets, not whole blocks`);
  const plaintext = cipher.decrypt(iv, ciphertext);
  const { payloads, ends } = decodeIsakmpChain(
    header.firstPayload,
    new Reader(plaintext, "encrypted message"),
  );
  // RFC 2409 appendix B pads with zeros and no more than a block; some peers end with the padding's length, some pad
  // by more. It is outside of what is authenticated, and ignored.
  const hashed = payloads[0]?.kind === "HASH";
  return {
    payloads,
    afterHash: hashed ? plaintext.subarray(ends[0]!, ends.at(-1)!) : new Uint8Array(0),
    nextIv: lastBlock(ciphertext, cipher),
  };
}

/** Pads with zeros to whole blocks, writes the Length and encrypts. */
function seal(w: Writer, lengthAt: number, cipher: IsakmpCipher, iv: Uint8Array): SealedIsakmp {
  const over = (w.length - IKE_HEADER_BYTES) % cipher.block;
  if (over > 0) w.zeros(cipher.block - over);
  w.patchU32(lengthAt, w.length);
  const datagram = w.done();
  const ciphertext = cipher.encrypt(iv, datagram.subarray(IKE_HEADER_BYTES));
  datagram.set(ciphertext, IKE_HEADER_BYTES);
  return { datagram, nextIv: ciphertext.length > 0 ? lastBlock(ciphertext, cipher) : Uint8Array.from(iv) };
}

/** Not `slice`: of a Buffer it would be a view. */
function lastBlock(ciphertext: Uint8Array, { block }: IsakmpCipher): Uint8Array {
  return Uint8Array.from(ciphertext.subarray(-block));
}

const GENERIC_HEADER_BYTES = 4;
