import type { Codec } from "../cursor.ts";

/** Extensible Authentication payload (RFC 7296 §3.16), opaque. */
export interface EapPayload {
  readonly kind: "EAP";
  readonly data: Uint8Array;
}

export const eapPayload: Codec<EapPayload> = {
  decode: (r) => ({ kind: "EAP", data: r.rest("EAP Message") }),
  encode: (w, eap) => {
    w.bytes(eap.data);
  },
};
