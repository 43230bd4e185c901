import type { Codec } from "../cursor.ts";

/** Configuration payload (RFC 7296 §3.15): decoded so that it can be ignored in good order. */
export interface CpPayload {
  readonly kind: "CP";
  readonly cfgType: number;
  readonly attributes: readonly { readonly type: number; readonly value: Uint8Array }[];
}

/* |   CFG Type    |                    RESERVED                   |
   |R|         Attribute Type      |            Length             |
   ~                             Value                             ~    RFC 7296 §3.15, §3.15.1 */

export const cpPayload: Codec<CpPayload> = {
  decode(r) {
    const cfgType = r.u8("CFG Type");
    r.u24("RESERVED");
    const attributes: { type: number; value: Uint8Array }[] = [];
    while (r.remaining > 0) {
      const type = r.u16("Attribute Type") & 0x7fff;
      const length = r.u16("Length");
      attributes.push({ type, value: r.view(length, "Value") });
    }
    return { kind: "CP", cfgType, attributes };
  },
  encode(w, cp) {
    w.u8(cp.cfgType).u24(0);
    for (const { type, value } of cp.attributes) w.u16(type).u16(value.length).bytes(value);
  },
};
