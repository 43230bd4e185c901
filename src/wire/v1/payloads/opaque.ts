/** Payloads whose body is one string of octets. */
import type { Codec } from "../../cursor.ts";

/** Key Exchange payload (RFC 2408 §3.7). Whether `data` is a public value of the group is for src/crypto to say. */
export type IsakmpKePayload = OpaquePayload<"KE">;
/** Hash payload (RFC 2408 §3.11). */
export type IsakmpHashPayload = OpaquePayload<"HASH">;
/** Vendor ID payload (RFC 2408 §3.16). */
export type IsakmpVendorPayload = OpaquePayload<"VID">;
/** Certificate, Certificate Request and Signature payloads (RFC 2408 §3.9, §3.10, §3.12): nobody here looks inside. */
export type IsakmpCertPayload = OpaquePayload<"CERT">;
export type IsakmpCertificateRequestPayload = OpaquePayload<"CR">;
export type IsakmpSignaturePayload = OpaquePayload<"SIG">;

export type OpaqueKind = "KE" | "HASH" | "VID" | "CERT" | "CR" | "SIG";

export interface OpaquePayload<K extends OpaqueKind> {
  readonly kind: K;
  readonly data: Uint8Array;
}

/** Nonce payload (RFC 2408 §3.13). */
export interface IsakmpNoncePayload {
  readonly kind: "NONCE";
  /** 8 to 256 octets. */
  readonly nonce: Uint8Array;
}

const opaque = <K extends OpaqueKind>(kind: K, field: string): Codec<OpaquePayload<K>> => ({
  decode: (r) => ({ kind, data: r.rest(field) }),
  encode: (w, { data }) => {
    w.bytes(data);
  },
});

export const isakmpKePayload: Codec<IsakmpKePayload> = opaque("KE", "Key Exchange Data");
export const isakmpHashPayload: Codec<IsakmpHashPayload> = opaque("HASH", "Hash Data");
export const isakmpVendorPayload: Codec<IsakmpVendorPayload> = opaque("VID", "Vendor ID");
export const isakmpCertPayload: Codec<IsakmpCertPayload> = opaque("CERT", "Certificate");
export const isakmpCertificateRequestPayload: Codec<IsakmpCertificateRequestPayload> = opaque(
  "CR",
  "Certificate Request",
);
export const isakmpSignaturePayload: Codec<IsakmpSignaturePayload> = opaque("SIG", "Signature Data");

/** RFC 2409 §5: "The length of nonce payload MUST be between 8 and 256 bytes inclusive." */
const NONCE_MIN = 8;
const NONCE_MAX = 256;

export const isakmpNoncePayload: Codec<IsakmpNoncePayload> = {
  decode(r) {
    const nonce = r.rest("Nonce Data");
    if (nonce.length < NONCE_MIN || nonce.length > NONCE_MAX)
      r.fail("Nonce Data", `has ${nonce.length} octets, not ${NONCE_MIN} to ${NONCE_MAX}`);
    return { kind: "NONCE", nonce };
  },
  encode(w, { nonce }) {
    if (nonce.length < NONCE_MIN || nonce.length > NONCE_MAX)
      throw new RangeError(`a nonce has ${NONCE_MIN} to ${NONCE_MAX} octets, not ${nonce.length}`);
    w.bytes(nonce);
  },
};
