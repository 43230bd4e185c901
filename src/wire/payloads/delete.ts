import type { Codec } from "../cursor.ts";

/** Delete payload (RFC 7296 §3.11). */
export interface DeletePayload {
  readonly kind: "D";
  readonly protocolId: number;
  /** ESP or AH SPIs; none when the IKE SA itself is deleted. */
  readonly spis: readonly number[];
}

/* | Protocol ID   |   SPI Size    |          Num of SPIs          |
   ~               Security Parameter Index(es) (SPI)              ~    RFC 7296 §3.11 */

export const deletePayload: Codec<DeletePayload> = {
  decode(r) {
    const protocolId = r.u8("Protocol ID");
    const spiSize = r.u8("SPI Size");
    const count = r.u16("Num of SPIs");
    if (count > 0 && spiSize !== 4) r.fail("SPI Size", `is ${spiSize}, not 4`);
    if (r.remaining !== count * 4) r.fail("Num of SPIs", `is ${count}, but ${r.remaining} octets follow`);
    const spis: number[] = [];
    while (r.remaining > 0) spis.push(r.u32("SPI"));
    return { kind: "D", protocolId, spis };
  },
  encode(w, d) {
    w.u8(d.protocolId)
      .u8(d.spis.length > 0 ? 4 : 0)
      .u16(d.spis.length);
    for (const spi of d.spis) w.u32(spi);
  },
};
