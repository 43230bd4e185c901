export { type Codec, Reader, Writer } from "./cursor.ts";
export * from "./fragments.ts";
export * from "./header.ts";
export {
  type DecodedMessage,
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads,
  findNotify,
  findPayload,
  findUnknownCritical,
  type IkeMessage,
  MAX_PAYLOADS,
  type Payload,
  type PayloadKind,
  type PayloadOf,
  type PlainPayload,
  payloadType,
} from "./message.ts";
export type { AuthPayload } from "./payloads/auth.ts";
export type { CertPayload, CertreqPayload } from "./payloads/cert.ts";
export type { CpPayload } from "./payloads/cp.ts";
export type { DeletePayload } from "./payloads/delete.ts";
export type { EapPayload } from "./payloads/eap.ts";
export type { SkfPayload, SkPayload } from "./payloads/encrypted.ts";
export { type IdPayload, restOfIdPayload } from "./payloads/id.ts";
export type { KePayload } from "./payloads/ke.ts";
export type { NoncePayload } from "./payloads/nonce.ts";
export type { NotifyPayload } from "./payloads/notify.ts";
export type { Proposal, SaPayload, Transform, UnknownAttribute } from "./payloads/sa.ts";
export type { TsPayload, UnknownSelector } from "./payloads/ts.ts";
export type { UnknownPayload } from "./payloads/unknown.ts";
export type { VendorPayload } from "./payloads/vendor.ts";
export * from "./signed-message.ts";
export { openBody, openSk, type SkLayout, type SkOpener, type SkSealer, sealMessage } from "./sk.ts";
export * from "./spi.ts";
