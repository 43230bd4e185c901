/**
 * Messages inside an Encrypted payload (RFC 7296 §3.14, RFC 5282). This file knows the layout; the ciphers come in
 * as SkSealer and SkOpener, which src/crypto implements.
 *
 *   header | SK generic header | IV | payloads | padding | Pad Length | ICV
 */
import { WireError } from "../core/errors.ts";
import { PayloadType } from "../registry/index.ts";
import { Writer } from "./cursor.ts";
import { encodeHeader, type IkeHeader } from "./header.ts";
import {
  type DecodedMessage,
  decodePayloads,
  encodeChain,
  findPayload,
  firstTypeOf,
  type PlainPayload,
} from "./message.ts";
import type { SkfPayload, SkPayload } from "./payloads/encrypted.ts";

export interface SkLayout {
  readonly ivBytes: number;
  readonly icvBytes: number;
  /** The plaintext with its padding is a multiple of this. */
  readonly block: number;
}

export interface SkSealer extends SkLayout {
  /**
   * Protects `message` in place. Before `bodyOffset` lies what is only authenticated; after it room for the IV, the
   * padded plaintext, room for the ICV. Fills in the IV and the ICV and replaces the plaintext.
   */
  seal(message: Uint8Array, bodyOffset: number): void;
}

export interface SkOpener extends SkLayout {
  /** The padded plaintext in memory of its own, or undefined when the ICV is wrong. Leaves `message` alone. */
  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined;
}

/** Encodes and protects a message: `HDR, SK {payloads}`. */
export function sealMessage(
  header: IkeHeader,
  payloads: readonly PlainPayload[],
  sealer: SkSealer,
): Uint8Array {
  return seal(draft(header, payloads, sealer), sealer);
}

/** A message in the clear: everything before the padding of its Encrypted payload, which is the last one. */
export interface Draft {
  readonly w: Writer;
  readonly lengthAt: number;
  /** Where the Encrypted payload begins. */
  readonly payloadAt: number;
  /** Where its IV goes, as zeros for now. */
  readonly bodyOffset: number;
}

/** `HDR, SK {payloads}`, to be sealed. */
export function draft(header: IkeHeader, payloads: readonly PlainPayload[], sealer: SkLayout): Draft {
  const w = new Writer();
  const { lengthAt } = encodeHeader(w, header, PayloadType.code.SK);
  const payloadAt = w.length;
  w.u8(firstTypeOf(payloads)).u8(0).u16(0);
  const bodyOffset = w.length;
  w.zeros(sealer.ivBytes);
  encodeChain(w, payloads);
  return { w, lengthAt, payloadAt, bodyOffset };
}

/** Pads and protects a draft, in its own memory. */
export function seal({ w, lengthAt, payloadAt, bodyOffset }: Draft, sealer: SkSealer): Uint8Array {
  const contentBytes = w.length - bodyOffset - sealer.ivBytes;
  const padLength = sealer.block - 1 - (contentBytes % sealer.block);
  w.zeros(padLength).u8(padLength).zeros(sealer.icvBytes);
  w.patchU16(payloadAt + 2, w.length - payloadAt);
  w.patchU32(lengthAt, w.length);
  const message = w.done();
  sealer.seal(message, bodyOffset);
  return message;
}

/**
 * Opens the SK payload of `message`, which was decoded from `datagram`. Returns the payloads inside, or undefined
 * when there is no SK payload or it is not authentic (drop silently). Throws WireError when it is authentic and yet
 * malformed (RFC 7296 §2.21.2: answer INVALID_SYNTAX). Payloads beside SK are not protected: never act on them.
 */
export function openSk(
  datagram: Uint8Array,
  message: DecodedMessage,
  opener: SkOpener,
): PlainPayload[] | undefined {
  const sk = findPayload(message.payloads, "SK");
  const content = sk && openBody(datagram, sk, opener);
  return content && decodePayloads(sk.firstPayload, content);
}

/** The content of SK or SKF without its padding; undefined when it is not authentic. Throws WireError as `openSk`. */
export function openBody(
  datagram: Uint8Array,
  payload: SkPayload | SkfPayload,
  opener: SkOpener,
): Uint8Array | undefined {
  const ciphertextBytes = payload.body.length - opener.ivBytes - opener.icvBytes;
  if (ciphertextBytes <= 0 || ciphertextBytes % opener.block !== 0) return undefined;
  const plaintext = opener.open(datagram, payload.bodyOffset);
  if (!plaintext) return undefined;
  const padLength = plaintext[plaintext.length - 1]!;
  const contentBytes = plaintext.length - 1 - padLength;
  if (contentBytes < 0) {
    const problem = `is ${padLength} in ${plaintext.length} octets of plaintext`;
    throw new WireError(`${payload.kind} > Pad Length`, problem);
  }
  return new Uint8Array(plaintext.buffer, plaintext.byteOffset, contentBytes);
}
