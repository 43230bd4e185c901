import type { Codec } from "../../cursor.ts";

/** Notification payload (RFC 2408 §3.14). */
export interface IsakmpNotifyPayload {
  readonly kind: "N";
  /** IsakmpDoi. */
  readonly doi: number;
  /** IsakmpProtocol: the SA that it is about. */
  readonly protocol: number;
  /** Both SPIs of the ISAKMP SA (16 octets), an ESP SPI (4), or nothing. */
  readonly spi: Uint8Array;
  /** IsakmpNotifyType. */
  readonly type: number;
  readonly data: Uint8Array;
}

/* !              Domain of Interpretation  (DOI)                  !
   !  Protocol-ID  !   SPI Size    !      Notify Message Type      !
   ~                Security Parameter Index (SPI)                 ~
   ~                       Notification Data                       ~    RFC 2408 §3.14 */

export const isakmpNotifyPayload: Codec<IsakmpNotifyPayload> = {
  decode(r) {
    const doi = r.u32("DOI");
    const protocol = r.u8("Protocol-ID");
    const spiSize = r.u8("SPI Size");
    const type = r.u16("Notify Message Type");
    const spi = r.view(spiSize, "SPI");
    return { kind: "N", doi, protocol, spi, type, data: r.rest("Notification Data") };
  },
  encode(w, n) {
    w.u32(n.doi).u8(n.protocol).u8(n.spi.length).u16(n.type).bytes(n.spi).bytes(n.data);
  },
};
