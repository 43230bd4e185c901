import { IsakmpIdType } from "../../../registry/index.ts";
import type { Codec } from "../../cursor.ts";

/** NAT Discovery payload (RFC 3947 §3.2). */
export interface NatDPayload {
  readonly kind: "NAT-D";
  /** Under the payload type of the drafts, 130, instead of 20. */
  readonly draft: boolean;
  readonly hash: Uint8Array;
}

/** NAT Original Address payload (RFC 3947 §5.2). */
export interface NatOaPayload {
  readonly kind: "NAT-OA";
  /** Under the payload type of the drafts, 131, instead of 21. */
  readonly draft: boolean;
  /** 4 or 16 octets. */
  readonly address: Uint8Array;
}

export const natDPayload = (draft: boolean): Codec<NatDPayload> => ({
  decode: (r) => ({ kind: "NAT-D", draft, hash: r.rest("HASH") }),
  encode: (w, { hash }) => {
    w.bytes(hash);
  },
});

/* |   ID Type     |  RESERVED     |            RESERVED           |
   |           IPv4 (4 octets) or IPv6 address (16 octets)         |    RFC 3947 §5.2 */

export const natOaPayload = (draft: boolean): Codec<NatOaPayload> => ({
  decode(r) {
    const idType = r.u8("ID Type");
    r.u24("RESERVED");
    const length = addressBytes.get(idType);
    if (length === undefined) return r.fail("ID Type", `is ${IsakmpIdType.nameOf(idType)}, not an address`);
    const address = r.view(length, "address");
    r.end();
    return { kind: "NAT-OA", draft, address };
  },
  encode(w, { address }) {
    const idType = [...addressBytes].find(([, length]) => length === address.length)?.[0];
    if (idType === undefined) throw new RangeError(`an address has 4 or 16 octets, not ${address.length}`);
    w.u8(idType).u24(0).bytes(address);
  },
});

const addressBytes: ReadonlyMap<number, number> = new Map([
  [IsakmpIdType.code.ID_IPV4_ADDR, 4],
  [IsakmpIdType.code.ID_IPV6_ADDR, 16],
]);
