import type { Endpoint } from "../core/address.ts";
import { digest } from "./hmac.ts";

/**
 * Data of NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP (RFC 7296 §2.23):
 *
 *   SHA-1(SPIi | SPIr | IP address | port)
 */
export function natDetectionHash(SPIi: bigint, SPIr: bigint, endpoint: Endpoint): Uint8Array {
  const address = endpoint.address.bytes;
  const bytes = new Uint8Array(16 + address.length + 2);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, SPIi);
  view.setBigUint64(8, SPIr);
  bytes.set(address, 16);
  view.setUint16(16 + address.length, endpoint.port);
  return digest("sha1", bytes);
}
