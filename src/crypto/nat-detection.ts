import type { Endpoint } from "../core/address.ts";
import type { HashName } from "../registry/index.ts";
import { digest } from "./hmac.ts";
import { prfRow } from "./prf.ts";

/**
 * Data of NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP (RFC 7296 §2.23):
 *
 *   SHA-1(SPIi | SPIr | IP address | port)
 */
export function natDetectionHash(SPIi: bigint, SPIr: bigint, endpoint: Endpoint): Uint8Array {
  return endpointHash("sha1", SPIi, SPIr, endpoint);
}

/** HASH = HASH(CKY-I | CKY-R | IP | Port), RFC 3947 §3.2, with the negotiated hash: that of the PRF `prfId`. */
export function natDHash(prfId: number, SPIi: bigint, SPIr: bigint, endpoint: Endpoint): Uint8Array {
  return endpointHash(prfRow(prfId).hash, SPIi, SPIr, endpoint);
}

function endpointHash(hash: HashName, SPIi: bigint, SPIr: bigint, endpoint: Endpoint): Uint8Array {
  const address = endpoint.address.bytes;
  const bytes = new Uint8Array(16 + address.length + 2);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, SPIi);
  view.setBigUint64(8, SPIr);
  bytes.set(address, 16);
  view.setUint16(16 + address.length, endpoint.port);
  return digest(hash, bytes);
}
