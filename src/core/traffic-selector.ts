import { compareBytes, type IpAddress, type Prefix } from "./address.ts";

/** One traffic selector (RFC 7296 §3.13.1): a protocol, a port range and an address range of one family. */
export interface TrafficSelector {
  /** IP protocol number; 0 means any. */
  readonly protocol: number;
  readonly startPort: number;
  readonly endPort: number;
  readonly startAddress: IpAddress;
  readonly endAddress: IpAddress;
}

/** What may pass between two ends. */
export interface SelectorPair {
  readonly local: TrafficSelector;
  readonly remote: TrafficSelector;
}

/** A packet that leaves: what selectors look at. Ports are 0 where the protocol has none, or a fragment hides them. */
export interface PacketFlow {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export function selectorFromPrefix(prefix: Prefix): TrafficSelector {
  return { protocol: 0, startPort: 0, endPort: 65535, startAddress: prefix.first, endAddress: prefix.last };
}

/** True when a selector is for certain ports, types or codes: what only the first fragment of a packet shows. */
export function namesPorts({ startPort, endPort }: TrafficSelector): boolean {
  const isAny = startPort === 0 && endPort === 65535;
  const isOpaque = startPort === 65535 && endPort === 0;
  return !isAny && !isOpaque;
}

/** What both selectors cover, or undefined when they share nothing. */
export function intersectSelectors(a: TrafficSelector, b: TrafficSelector): TrafficSelector | undefined {
  if (a.startAddress.family !== b.startAddress.family) return undefined;
  if (a.protocol !== 0 && b.protocol !== 0 && a.protocol !== b.protocol) return undefined;
  const startAddress = maxAddress(a.startAddress, b.startAddress);
  const endAddress = minAddress(a.endAddress, b.endAddress);
  if (compareBytes(startAddress.bytes, endAddress.bytes) > 0) return undefined;
  const startPort = Math.max(a.startPort, b.startPort);
  const endPort = Math.min(a.endPort, b.endPort);
  if (startPort > endPort) return undefined;
  return { protocol: a.protocol || b.protocol, startPort, endPort, startAddress, endAddress };
}

/** The selectors that name this packet and no other end, protocol or port (RFC 7296 §2.9). */
export function flowSelectors(flow: PacketFlow): SelectorPair {
  const { source, destination, protocol, sourcePort, destinationPort } = flow;
  const named = withPorts.includes(protocol) && (sourcePort !== 0 || destinationPort !== 0);
  const end = (address: IpAddress, port: number): TrafficSelector => ({
    protocol,
    startPort: named ? port : 0,
    endPort: named ? port : 65535,
    startAddress: address,
    endAddress: address,
  });
  return { local: end(source, sourcePort), remote: end(destination, destinationPort) };
}

/** TCP, UDP, SCTP, UDP-Lite. */
const withPorts: readonly number[] = [6, 17, 132, 136];

/** True when an SA with these selectors may carry the packet. */
export function selectorsMatch(
  local: readonly TrafficSelector[],
  remote: readonly TrafficSelector[],
  flow: PacketFlow,
): boolean {
  const ends = flowSelectors(flow);
  return (
    local.some((ts) => intersectSelectors(ts, ends.local) !== undefined) &&
    remote.some((ts) => intersectSelectors(ts, ends.remote) !== undefined)
  );
}

export function equalSelectors(a: TrafficSelector, b: TrafficSelector): boolean {
  return (
    a.protocol === b.protocol &&
    a.startPort === b.startPort &&
    a.endPort === b.endPort &&
    a.startAddress.equals(b.startAddress) &&
    a.endAddress.equals(b.endAddress)
  );
}

/** `10.1.0.0/16`, or `10.0.0.1-10.0.0.9`, with `[tcp/443]`-style suffix as `[6/443]` when narrower than any. */
export function formatSelector(ts: TrafficSelector): string {
  const length = prefixLength(ts);
  const range = length === undefined ? `${ts.startAddress}-${ts.endAddress}` : `${ts.startAddress}/${length}`;
  const anyPort = ts.startPort === 0 && ts.endPort === 65535;
  if (ts.protocol === 0 && anyPort) return range;
  const ports = anyPort
    ? ""
    : ts.startPort === ts.endPort
      ? `/${ts.startPort}`
      : `/${ts.startPort}-${ts.endPort}`;
  return `${range}[${ts.protocol}${ports}]`;
}

/** The prefix length when the range is exactly one prefix. */
function prefixLength(ts: TrafficSelector): number | undefined {
  const a = ts.startAddress.bytes;
  const b = ts.endAddress.bytes;
  let length = 0;
  while (length < a.length * 8 && bit(a, length) === bit(b, length)) length++;
  for (let i = length; i < a.length * 8; i++) {
    if (bit(a, i) !== 0 || bit(b, i) !== 1) return undefined;
  }
  return length;
}

const bit = (bytes: Uint8Array, i: number): number => (bytes[i >> 3]! >> (7 - (i & 7))) & 1;
const maxAddress = (a: IpAddress, b: IpAddress): IpAddress => (compareBytes(a.bytes, b.bytes) >= 0 ? a : b);
const minAddress = (a: IpAddress, b: IpAddress): IpAddress => (compareBytes(a.bytes, b.bytes) <= 0 ? a : b);
