import { compareBytes, IpAddress } from "../../core/address.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import { TsType } from "../../registry/index.ts";
import type { Codec, Reader, Writer } from "../cursor.ts";

/** Traffic Selector payload (RFC 7296 §3.13). */
export interface TsPayload<K extends "TSi" | "TSr" = "TSi" | "TSr"> {
  readonly kind: K;
  readonly selectors: readonly TrafficSelector[];
  /** Selectors of types that are not address ranges, kept so that they can be reported. */
  readonly unknownSelectors?: readonly UnknownSelector[];
}

export interface UnknownSelector {
  readonly tsType: number;
  /** The octet that is the IP Protocol ID in address ranges. */
  readonly protocol: number;
  /** Everything after the Selector Length. */
  readonly body: Uint8Array;
}

/* | Number of TSs |                 RESERVED                      |
   ~                       <Traffic Selectors>                     ~    RFC 7296 §3.13 */

const tsCodec = <K extends "TSi" | "TSr">(kind: K): Codec<TsPayload<K>> => ({
  decode(r) {
    const count = r.u8("Number of TSs");
    r.u24("RESERVED");
    if (count === 0) r.fail("Number of TSs", "is 0, at least one is required");
    const selectors: TrafficSelector[] = [];
    const unknownSelectors: UnknownSelector[] = [];
    for (let i = 0; i < count; i++) decodeSelector(r, selectors, unknownSelectors);
    r.end();
    return unknownSelectors.length === 0 ? { kind, selectors } : { kind, selectors, unknownSelectors };
  },
  encode(w, ts) {
    const unknown = ts.unknownSelectors ?? [];
    w.u8(ts.selectors.length + unknown.length).u24(0);
    for (const selector of ts.selectors) encodeSelector(w, selector);
    for (const { tsType, protocol, body } of unknown)
      w.u8(tsType)
        .u8(protocol)
        .u16(4 + body.length)
        .bytes(body);
  },
});

export const tsiPayload = tsCodec("TSi");
export const tsrPayload = tsCodec("TSr");

/* |   TS Type     |IP Protocol ID*|       Selector Length         |
   |           Start Port*         |           End Port*           |
   ~                         Starting Address*                     ~
   ~                         Ending Address*                       ~    RFC 7296 §3.13.1 */

function decodeSelector(outer: Reader, known: TrafficSelector[], unknown: UnknownSelector[]): void {
  const tsType = outer.u8("TS Type");
  const protocol = outer.u8("IP Protocol ID");
  const length = outer.u16("Selector Length");
  if (length < 4) outer.fail("Selector Length", `is ${length}, less than its own header`);
  const r = outer.sub(length - 4, "Traffic Selector");
  const addressBytes = addressBytesOf.get(tsType);
  if (addressBytes === undefined) {
    unknown.push({ tsType, protocol, body: r.rest("Traffic Selector") });
    return;
  }
  const startPort = r.u16("Start Port");
  const endPort = r.u16("End Port");
  const startAddress = IpAddress.fromBytes(r.view(addressBytes, "Starting Address"));
  const endAddress = IpAddress.fromBytes(r.view(addressBytes, "Ending Address"));
  r.end();
  if (compareBytes(startAddress.bytes, endAddress.bytes) > 0)
    r.fail("Ending Address", "is lower than the Starting Address");
  known.push({ protocol, startPort, endPort, startAddress, endAddress });
}

function encodeSelector(w: Writer, ts: TrafficSelector): void {
  const v4 = ts.startAddress.family === 4;
  w.u8(v4 ? TsType.code.TS_IPV4_ADDR_RANGE : TsType.code.TS_IPV6_ADDR_RANGE)
    .u8(ts.protocol)
    .u16(v4 ? 16 : 40)
    .u16(ts.startPort)
    .u16(ts.endPort)
    .bytes(ts.startAddress.bytes)
    .bytes(ts.endAddress.bytes);
}

const addressBytesOf: ReadonlyMap<number, number> = new Map([
  [TsType.code.TS_IPV4_ADDR_RANGE, 4],
  [TsType.code.TS_IPV6_ADDR_RANGE, 16],
]);
