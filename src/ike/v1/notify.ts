import { spiBytes } from "../../crypto/index.ts";
import { IsakmpDoi, IsakmpProtocol } from "../../registry/index.ts";
import type { IsakmpDeletePayload, IsakmpNotifyPayload } from "../../wire/v1/index.ts";

interface Spis {
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
}

/** CKY-I | CKY-R: the SPI of an ISAKMP SA in a payload (RFC 2407 §4.6.3). */
export const spiOctets = spiBytes;

/** A Notification about an ISAKMP SA, or (without one) about the message that wanted to be one. */
export function isakmpNotify(
  type: number,
  about: Spis | undefined,
  data: Uint8Array = new Uint8Array(0),
): IsakmpNotifyPayload {
  return {
    kind: "N",
    doi: IsakmpDoi.code.IPSEC,
    protocol: IsakmpProtocol.code.PROTO_ISAKMP,
    spi: about ? spiBytes(about) : new Uint8Array(0),
    type,
    data,
  };
}

/** The ISAKMP SA is gone (RFC 2408 §3.15). */
export function deleteIsakmp(about: Spis): IsakmpDeletePayload {
  return {
    kind: "D",
    doi: IsakmpDoi.code.IPSEC,
    protocol: IsakmpProtocol.code.PROTO_ISAKMP,
    spis: [spiBytes(about)],
  };
}

/** ESP SAs are gone. `spis`: those of the sender's inbound SAs. */
export function deleteEsp(spis: readonly number[]): IsakmpDeletePayload {
  return {
    kind: "D",
    doi: IsakmpDoi.code.IPSEC,
    protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
    spis: spis.map(espSpiOctets),
  };
}

export function espSpiOctets(spi: number): Uint8Array {
  const octets = new Uint8Array(4);
  new DataView(octets.buffer).setUint32(0, spi);
  return octets;
}
