import type { Codec } from "../../cursor.ts";

/** Fragment payload ([MS-IKEE] §2.2.3.1): a piece of a whole message, header included. */
export interface IsakmpFragmentPayload {
  readonly kind: "FRAGMENT";
  /** The same in all fragments of a message. */
  readonly id: number;
  /** 1 for the first, 255 at most. */
  readonly number: number;
  readonly last: boolean;
  readonly data: Uint8Array;
}

const LAST_FRAGMENT = 0x01;

/* |          Fragment_ID          |Fragment_Number|     Flags     |
   |                   Fragment_Data (variable)                    |    [MS-IKEE] §2.2.3.1 */

export const isakmpFragmentPayload: Codec<IsakmpFragmentPayload> = {
  decode(r) {
    const id = r.u16("Fragment_ID");
    const number = r.u8("Fragment_Number");
    if (number === 0) r.fail("Fragment_Number", "is 0");
    const last = (r.u8("Flags") & LAST_FRAGMENT) !== 0;
    const data = r.rest("Fragment_Data");
    if (data.length === 0) r.fail("Fragment_Data", "is empty");
    return { kind: "FRAGMENT", id, number, last, data };
  },
  encode(w, fragment) {
    w.u16(fragment.id)
      .u8(fragment.number)
      .u8(fragment.last ? LAST_FRAGMENT : 0)
      .bytes(fragment.data);
  },
};
