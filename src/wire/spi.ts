/** SPIs as numbers and as the octets of Proposal and Notify payloads: 8 octets for IKE, 4 for ESP and AH. */

export function ikeSpiBytes(spi: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, spi);
  return bytes;
}

/** Undefined unless `bytes` has 8 octets. */
export function ikeSpiFrom(bytes: Uint8Array): bigint | undefined {
  if (bytes.length !== 8) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
}

export function espSpiBytes(spi: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, spi);
  return bytes;
}

/** Undefined unless `bytes` has 4 octets. */
export function espSpiFrom(bytes: Uint8Array): number | undefined {
  if (bytes.length !== 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
}

/** As logs and dumps show it: 16 hexadecimal digits. */
export const formatIkeSpi = (spi: bigint): string => spi.toString(16).padStart(16, "0");

/** As logs and dumps show it: 8 hexadecimal digits. */
export const formatEspSpi = (spi: number): string => spi.toString(16).padStart(8, "0");
