import type { Codec } from "../cursor.ts";

/** Key Exchange payload (RFC 7296 §3.4). Whether `data` is a public value of `dhGroup` is for src/crypto to say. */
export interface KePayload {
  readonly kind: "KE";
  readonly dhGroup: number;
  readonly data: Uint8Array;
}

/* |   Diffie-Hellman Group Num    |           RESERVED            |
   ~                       Key Exchange Data                       ~    RFC 7296 §3.4 */

export const kePayload: Codec<KePayload> = {
  decode(r) {
    const dhGroup = r.u16("Diffie-Hellman Group Num");
    r.u16("RESERVED");
    return { kind: "KE", dhGroup, data: r.rest("Key Exchange Data") };
  },
  encode(w, ke) {
    w.u16(ke.dhGroup).u16(0).bytes(ke.data);
  },
};
