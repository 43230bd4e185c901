import { WireError } from "../core/errors.ts";
import { Reader, type Writer } from "./cursor.ts";

export const IKE_HEADER_BYTES = 28;

/** What a sender decides about the IKE header (RFC 7296 §3.1); version and lengths follow from the message. */
export interface IkeHeader {
  readonly spiInitiator: bigint;
  /** 0n in the first request. */
  readonly spiResponder: bigint;
  readonly exchangeType: number;
  /** The I flag: the sender is the original initiator of the IKE SA. */
  readonly initiator: boolean;
  /** The R flag. */
  readonly response: boolean;
  /** 0 to 2^32 − 1. */
  readonly messageId: number;
}

export interface DecodedHeader extends IkeHeader {
  readonly firstPayload: number;
  readonly majorVersion: number;
  readonly minorVersion: number;
  /** The V flag: the sender could speak a higher major version. */
  readonly higherVersion: boolean;
  /** Octets of the whole message, equal to the datagram's. */
  readonly length: number;
}

const FLAG_INITIATOR = 0x08;
const FLAG_VERSION = 0x10;
const FLAG_RESPONSE = 0x20;
const VERSION_2_0 = 0x20;

/*                      1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   |                       IKE SA Initiator's SPI                  |
   |                                                               |
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   |                       IKE SA Responder's SPI                  |
   |                                                               |
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   |                          Message ID                           |
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
   |                            Length                             |
   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+    RFC 7296 §3.1 */

/**
 * The header alone, of any version: enough to tell IKEv1 from IKEv2 and to answer INVALID_MAJOR_VERSION.
 * Throws WireError when the datagram is shorter than a header or its Length is not the datagram's.
 */
export function decodeHeader(datagram: Uint8Array): DecodedHeader {
  const r = new Reader(datagram, "IKE header");
  const spiInitiator = r.u64("IKE SA Initiator's SPI");
  const spiResponder = r.u64("IKE SA Responder's SPI");
  const firstPayload = r.u8("Next Payload");
  const version = r.u8("Version");
  const exchangeType = r.u8("Exchange Type");
  const flags = r.u8("Flags");
  const messageId = r.u32("Message ID");
  const length = r.u32("Length");
  if (length !== datagram.length)
    throw new WireError("IKE header > Length", `says ${length}, the datagram has ${datagram.length} octets`);
  return {
    spiInitiator,
    spiResponder,
    exchangeType,
    initiator: (flags & FLAG_INITIATOR) !== 0,
    response: (flags & FLAG_RESPONSE) !== 0,
    messageId,
    firstPayload,
    majorVersion: version >> 4,
    minorVersion: version & 0xf,
    higherVersion: (flags & FLAG_VERSION) !== 0,
    length,
  };
}

/** Writes a version 2.0 header with a zero Length; returns where the Length is, to be patched. */
export function encodeHeader(w: Writer, header: IkeHeader, firstPayload: number): { lengthAt: number } {
  const flags = (header.initiator ? FLAG_INITIATOR : 0) | (header.response ? FLAG_RESPONSE : 0);
  w.u64(header.spiInitiator).u64(header.spiResponder);
  w.u8(firstPayload).u8(VERSION_2_0).u8(header.exchangeType).u8(flags).u32(header.messageId);
  const lengthAt = w.length;
  w.u32(0);
  return { lengthAt };
}
