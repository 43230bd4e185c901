import type { Codec } from "../cursor.ts";

/** Vendor ID payload (RFC 7296 §3.12). */
export interface VendorPayload {
  readonly kind: "V";
  readonly data: Uint8Array;
}

export const vendorPayload: Codec<VendorPayload> = {
  decode: (r) => ({ kind: "V", data: r.rest("Vendor ID") }),
  encode: (w, v) => {
    w.bytes(v.data);
  },
};
