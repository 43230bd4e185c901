/**
 * IKEv2 messages as values: a header and a chain of payloads. Decoding trusts nothing, takes time linear in the
 * datagram, throws only WireError, and returns views of the datagram, which must therefore outlive the message.
 */
import { WireError } from "../core/errors.ts";
import { PayloadType } from "../registry/index.ts";
import { type Codec, Reader, Writer } from "./cursor.ts";
import {
  type DecodedHeader,
  decodeHeader,
  encodeHeader,
  IKE_HEADER_BYTES,
  type IkeHeader,
} from "./header.ts";
import { type AuthPayload, authPayload } from "./payloads/auth.ts";
import { type CertPayload, type CertreqPayload, certPayload, certreqPayload } from "./payloads/cert.ts";
import { type CpPayload, cpPayload } from "./payloads/cp.ts";
import { type DeletePayload, deletePayload } from "./payloads/delete.ts";
import { type EapPayload, eapPayload } from "./payloads/eap.ts";
import type { SkfPayload, SkPayload } from "./payloads/encrypted.ts";
import { type IdPayload, idiPayload, idrPayload } from "./payloads/id.ts";
import { type KePayload, kePayload } from "./payloads/ke.ts";
import { type NoncePayload, noncePayload } from "./payloads/nonce.ts";
import { type NotifyPayload, notifyPayload } from "./payloads/notify.ts";
import { type SaPayload, saPayload } from "./payloads/sa.ts";
import { type TsPayload, tsiPayload, tsrPayload } from "./payloads/ts.ts";
import type { UnknownPayload } from "./payloads/unknown.ts";
import { type VendorPayload, vendorPayload } from "./payloads/vendor.ts";

/** A payload that can be written in the clear or inside SK. */
export type PlainPayload =
  | SaPayload
  | KePayload
  | NoncePayload
  | IdPayload<"IDi">
  | IdPayload<"IDr">
  | CertPayload
  | CertreqPayload
  | AuthPayload
  | NotifyPayload
  | DeletePayload
  | VendorPayload
  | TsPayload<"TSi">
  | TsPayload<"TSr">
  | CpPayload
  | EapPayload
  | UnknownPayload;

export type Payload = PlainPayload | SkPayload | SkfPayload;
export type PayloadKind = Payload["kind"];
export type PayloadOf<K extends PayloadKind> = Extract<Payload, { kind: K }>;

export interface IkeMessage {
  readonly header: IkeHeader;
  readonly payloads: readonly Payload[];
}

export interface DecodedMessage {
  readonly header: DecodedHeader;
  readonly payloads: readonly Payload[];
}

/** A chain longer than this is refused: no exchange needs it, and each payload costs a few objects. */
export const MAX_PAYLOADS = 256;
const GENERIC_HEADER_BYTES = 4;

/**
 * Decodes one IKEv2 message that fills `datagram` (without non-ESP marker). Throws WireError, also for another major
 * version (`decodeHeader` reads those); `header`: what that made of it, if it is known already. Unknown payloads, critical or not, are kept for the caller to judge.
 */
export function decodeMessage(
  datagram: Uint8Array,
  header: DecodedHeader = decodeHeader(datagram),
): DecodedMessage {
  if (header.majorVersion !== 2)
    throw new WireError("IKE header > Version", `is ${header.majorVersion}.${header.minorVersion}, not 2`);
  const r = new Reader(datagram, "message", IKE_HEADER_BYTES);
  return { header, payloads: decodeChain(header.firstPayload, r, true) };
}

/** Encodes a message in the clear. Throws RangeError when a value does not fit: our own bug. */
export function encodeMessage(message: { header: IkeHeader; payloads: readonly PlainPayload[] }): Uint8Array {
  const w = new Writer();
  const { lengthAt } = encodeHeader(w, message.header, firstTypeOf(message.payloads));
  encodeChain(w, message.payloads);
  w.patchU32(lengthAt, w.length);
  return w.done();
}

/** The payloads inside SK, whose first type the SK header carries. Throws WireError. */
export function decodePayloads(firstType: number, bytes: Uint8Array): PlainPayload[] {
  return decodeChain(firstType, new Reader(bytes, "SK"), false) as PlainPayload[];
}

export function encodePayloads(payloads: readonly PlainPayload[]): { first: number; bytes: Uint8Array } {
  const w = new Writer();
  encodeChain(w, payloads);
  return { first: firstTypeOf(payloads), bytes: w.done() };
}

/** Writes payloads one after the other. Throws RangeError as `encodeMessage`. */
export function encodeChain(w: Writer, payloads: readonly PlainPayload[]): void {
  for (let i = 0; i < payloads.length; i++) {
    const payload = payloads[i]!;
    const start = w.length;
    const next = payloads[i + 1];
    w.u8(next ? payloadType(next) : PayloadType.code.NONE);
    if (payload.kind === "unknown") {
      w.u8(payload.critical ? 0x80 : 0)
        .u16(0)
        .bytes(payload.body);
    } else {
      w.u8(0).u16(0);
      codecs.get(payloadType(payload))!.encode(w, payload);
    }
    w.patchU16(start + 2, w.length - start);
  }
}

/** IANA type of the first payload; NONE when there is none. */
export function firstTypeOf(payloads: readonly PlainPayload[]): number {
  return payloads[0] ? payloadType(payloads[0]) : PayloadType.code.NONE;
}

/** The first payload of a kind; undefined when there is none. */
export function findPayload<K extends PayloadKind>(
  payloads: readonly Payload[],
  kind: K,
): PayloadOf<K> | undefined {
  for (const p of payloads) if (p.kind === kind) return p as PayloadOf<K>;
  return undefined;
}

/** The first Notify of a type; undefined when there is none. */
export function findNotify(payloads: readonly Payload[], type: number): NotifyPayload | undefined {
  for (const p of payloads) if (p.kind === "N" && p.type === type) return p;
  return undefined;
}

/** The first unknown payload with the critical bit: the message must be rejected (RFC 7296 §2.5). */
export function findUnknownCritical(payloads: readonly Payload[]): UnknownPayload | undefined {
  for (const p of payloads) if (p.kind === "unknown" && p.critical) return p;
  return undefined;
}

/** IANA payload type of a payload. */
export function payloadType(payload: Payload): number {
  return payload.kind === "unknown" ? payload.type : PayloadType.code[payload.kind];
}

/* | Next Payload  |C|  RESERVED   |         Payload Length        |    RFC 7296 §3.2 */

function decodeChain(firstType: number, r: Reader, outer: boolean): Payload[] {
  const payloads: Payload[] = [];
  for (let type = firstType; type !== PayloadType.code.NONE; ) {
    if (payloads.length === MAX_PAYLOADS) r.fail("Next Payload", `more than ${MAX_PAYLOADS} payloads`);
    const next = r.u8("Next Payload");
    const critical = (r.u8("Critical") & 0x80) !== 0;
    const length = r.u16("Payload Length");
    if (length < GENERIC_HEADER_BYTES) r.fail("Payload Length", `is ${length}, less than its own header`);
    const body = r.sub(length - GENERIC_HEADER_BYTES, PayloadType.nameOf(type));
    if (type === PayloadType.code.SK || type === PayloadType.code.SKF) {
      if (!outer) r.fail(PayloadType.nameOf(type), "inside an Encrypted payload");
      payloads.push(type === PayloadType.code.SK ? closedSk(body, next) : closedSkf(body, next));
      // RFC 7296 §3.14: it is always the last payload, and its Next Payload names the first one inside.
      break;
    }
    const codec = codecs.get(type);
    if (codec) {
      // RFC 7296 §3.2: the critical bit means nothing on a payload that is understood.
      payloads.push(codec.decode(body));
    } else {
      payloads.push({ kind: "unknown", type, critical, body: body.rest("body") });
    }
    type = next;
  }
  r.end();
  return payloads;
}

function closedSk(r: Reader, firstPayload: number): SkPayload {
  const bodyOffset = r.offset;
  return { kind: "SK", firstPayload, bodyOffset, body: r.rest("Encrypted Data") };
}

function closedSkf(r: Reader, firstPayload: number): SkfPayload {
  const fragmentNumber = r.u16("Fragment Number");
  const totalFragments = r.u16("Total Fragments");
  // RFC 7383 §2.6.1: fragments that break these are discarded.
  if (fragmentNumber === 0 || fragmentNumber > totalFragments)
    r.fail("Fragment Number", `is ${fragmentNumber} of ${totalFragments}`);
  const bodyOffset = r.offset;
  const body = r.rest("Encrypted Data");
  return { kind: "SKF", firstPayload, fragmentNumber, totalFragments, bodyOffset, body };
}

type KnownPayload = Exclude<PlainPayload, UnknownPayload>;

const codecOf: { readonly [K in KnownPayload["kind"]]: Codec<PayloadOf<K>> } = {
  SA: saPayload,
  KE: kePayload,
  IDi: idiPayload,
  IDr: idrPayload,
  CERT: certPayload,
  CERTREQ: certreqPayload,
  AUTH: authPayload,
  Nonce: noncePayload,
  N: notifyPayload,
  D: deletePayload,
  V: vendorPayload,
  TSi: tsiPayload,
  TSr: tsrPayload,
  CP: cpPayload,
  EAP: eapPayload,
};

const codecs: ReadonlyMap<number, Codec<KnownPayload>> = new Map(
  Object.entries(codecOf).map(([kind, codec]) => [
    PayloadType.code[kind as KnownPayload["kind"]],
    codec as unknown as Codec<KnownPayload>,
  ]),
);
