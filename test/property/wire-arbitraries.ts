/** Arbitrary IKEv2 messages for properties and fuzzing. */
import fc from "fast-check";
import { IpAddress } from "../../src/core/address.ts";
import type { TrafficSelector } from "../../src/core/traffic-selector.ts";
import { IdType, PayloadType } from "../../src/registry/index.ts";
import type { IkeHeader, PlainPayload } from "../../src/wire/index.ts";

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 65535 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const octets = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const data = octets(0, 64);

export const header: fc.Arbitrary<IkeHeader> = fc.record({
  spiInitiator: u64,
  spiResponder: u64,
  exchangeType: u8,
  initiator: fc.boolean(),
  response: fc.boolean(),
  messageId: u32,
});

const attribute = fc.oneof(
  // Type 14 in the short form is the Key Length, which has a field of its own.
  fc.record({
    type: fc.integer({ min: 15, max: 0x7fff }),
    shortForm: fc.constant(true),
    value: octets(2, 2),
  }),
  fc.record({
    type: fc.integer({ min: 0, max: 0x7fff }),
    shortForm: fc.constant(false),
    value: octets(0, 12),
  }),
);

const transform = fc.record(
  { type: u8, id: u16, keyBits: u16, unknownAttributes: fc.array(attribute, { minLength: 1, maxLength: 3 }) },
  { requiredKeys: ["type", "id"] },
);

const proposal = fc.record({
  number: u8,
  protocolId: u8,
  spi: fc.oneof(octets(0, 0), octets(4, 4), octets(8, 8), octets(0, 255)),
  transforms: fc.array(transform, { maxLength: 6 }),
});

function selector(length: 4 | 16): fc.Arbitrary<TrafficSelector> {
  return fc
    .record({
      protocol: u8,
      startPort: u16,
      endPort: u16,
      a: octets(length, length),
      b: octets(length, length),
    })
    .map(({ a, b, ...rest }) => {
      const [low, high] = Buffer.compare(a, b) <= 0 ? [a, b] : [b, a];
      return { ...rest, startAddress: IpAddress.fromBytes(low), endAddress: IpAddress.fromBytes(high) };
    });
}

const unknownSelector = fc.record({
  tsType: u8.filter((type) => type !== 7 && type !== 8),
  protocol: u8,
  body: octets(0, 40),
});

const ts = <K extends "TSi" | "TSr">(kind: K) =>
  fc.record(
    {
      kind: fc.constant(kind),
      selectors: fc.array(fc.oneof(selector(4), selector(16)), { minLength: 1, maxLength: 5 }),
      unknownSelectors: fc.array(unknownSelector, { minLength: 1, maxLength: 2 }),
    },
    { requiredKeys: ["kind", "selectors"] },
  );

const id = <K extends "IDi" | "IDr">(kind: K) =>
  fc.oneof(
    fc.record({ kind: fc.constant(kind), idType: fc.constant(IdType.code.ID_IPV4_ADDR), data: octets(4, 4) }),
    fc.record({
      kind: fc.constant(kind),
      idType: fc.constant(IdType.code.ID_IPV6_ADDR),
      data: octets(16, 16),
    }),
    fc.record({ kind: fc.constant(kind), idType: u8.filter((type) => type !== 1 && type !== 5), data }),
  );

const knownTypes = new Set<number>(Object.values(PayloadType.code));
// Types of PayloadType that this program does not decode stay unknown payloads.
for (const type of [PayloadType.code.GSPM, PayloadType.code.PS]) knownTypes.delete(type);

export const payloadArbitraries = {
  SA: fc.record({ kind: fc.constant("SA"), proposals: fc.array(proposal, { minLength: 1, maxLength: 4 }) }),
  KE: fc.record({ kind: fc.constant("KE"), dhGroup: u16, data: octets(0, 512) }),
  IDi: id("IDi"),
  IDr: id("IDr"),
  CERT: fc.record({ kind: fc.constant("CERT"), encoding: u8, data }),
  CERTREQ: fc.record({ kind: fc.constant("CERTREQ"), encoding: u8, data }),
  AUTH: fc.record({ kind: fc.constant("AUTH"), method: u8, data }),
  Nonce: fc.record({ kind: fc.constant("Nonce"), nonce: octets(16, 256) }),
  N: fc.record({ kind: fc.constant("N"), protocolId: u8, spi: octets(0, 255), type: u16, data }),
  D: fc.record({ kind: fc.constant("D"), protocolId: u8, spis: fc.array(u32, { maxLength: 20 }) }),
  V: fc.record({ kind: fc.constant("V"), data }),
  TSi: ts("TSi"),
  TSr: ts("TSr"),
  CP: fc.record({
    kind: fc.constant("CP"),
    cfgType: u8,
    attributes: fc.array(fc.record({ type: fc.integer({ min: 0, max: 0x7fff }), value: octets(0, 20) }), {
      maxLength: 5,
    }),
  }),
  EAP: fc.record({ kind: fc.constant("EAP"), data }),
  unknown: fc.record({
    kind: fc.constant("unknown"),
    type: u8.filter((type) => !knownTypes.has(type)),
    critical: fc.boolean(),
    body: data,
  }),
} satisfies { [K in PlainPayload["kind"]]: fc.Arbitrary<Extract<PlainPayload, { kind: K }>> };

export const payload: fc.Arbitrary<PlainPayload> = fc.oneof(...Object.values(payloadArbitraries));
export const payloads = fc.array(payload, { maxLength: 12 });
