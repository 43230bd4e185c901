import type { Codec } from "../cursor.ts";

/** Certificate payload (RFC 7296 §3.6), opaque. */
export interface CertPayload<K extends "CERT" | "CERTREQ" = "CERT"> {
  readonly kind: K;
  readonly encoding: number;
  readonly data: Uint8Array;
}

/** Certificate Request payload (RFC 7296 §3.7), opaque. */
export type CertreqPayload = CertPayload<"CERTREQ">;

/* | Cert Encoding |                                               |
   ~            Certificate Data / Certification Authority         ~    RFC 7296 §3.6, §3.7 */

const certCodec = <K extends "CERT" | "CERTREQ">(kind: K, field: string): Codec<CertPayload<K>> => ({
  decode(r) {
    const encoding = r.u8("Cert Encoding");
    return { kind, encoding, data: r.rest(field) };
  },
  encode(w, cert) {
    w.u8(cert.encoding).bytes(cert.data);
  },
});

export const certPayload = certCodec("CERT", "Certificate Data");
export const certreqPayload = certCodec("CERTREQ", "Certification Authority");
