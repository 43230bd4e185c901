import type { Codec } from "../cursor.ts";

/** Nonce payload (RFC 7296 §3.9): `Ni` or `Nr`, 16 to 256 octets. */
export interface NoncePayload {
  readonly kind: "Nonce";
  readonly nonce: Uint8Array;
}

export const noncePayload: Codec<NoncePayload> = {
  decode(r) {
    const nonce = r.rest("Nonce Data");
    if (nonce.length < 16 || nonce.length > 256)
      r.fail("Nonce Data", `has ${nonce.length} octets, not 16 to 256`);
    return { kind: "Nonce", nonce };
  },
  encode(w, { nonce }) {
    w.bytes(nonce);
  },
};
