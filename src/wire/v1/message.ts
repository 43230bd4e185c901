/**
 * IKEv1 messages as values: a header and a chain of payloads. Decoding trusts nothing, takes time linear in the
 * datagram, throws only WireError, and returns views of the datagram, which must therefore outlive the message.
 * Messages that are encrypted are `encrypted.ts`'s.
 */
import { WireError } from "../../core/errors.ts";
import { IsakmpPayloadType } from "../../registry/index.ts";
import { type Codec, Reader, Writer } from "../cursor.ts";
import { IKE_HEADER_BYTES } from "../header.ts";
import {
  type DecodedIsakmpHeader,
  decodeIsakmpHeader,
  encodeIsakmpHeader,
  type IsakmpHeader,
} from "./header.ts";
import { type IsakmpDeletePayload, isakmpDeletePayload } from "./payloads/delete.ts";
import { type IsakmpFragmentPayload, isakmpFragmentPayload } from "./payloads/fragment.ts";
import { type IsakmpIdPayload, isakmpIdPayload } from "./payloads/id.ts";
import { type NatDPayload, type NatOaPayload, natDPayload, natOaPayload } from "./payloads/nat.ts";
import { type IsakmpNotifyPayload, isakmpNotifyPayload } from "./payloads/notify.ts";
import {
  type IsakmpCertificateRequestPayload,
  type IsakmpCertPayload,
  type IsakmpHashPayload,
  type IsakmpKePayload,
  type IsakmpNoncePayload,
  type IsakmpSignaturePayload,
  type IsakmpVendorPayload,
  isakmpCertificateRequestPayload,
  isakmpCertPayload,
  isakmpHashPayload,
  isakmpKePayload,
  isakmpNoncePayload,
  isakmpSignaturePayload,
  isakmpVendorPayload,
} from "./payloads/opaque.ts";
import { type IsakmpSaPayload, isakmpSaPayload } from "./payloads/sa.ts";

/** A payload of a type that this program does not know. */
export interface IsakmpUnknownPayload {
  readonly kind: "unknown";
  readonly type: number;
  readonly data: Uint8Array;
}

export type IsakmpPayload =
  | IsakmpSaPayload
  | IsakmpKePayload
  | IsakmpIdPayload
  | IsakmpCertPayload
  | IsakmpCertificateRequestPayload
  | IsakmpHashPayload
  | IsakmpSignaturePayload
  | IsakmpNoncePayload
  | IsakmpNotifyPayload
  | IsakmpDeletePayload
  | IsakmpVendorPayload
  | NatDPayload
  | NatOaPayload
  | IsakmpFragmentPayload
  | IsakmpUnknownPayload;

export type IsakmpPayloadKind = IsakmpPayload["kind"];

/** What was received. `body` is the payload without its generic header, as hashes cover it: `SAi_b`, `IDii_b`. */
export type Received<P> = P & { readonly body: Uint8Array };
export type ReceivedPayload = { [K in IsakmpPayloadKind]: Received<IsakmpPayloadOf<K>> }[IsakmpPayloadKind];
export type IsakmpPayloadOf<K extends IsakmpPayloadKind> = Extract<IsakmpPayload, { kind: K }>;

export interface IsakmpMessage {
  readonly header: DecodedIsakmpHeader;
  readonly payloads: readonly ReceivedPayload[];
}

/** A chain longer than this is refused: the longest that peers send, first messages, have some thirty vendor IDs. */
export const MAX_ISAKMP_PAYLOADS = 128;
const GENERIC_HEADER_BYTES = 4;

/**
 * Decodes one message in the clear that fills `datagram` (without non-ESP marker). Throws WireError, also for another
 * major version and for an encrypted message: look at the header first. Unknown payloads are kept for the caller to
 * judge. A fragment counts as a message in the clear whatever its flags say.
 */
export function decodeIsakmp(
  datagram: Uint8Array,
  header: DecodedIsakmpHeader = decodeIsakmpHeader(datagram),
): IsakmpMessage {
  if (header.encrypted && !isIsakmpFragment(header))
    throw new WireError("ISAKMP header > Flags", "says that the message is encrypted");
  const r = new Reader(datagram, "message", IKE_HEADER_BYTES);
  const { payloads } = decodeIsakmpChain(header.firstPayload, r);
  r.end();
  return { header, payloads };
}

/** Whether the message is a piece of one ([MS-IKEE]). */
export function isIsakmpFragment(header: DecodedIsakmpHeader): boolean {
  return header.firstPayload === IsakmpPayloadType.code.FRAGMENT;
}

/** Encodes a message in the clear. Throws RangeError when a value does not fit: our own bug. */
export function encodeIsakmp(header: IsakmpHeader, payloads: readonly IsakmpPayload[]): Uint8Array {
  const w = new Writer();
  const { lengthAt } = encodeIsakmpHeader(w, header, firstIsakmpType(payloads), false);
  encodeIsakmpChain(w, payloads);
  w.patchU32(lengthAt, w.length);
  return w.done();
}

/** A payload without its generic header, as hashes cover what we send: `SAi_b`, `IDii_b`. */
export function isakmpBody(payload: IsakmpPayload): Uint8Array {
  const w = new Writer();
  encodeBody(w, payload);
  return w.done();
}

/** The first payload of a kind; undefined when there is none. */
export function findIsakmpPayload<P extends IsakmpPayload, K extends P["kind"]>(
  payloads: readonly P[],
  kind: K,
): Extract<P, { kind: K }> | undefined {
  for (const p of payloads) if (p.kind === kind) return p as Extract<P, { kind: K }>;
  return undefined;
}

/** All payloads of a kind, in their order. */
export function isakmpPayloadsOf<P extends IsakmpPayload, K extends P["kind"]>(
  payloads: readonly P[],
  kind: K,
): Extract<P, { kind: K }>[] {
  return payloads.filter((p): p is Extract<P, { kind: K }> => p.kind === kind);
}

/** The first Notification of a type; undefined when there is none. */
export function findIsakmpNotify<P extends IsakmpPayload>(
  payloads: readonly P[],
  type: number,
): Extract<P, { kind: "N" }> | undefined {
  return isakmpPayloadsOf(payloads, "N" as P["kind"] & "N").find((n) => n.type === type);
}

/** The payload type on the wire. */
export function isakmpPayloadType(payload: IsakmpPayload): number {
  if (payload.kind === "unknown") return payload.type;
  const { kind } = payload;
  const name = (kind === "NAT-D" || kind === "NAT-OA") && payload.draft ? (`${kind} (draft)` as const) : kind;
  return IsakmpPayloadType.code[name];
}

/* ! Next Payload  !   RESERVED    !         Payload Length        !    RFC 2408 §3.2 */

/** `ends`: for each payload, the offset in the reader's bytes at which it ends. What follows the last one is not read. */
export function decodeIsakmpChain(
  firstType: number,
  r: Reader,
): { payloads: ReceivedPayload[]; ends: number[] } {
  const payloads: ReceivedPayload[] = [];
  const ends: number[] = [];
  for (let type = firstType; type !== IsakmpPayloadType.code.NONE; ) {
    if (payloads.length === MAX_ISAKMP_PAYLOADS)
      r.fail("Next Payload", `more than ${MAX_ISAKMP_PAYLOADS} payloads`);
    const next = r.u8("Next Payload");
    r.u8("RESERVED");
    const length = r.u16("Payload Length");
    if (length < GENERIC_HEADER_BYTES) r.fail("Payload Length", `is ${length}, less than its own header`);
    payloads.push(decodePayload(type, length - GENERIC_HEADER_BYTES, r));
    ends.push(r.offset);
    type = next;
  }
  return { payloads, ends };
}

function decodePayload(type: number, bodyBytes: number, outer: Reader): ReceivedPayload {
  const at = outer.offset;
  const r = outer.sub(bodyBytes, IsakmpPayloadType.nameOf(type));
  const body = new Uint8Array(r.bytes.buffer, r.bytes.byteOffset + at, bodyBytes);
  const codec = codecs.get(type);
  if (!codec) return { kind: "unknown", type, data: body, body };
  return { ...codec.decode(r), body } as ReceivedPayload;
}

/** Writes payloads one after the other. Throws RangeError as `encodeIsakmp`. */
export function encodeIsakmpChain(w: Writer, payloads: readonly IsakmpPayload[]): void {
  for (let i = 0; i < payloads.length; i++) {
    const payload = payloads[i]!;
    const start = w.length;
    const next = payloads[i + 1];
    w.u8(next ? isakmpPayloadType(next) : IsakmpPayloadType.code.NONE)
      .u8(0)
      .u16(0);
    encodeBody(w, payload);
    w.patchU16(start + 2, w.length - start);
  }
}

/** The first payload's type; NONE when there is none. */
export function firstIsakmpType(payloads: readonly IsakmpPayload[]): number {
  return payloads[0] ? isakmpPayloadType(payloads[0]) : IsakmpPayloadType.code.NONE;
}

function encodeBody(w: Writer, payload: IsakmpPayload): void {
  if (payload.kind === "unknown") w.bytes(payload.data);
  else codecs.get(isakmpPayloadType(payload))!.encode(w, payload);
}

type KnownPayload = Exclude<IsakmpPayload, IsakmpUnknownPayload>;

const TYPE = IsakmpPayloadType.code;

const codecs: ReadonlyMap<number, Codec<KnownPayload>> = new Map(
  (
    [
      [TYPE.SA, isakmpSaPayload],
      [TYPE.KE, isakmpKePayload],
      [TYPE.ID, isakmpIdPayload],
      [TYPE.CERT, isakmpCertPayload],
      [TYPE.CR, isakmpCertificateRequestPayload],
      [TYPE.HASH, isakmpHashPayload],
      [TYPE.SIG, isakmpSignaturePayload],
      [TYPE.NONCE, isakmpNoncePayload],
      [TYPE.N, isakmpNotifyPayload],
      [TYPE.D, isakmpDeletePayload],
      [TYPE.VID, isakmpVendorPayload],
      [TYPE["NAT-D"], natDPayload(false)],
      [TYPE["NAT-D (draft)"], natDPayload(true)],
      [TYPE["NAT-OA"], natOaPayload(false)],
      [TYPE["NAT-OA (draft)"], natOaPayload(true)],
      [TYPE.FRAGMENT, isakmpFragmentPayload],
    ] as const
  ).map(([type, codec]) => [type, codec as unknown as Codec<KnownPayload>]),
);
