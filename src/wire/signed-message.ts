/**
 * Protected messages as AUTH covers them: those of IKE_INTERMEDIATE exchanges (RFC 9242 §3.3.2), whole and in the
 * clear, however they were cut and padded on their way.
 */
import { PayloadType } from "../registry/index.ts";
import { IKE_HEADER_BYTES } from "./header.ts";

/**
 * IntAuth_A | IntAuth_P: the header and the generic header of the Encrypted payload, with lengths that count neither
 * IV nor padding nor ICV, and `content`, what was encrypted. `datagram` is the message or its first fragment, of which
 * the Encrypted payload is the only one outside; undefined for any other.
 */
export function signedMessage(datagram: Uint8Array, content: Uint8Array): Uint8Array | undefined {
  const outer = datagram[NEXT_PAYLOAD];
  if (outer !== PayloadType.code.SK && outer !== PayloadType.code.SKF) return undefined;
  const out = new Uint8Array(IKE_HEADER_BYTES + GENERIC_HEADER_BYTES + content.length);
  // Next Payload and RESERVED are what the first fragment says, where there are fragments.
  out.set(datagram.subarray(0, IKE_HEADER_BYTES + GENERIC_HEADER_BYTES));
  out.set(content, IKE_HEADER_BYTES + GENERIC_HEADER_BYTES);
  out[NEXT_PAYLOAD] = PayloadType.code.SK;
  const view = new DataView(out.buffer);
  view.setUint32(LENGTH, out.length);
  view.setUint16(IKE_HEADER_BYTES + 2, GENERIC_HEADER_BYTES + content.length);
  return out;
}

const NEXT_PAYLOAD = 16;
const LENGTH = 24;
const GENERIC_HEADER_BYTES = 4;
