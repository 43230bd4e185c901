import type { Codec } from "../../cursor.ts";

/** Delete payload (RFC 2408 §3.15). */
export interface IsakmpDeletePayload {
  readonly kind: "D";
  /** IsakmpDoi. */
  readonly doi: number;
  /** IsakmpProtocol. */
  readonly protocol: number;
  /** All of one length: 16 octets for ISAKMP SAs, 4 for ESP. */
  readonly spis: readonly Uint8Array[];
}

/* !              Domain of Interpretation  (DOI)                  !
   !  Protocol-Id  !   SPI Size    !           # of SPIs           !
   ~               Security Parameter Index(es) (SPI)              ~    RFC 2408 §3.15 */

export const isakmpDeletePayload: Codec<IsakmpDeletePayload> = {
  decode(r) {
    const doi = r.u32("DOI");
    const protocol = r.u8("Protocol-Id");
    const spiSize = r.u8("SPI Size");
    const count = r.u16("# of SPIs");
    if (spiSize === 0 && count > 0) r.fail("SPI Size", "is 0");
    if (r.remaining !== count * spiSize)
      r.fail("# of SPIs", `is ${count} of ${spiSize} octets, but ${r.remaining} octets follow`);
    const spis: Uint8Array[] = [];
    while (r.remaining > 0) spis.push(r.view(spiSize, "SPI"));
    return { kind: "D", doi, protocol, spis };
  },
  encode(w, d) {
    const spiSize = d.spis[0]?.length ?? 0;
    w.u32(d.doi).u8(d.protocol).u8(spiSize).u16(d.spis.length);
    for (const spi of d.spis) {
      if (spi.length !== spiSize || spiSize === 0) throw new RangeError("SPIs of one Delete have one length");
      w.bytes(spi);
    }
  },
};
