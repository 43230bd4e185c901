import { IsakmpIdType } from "../../../registry/index.ts";
import type { Codec } from "../../cursor.ts";

/** Identification payload of the IPsec DOI (RFC 2407 §4.6.2): a side in phase 1, its traffic in phase 2. */
export interface IsakmpIdPayload {
  readonly kind: "ID";
  /** IsakmpIdType. */
  readonly idType: number;
  /** IP protocol; 0 for any. In phase 1 it is 0 or UDP. */
  readonly protocol: number;
  /** 0 for any. In phase 1 it is 0, 500 or 4500. */
  readonly port: number;
  readonly data: Uint8Array;
}

/* !   ID Type     !  Protocol ID  !             Port              !
   ~                     Identification Data                       ~    RFC 2407 §4.6.2 */

export const isakmpIdPayload: Codec<IsakmpIdPayload> = {
  decode(r) {
    const idType = r.u8("ID Type");
    const protocol = r.u8("Protocol ID");
    const port = r.u16("Port");
    const data = r.rest("Identification Data");
    const expected = addressBytes.get(idType);
    if (expected !== undefined && data.length !== expected)
      r.fail(
        "Identification Data",
        `has ${data.length} octets, an ${IsakmpIdType.nameOf(idType)} has ${expected}`,
      );
    return { kind: "ID", idType, protocol, port, data };
  },
  encode(w, id) {
    w.u8(id.idType).u8(id.protocol).u16(id.port).bytes(id.data);
  },
};

const ID = IsakmpIdType.code;

/** Subnets are an address and a mask, ranges two addresses. */
const addressBytes: ReadonlyMap<number, number> = new Map([
  [ID.ID_IPV4_ADDR, 4],
  [ID.ID_IPV4_ADDR_SUBNET, 8],
  [ID.ID_IPV4_ADDR_RANGE, 8],
  [ID.ID_IPV6_ADDR, 16],
  [ID.ID_IPV6_ADDR_SUBNET, 32],
  [ID.ID_IPV6_ADDR_RANGE, 32],
]);
