import { IdType } from "../../registry/index.ts";
import { type Codec, Writer } from "../cursor.ts";

/** Identification payload (RFC 7296 §3.5). */
export interface IdPayload<K extends "IDi" | "IDr" = "IDi" | "IDr"> {
  readonly kind: K;
  readonly idType: number;
  readonly data: Uint8Array;
  /** The RESERVED octets when a peer did not send zeros: its AUTH covers them as they were sent. */
  readonly reserved?: number;
}

/* |   ID Type     |                 RESERVED                      |
   ~                   Identification Data                         ~    RFC 7296 §3.5 */

const idCodec = <K extends "IDi" | "IDr">(kind: K): Codec<IdPayload<K>> => ({
  decode(r) {
    const idType = r.u8("ID Type");
    const reserved = r.u24("RESERVED");
    const data = r.rest("Identification Data");
    const expected = addressBytes.get(idType);
    if (expected !== undefined && data.length !== expected)
      r.fail("Identification Data", `has ${data.length} octets, an ${IdType.nameOf(idType)} has ${expected}`);
    return reserved === 0 ? { kind, idType, data } : { kind, idType, data, reserved };
  },
  encode(w, id) {
    w.u8(id.idType).u24(0).bytes(id.data);
  },
});

const addressBytes: ReadonlyMap<number, number> = new Map([
  [IdType.code.ID_IPV4_ADDR, 4],
  [IdType.code.ID_IPV6_ADDR, 16],
]);

export const idiPayload = idCodec("IDi");
export const idrPayload = idCodec("IDr");

/** RFC 7296 §2.15: RestOfInitIDPayload / RestOfRespIDPayload = IDType | RESERVED | InitIDData. */
export function restOfIdPayload(id: IdPayload): Uint8Array {
  return new Writer(4 + id.data.length)
    .u8(id.idType)
    .u24(id.reserved ?? 0)
    .bytes(id.data)
    .done();
}
