/**
 * The traffic of an IPsec SA as quick mode says it (RFC 2407 §4.6.2, RFC 2409 §5.5): one ID payload for each end. There
 * is no negotiation about them: a responder takes both as they are, or none.
 */
import { compareBytes, IpAddress, Prefix } from "../../core/address.ts";
import { err, ok, type Result } from "../../core/result.ts";
import { type SelectorPair, selectorFromPrefix, type TrafficSelector } from "../../core/traffic-selector.ts";
import { IsakmpIdType } from "../../registry/index.ts";
import type { IsakmpIdPayload } from "../../wire/v1/index.ts";
import { isSubset } from "../common/selectors.ts";

/** The ID payload that says `ts`. Its port must be any, or a single one. */
export function idOf(ts: TrafficSelector): IsakmpIdPayload {
  const { startAddress, endAddress } = ts;
  const v4 = startAddress.family === 4;
  const anyPort = ts.startPort === 0 && ts.endPort === 65535;
  if (!anyPort && ts.startPort !== ts.endPort)
    throw new RangeError("IKEv1 has no words for a range of ports");
  const head = { kind: "ID", protocol: ts.protocol, port: anyPort ? 0 : ts.startPort } as const;
  if (startAddress.equals(endAddress))
    return { ...head, idType: v4 ? ID.ID_IPV4_ADDR : ID.ID_IPV6_ADDR, data: startAddress.bytes };
  const mask = maskOf(startAddress, endAddress);
  if (mask)
    return {
      ...head,
      idType: v4 ? ID.ID_IPV4_ADDR_SUBNET : ID.ID_IPV6_ADDR_SUBNET,
      data: Uint8Array.from([...startAddress.bytes, ...mask]),
    };
  return {
    ...head,
    idType: v4 ? ID.ID_IPV4_ADDR_RANGE : ID.ID_IPV6_ADDR_RANGE,
    data: Uint8Array.from([...startAddress.bytes, ...endAddress.bytes]),
  };
}

/** The selector that an ID payload says, or why it says none. */
export function selectorOf(id: IsakmpIdPayload): Result<TrafficSelector, string> {
  const form = forms.get(id.idType);
  if (!form) return err(`${IsakmpIdType.nameOf(id.idType)} where an address is expected`);
  if (id.data.length !== form.bytes * (form.kind === "address" ? 1 : 2))
    return err(`${IsakmpIdType.nameOf(id.idType)} with ${id.data.length} octets`);
  const first = IpAddress.fromBytes(id.data.subarray(0, form.bytes));
  const second = id.data.subarray(form.bytes);
  let ends: Pick<TrafficSelector, "startAddress" | "endAddress">;
  if (form.kind === "address") ends = { startAddress: first, endAddress: first };
  else if (form.kind === "range") {
    ends = { startAddress: first, endAddress: IpAddress.fromBytes(second) };
    if (compareBytes(first.bytes, second) > 0) return err("a range that ends before it begins");
  } else {
    const length = maskLength(second);
    if (length === undefined) return err("a subnet whose mask has holes");
    const prefix = new Prefix(first, length);
    ends = { startAddress: prefix.first, endAddress: prefix.last };
  }
  // RFC 2407 §4.6.2: a protocol or a port of 0 is any; without a protocol a port means nothing.
  const port = id.protocol === 0 || id.port === 0 ? undefined : id.port;
  return ok({ protocol: id.protocol, startPort: port ?? 0, endPort: port ?? 65535, ...ends });
}

/**
 * Both ends of a quick mode. RFC 2409 §5.5: without IDs they are the addresses of the two sides; with one ID the message
 * is not one.
 */
export function pairOf(
  ids: { readonly local: IsakmpIdPayload | undefined; readonly remote: IsakmpIdPayload | undefined },
  addresses: { readonly local: IpAddress; readonly remote: IpAddress },
): Result<SelectorPair, string> {
  if (!ids.local && !ids.remote)
    return ok({ local: hostSelector(addresses.local), remote: hostSelector(addresses.remote) });
  if (!ids.local || !ids.remote) return err("one ID payload where two are expected");
  const local = selectorOf(ids.local);
  if (!local.ok) return local;
  const remote = selectorOf(ids.remote);
  if (!remote.ok) return remote;
  if (local.value.startAddress.family !== remote.value.startAddress.family)
    return err("IPv4 at one end and IPv6 at the other");
  return ok({ local: local.value, remote: remote.value });
}

/** Everything of `pair` is permitted. */
export function isPermitted(
  own: {
    readonly localSelectors: readonly TrafficSelector[];
    readonly remoteSelectors: readonly TrafficSelector[];
  },
  { local, remote }: SelectorPair,
): boolean {
  return isSubset([local], own.localSelectors) && isSubset([remote], own.remoteSelectors);
}

export const hostSelector = (address: IpAddress): TrafficSelector =>
  selectorFromPrefix(new Prefix(address, address.bytes.length * 8));

/** The mask of a range that is exactly one prefix. */
function maskOf(first: IpAddress, last: IpAddress): Uint8Array | undefined {
  const mask = first.bytes.map((octet, i) => ~(octet ^ last.bytes[i]!) & 0xff);
  const length = maskLength(mask);
  return length !== undefined && new Prefix(first, length).last.equals(last) && isBase(first, length)
    ? mask
    : undefined;
}

const isBase = (address: IpAddress, length: number): boolean =>
  new Prefix(address, length).first.equals(address);

/** Of a mask that is ones and then zeros. */
function maskLength(mask: Uint8Array): number | undefined {
  let length = 0;
  while (length < mask.length * 8 && bit(mask, length) === 1) length++;
  for (let i = length; i < mask.length * 8; i++) if (bit(mask, i) === 1) return undefined;
  return length;
}

const bit = (bytes: Uint8Array, i: number): number => (bytes[i >> 3]! >> (7 - (i & 7))) & 1;

const ID = IsakmpIdType.code;

interface Form {
  readonly kind: "address" | "subnet" | "range";
  /** Octets of one address. */
  readonly bytes: 4 | 16;
}

const forms: ReadonlyMap<number, Form> = new Map([
  [ID.ID_IPV4_ADDR, { kind: "address", bytes: 4 }],
  [ID.ID_IPV4_ADDR_SUBNET, { kind: "subnet", bytes: 4 }],
  [ID.ID_IPV4_ADDR_RANGE, { kind: "range", bytes: 4 }],
  [ID.ID_IPV6_ADDR, { kind: "address", bytes: 16 }],
  [ID.ID_IPV6_ADDR_SUBNET, { kind: "subnet", bytes: 16 }],
  [ID.ID_IPV6_ADDR_RANGE, { kind: "range", bytes: 16 }],
]);
