import { ProtocolId } from "../../registry/index.ts";
import { espSpiBytes, type NotifyPayload } from "../../wire/index.ts";

const nothing = new Uint8Array(0);

/** A Notify about no SA in particular. */
export function notify(type: number, data: Uint8Array = nothing): NotifyPayload {
  return { kind: "N", protocolId: ProtocolId.code.NONE, spi: nothing, type, data };
}

/** A Notify about one CHILD_SA, named by the SPI that its sender expects in inbound packets (RFC 7296 §3.10). */
export function notifyChild(type: number, spi: number): NotifyPayload {
  return { kind: "N", protocolId: ProtocolId.code.ESP, spi: espSpiBytes(spi), type, data: nothing };
}

/** Two octets in network order: the group in INVALID_KE_PAYLOAD (§1.3). */
export function groupData(group: number): Uint8Array {
  return Uint8Array.of(group >> 8, group & 0xff);
}
