/** Arbitrary IKEv1 messages for properties and fuzzing. */
import fc from "fast-check";
import { IsakmpIdType, IsakmpPayloadType } from "../../src/registry/index.ts";
import type { IsakmpHeader, IsakmpPayload } from "../../src/wire/v1/index.ts";

const u8 = fc.integer({ min: 0, max: 255 });
const u16 = fc.integer({ min: 0, max: 65535 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const octets = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const data = octets(0, 64);

export const isakmpHeader: fc.Arbitrary<IsakmpHeader> = fc.record({
  spiInitiator: u64,
  spiResponder: u64,
  exchangeType: u8,
  messageId: u32,
  commit: fc.boolean(),
  authenticationOnly: fc.boolean(),
});

const attribute = fc.record({
  type: fc.integer({ min: 0, max: 0x7fff }),
  value: fc.oneof(u16, octets(0, 12)),
});
const transform = fc.record({ number: u8, id: u8, attributes: fc.array(attribute, { maxLength: 8 }) });
const proposal = fc.record({
  number: u8,
  protocol: u8,
  spi: fc.oneof(octets(0, 0), octets(4, 4), octets(8, 8), octets(0, 255)),
  transforms: fc.array(transform, { maxLength: 6 }),
});

const ID = IsakmpIdType.code;
const idLengths: readonly (readonly [type: number, bytes: number])[] = [
  [ID.ID_IPV4_ADDR, 4],
  [ID.ID_IPV4_ADDR_SUBNET, 8],
  [ID.ID_IPV4_ADDR_RANGE, 8],
  [ID.ID_IPV6_ADDR, 16],
  [ID.ID_IPV6_ADDR_SUBNET, 32],
  [ID.ID_IPV6_ADDR_RANGE, 32],
];
const id = (idType: fc.Arbitrary<number>, content: fc.Arbitrary<Uint8Array>) =>
  fc.record({ kind: fc.constant("ID"), idType, protocol: u8, port: u16, data: content });

const opaque = <K extends "KE" | "HASH" | "VID" | "CERT" | "CR" | "SIG">(kind: K) =>
  fc.record({ kind: fc.constant(kind), data: kind === "KE" ? octets(0, 512) : data });

const knownTypes = new Set<number>(Object.values(IsakmpPayloadType.code));
// Types of IsakmpPayloadType that this program does not decode stay unknown payloads.
for (const type of [2, 3, 14, 15, 16, 17, 18, 19]) knownTypes.delete(type);

export const isakmpPayloadArbitraries = {
  SA: fc.record({
    kind: fc.constant("SA"),
    doi: fc.constant(1),
    situation: fc.constant(1),
    proposals: fc.array(proposal, { minLength: 1, maxLength: 4 }),
  }),
  KE: opaque("KE"),
  ID: fc.oneof(
    ...idLengths.map(([type, bytes]) => id(fc.constant(type), octets(bytes, bytes))),
    id(
      u8.filter((type) => !idLengths.some(([known]) => known === type)),
      data,
    ),
  ),
  CERT: opaque("CERT"),
  CR: opaque("CR"),
  HASH: opaque("HASH"),
  SIG: opaque("SIG"),
  NONCE: fc.record({ kind: fc.constant("NONCE"), nonce: octets(8, 256) }),
  N: fc.record({ kind: fc.constant("N"), doi: u32, protocol: u8, spi: octets(0, 255), type: u16, data }),
  D: fc.record({
    kind: fc.constant("D"),
    doi: u32,
    protocol: u8,
    spis: fc.oneof(
      fc.array(octets(4, 4), { maxLength: 20 }),
      fc.array(octets(16, 16), { maxLength: 3 }),
      fc.array(octets(255, 255), { maxLength: 3 }),
    ),
  }),
  VID: opaque("VID"),
  "NAT-D": fc.record({ kind: fc.constant("NAT-D"), draft: fc.boolean(), hash: data }),
  "NAT-OA": fc.record({
    kind: fc.constant("NAT-OA"),
    draft: fc.boolean(),
    address: fc.oneof(octets(4, 4), octets(16, 16)),
  }),
  FRAGMENT: fc.record({
    kind: fc.constant("FRAGMENT"),
    id: u16,
    number: fc.integer({ min: 1, max: 255 }),
    last: fc.boolean(),
    data: octets(1, 64),
  }),
  unknown: fc.record({
    kind: fc.constant("unknown"),
    type: u8.filter((type) => !knownTypes.has(type)),
    data,
  }),
} satisfies { [K in IsakmpPayload["kind"]]: fc.Arbitrary<Extract<IsakmpPayload, { kind: K }>> };

export const isakmpPayload: fc.Arbitrary<IsakmpPayload> = fc.oneof(
  ...Object.values(isakmpPayloadArbitraries),
);
export const isakmpPayloads = fc.array(isakmpPayload, { maxLength: 12 });
