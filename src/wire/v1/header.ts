import { WireError } from "../../core/errors.ts";
import type { Writer } from "../cursor.ts";
import { type DecodedHeader, decodeHeader } from "../header.ts";

/** What a sender decides about the ISAKMP header (RFC 2408 §3.1); the rest follows from the message. */
export interface IsakmpHeader {
  readonly spiInitiator: bigint;
  /** 0n in the first message. */
  readonly spiResponder: bigint;
  readonly exchangeType: number;
  /** 0 in phase 1; else 1 to 2^32 − 1, chosen by the initiator of the exchange. */
  readonly messageId: number;
  /** The C flag: the sender wants CONNECTED before it is sent anything. We never set it. */
  readonly commit?: boolean;
  /** The A flag: an informational message that is authenticated and not encrypted. We never set it. */
  readonly authenticationOnly?: boolean;
}

export interface DecodedIsakmpHeader extends IsakmpHeader {
  readonly firstPayload: number;
  readonly minorVersion: number;
  /** The E flag: what follows the header is encrypted. */
  readonly encrypted: boolean;
  readonly commit: boolean;
  readonly authenticationOnly: boolean;
  /** Octets of the whole message, equal to the datagram's. */
  readonly length: number;
}

const FLAG_ENCRYPTION = 0x01;
const FLAG_COMMIT = 0x02;
const FLAG_AUTHENTICATION_ONLY = 0x04;
const FLAGS_AT = 19;
const VERSION_1_0 = 0x10;

/*                      1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   !                          Initiator                            !
   !                            Cookie                             !
   !                          Responder                            !
   !                            Cookie                             !
   !  Next Payload ! MjVer ! MnVer ! Exchange Type !     Flags     !
   !                          Message ID                           !
   !                            Length                             !    RFC 2408 §3.1 */

/**
 * The header of an IKEv1 message. `header`: what `decodeHeader` made of it, if that is known already. Throws WireError,
 * also for another major version; flags that RFC 2408 does not define are ignored.
 */
export function decodeIsakmpHeader(
  datagram: Uint8Array,
  header: DecodedHeader = decodeHeader(datagram),
): DecodedIsakmpHeader {
  if (header.majorVersion !== 1)
    throw new WireError("ISAKMP header > Version", `is ${header.majorVersion}.${header.minorVersion}, not 1`);
  const flags = datagram[FLAGS_AT]!;
  return {
    spiInitiator: header.spiInitiator,
    spiResponder: header.spiResponder,
    exchangeType: header.exchangeType,
    messageId: header.messageId,
    firstPayload: header.firstPayload,
    minorVersion: header.minorVersion,
    encrypted: (flags & FLAG_ENCRYPTION) !== 0,
    commit: (flags & FLAG_COMMIT) !== 0,
    authenticationOnly: (flags & FLAG_AUTHENTICATION_ONLY) !== 0,
    length: header.length,
  };
}

/** Writes a version 1.0 header with a zero Length; returns where the Length is, to be patched. */
export function encodeIsakmpHeader(
  w: Writer,
  header: IsakmpHeader,
  firstPayload: number,
  encrypted: boolean,
): { lengthAt: number } {
  const flags =
    (encrypted ? FLAG_ENCRYPTION : 0) |
    (header.commit ? FLAG_COMMIT : 0) |
    (header.authenticationOnly ? FLAG_AUTHENTICATION_ONLY : 0);
  w.u64(header.spiInitiator).u64(header.spiResponder);
  w.u8(firstPayload).u8(VERSION_1_0).u8(header.exchangeType).u8(flags).u32(header.messageId);
  const lengthAt = w.length;
  w.u32(0);
  return { lengthAt };
}
