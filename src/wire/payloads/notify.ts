import type { Codec } from "../cursor.ts";

/** Notify payload (RFC 7296 §3.10). */
export interface NotifyPayload {
  readonly kind: "N";
  /** 0 unless the notification is about one SA that exists. */
  readonly protocolId: number;
  /** Empty unless the notification is about one SA that exists. */
  readonly spi: Uint8Array;
  readonly type: number;
  readonly data: Uint8Array;
}

/* |  Protocol ID  |   SPI Size    |      Notify Message Type      |
   ~                Security Parameter Index (SPI)                 ~
   ~                       Notification Data                       ~    RFC 7296 §3.10 */

export const notifyPayload: Codec<NotifyPayload> = {
  decode(r) {
    const protocolId = r.u8("Protocol ID");
    const spiSize = r.u8("SPI Size");
    const type = r.u16("Notify Message Type");
    const spi = r.view(spiSize, "SPI");
    return { kind: "N", protocolId, spi, type, data: r.rest("Notification Data") };
  },
  encode(w, n) {
    w.u8(n.protocolId).u8(n.spi.length).u16(n.type).bytes(n.spi).bytes(n.data);
  },
};
