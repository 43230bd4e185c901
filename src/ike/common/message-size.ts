import type { Endpoint } from "../../core/address.ts";
import type { EndpointLimits } from "./settings.ts";

const ipv4HeaderBytes = 20;
const ipv6HeaderBytes = 40;
const udpHeaderBytes = 8;
/** RFC 3948 §2.2: before every IKE message on the NAT traversal port. */
const nonEspMarkerBytes = 4;

interface Host {
  readonly limits: EndpointLimits;
  readonly nattPort: number;
}

interface Path {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Octets of an IP datagram from `local` to `remote` beside the IKE message in it. */
export function messageOverhead({ nattPort }: Pick<Host, "nattPort">, { local, remote }: Path): number {
  const ip = remote.address.family === 4 ? ipv4HeaderBytes : ipv6HeaderBytes;
  return ip + udpHeaderBytes + (local.port === nattPort ? nonEspMarkerBytes : 0);
}

/** Octets of IKE message with which an IP datagram from `local` to `remote` has just the size that we allow. */
export function maxMessageBytes(host: Host, path: Path): number {
  return host.limits.fragmentIpBytes - messageOverhead(host, path);
}
