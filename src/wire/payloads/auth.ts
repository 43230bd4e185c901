import type { Codec } from "../cursor.ts";

/** Authentication payload (RFC 7296 §3.8). */
export interface AuthPayload {
  readonly kind: "AUTH";
  readonly method: number;
  readonly data: Uint8Array;
}

/* | Auth Method   |                RESERVED                       |
   ~                      Authentication Data                      ~    RFC 7296 §3.8 */

export const authPayload: Codec<AuthPayload> = {
  decode(r) {
    const method = r.u8("Auth Method");
    r.u24("RESERVED");
    return { kind: "AUTH", method, data: r.rest("Authentication Data") };
  },
  encode(w, auth) {
    w.u8(auth.method).u24(0).bytes(auth.data);
  },
};
