import type { Endpoint } from "../../core/address.ts";
import type { Host } from "./host.ts";

const ipv4HeaderBytes = 20;
const ipv6HeaderBytes = 40;
const udpHeaderBytes = 8;
/** RFC 3948 §2.2: before every IKE message on the NAT traversal port. */
const nonEspMarkerBytes = 4;

/** Octets of IKE message with which an IP datagram from `local` to `remote` has just the size that we allow. */
export function maxMessageBytes(
  { limits, nattPort }: Pick<Host, "limits" | "nattPort">,
  { local, remote }: { readonly local: Endpoint; readonly remote: Endpoint },
): number {
  const ip = remote.address.family === 4 ? ipv4HeaderBytes : ipv6HeaderBytes;
  const marker = local.port === nattPort ? nonEspMarkerBytes : 0;
  return limits.fragmentIpBytes - ip - udpHeaderBytes - marker;
}
