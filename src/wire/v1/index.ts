export {
  type IsakmpCipher,
  type OpenedIsakmp,
  openIsakmp,
  type SealedIsakmp,
  sealIsakmp,
  sealIsakmpWithHash,
} from "./encrypted.ts";
export * from "./fragments.ts";
export { type DecodedIsakmpHeader, decodeIsakmpHeader, type IsakmpHeader } from "./header.ts";
export {
  decodeIsakmp,
  encodeIsakmp,
  findIsakmpNotify,
  findIsakmpPayload,
  type IsakmpMessage,
  type IsakmpPayload,
  type IsakmpPayloadKind,
  type IsakmpPayloadOf,
  type IsakmpUnknownPayload,
  isakmpBody,
  isakmpPayloadsOf,
  isakmpPayloadType,
  isIsakmpFragment,
  MAX_ISAKMP_PAYLOADS,
  type Received,
  type ReceivedPayload,
} from "./message.ts";
export type { IsakmpDeletePayload } from "./payloads/delete.ts";
export type { IsakmpFragmentPayload } from "./payloads/fragment.ts";
export type { IsakmpIdPayload } from "./payloads/id.ts";
export type { NatDPayload, NatOaPayload } from "./payloads/nat.ts";
export type { IsakmpNotifyPayload } from "./payloads/notify.ts";
export type {
  IsakmpHashPayload,
  IsakmpKePayload,
  IsakmpNoncePayload,
  IsakmpVendorPayload,
} from "./payloads/opaque.ts";
export {
  attributeNumber,
  decodeIsakmpAttributes,
  encodeIsakmpAttributes,
  type IsakmpAttribute,
  type IsakmpProposal,
  type IsakmpSaPayload,
  type IsakmpTransform,
  numberAttribute,
} from "./payloads/sa.ts";
