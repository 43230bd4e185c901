/** The IKE messages of a classic pcap file: as much of the format as the files in test/vectors/pcap use. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = vectorsAbove(dirname(fileURLToPath(import.meta.url)));

export interface CapturedDatagram {
  /** Counted from 1 over all packets of the file, as packet analysers do. */
  readonly packet: number;
  readonly source: { readonly address: Uint8Array; readonly port: number };
  readonly destination: { readonly address: Uint8Array; readonly port: number };
  /** The IKE message, without the non-ESP marker of port 4500. */
  readonly ike: Uint8Array;
}

export function pcapFiles(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".pcap"));
}

/** IPv4 UDP datagrams to or from ports 500 and 4500 that are IKE. */
export function readPcap(name: string): CapturedDatagram[] {
  const file = readFileSync(join(folder, name));
  const little = file.readUInt32LE(0) === 0xa1b2c3d4;
  if (!little && file.readUInt32BE(0) !== 0xa1b2c3d4) throw new Error(`${name} is not a pcap file`);
  const u32 = (at: number) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  const linkHeaderBytes = new Map([
    [0, 4], // BSD loopback
    [1, 14], // Ethernet
  ]).get(u32(20));
  if (linkHeaderBytes === undefined) throw new Error(`${name} has an unknown link type`);
  const datagrams: CapturedDatagram[] = [];
  for (let at = 24, packet = 1; at < file.length; packet++) {
    const length = u32(at + 8);
    const ip = file.subarray(at + 16 + linkHeaderBytes, at + 16 + length);
    at += 16 + length;
    if (ip[0]! >> 4 !== 4 || ip[9] !== 17) continue;
    const udp = ip.subarray((ip[0]! & 0xf) * 4);
    const [from, to] = [udp.readUInt16BE(0), udp.readUInt16BE(2)];
    const body = udp.subarray(8);
    const encapsulated = from === 4500 || to === 4500;
    // RFC 3948 §2.2: four zero octets tell IKE from ESP on port 4500.
    if (encapsulated && (body.length < 4 || body.readUInt32BE(0) !== 0)) continue;
    datagrams.push({
      packet,
      source: { address: Uint8Array.from(ip.subarray(12, 16)), port: from },
      destination: { address: Uint8Array.from(ip.subarray(16, 20)), port: to },
      ike: Uint8Array.from(encapsulated ? body.subarray(4) : body),
    });
  }
  return datagrams;
}

/** Soak loops run compiled, from build/: the data stays in the source tree above. */
function vectorsAbove(directory: string): string {
  const candidate = join(directory, "test/vectors/pcap");
  if (existsSync(candidate)) return candidate;
  if (dirname(directory) === directory) throw new Error("test/vectors/pcap is missing");
  return vectorsAbove(dirname(directory));
}
