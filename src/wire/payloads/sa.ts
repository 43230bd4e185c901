import { TransformAttribute } from "../../registry/index.ts";
import type { Codec, Reader, Writer } from "../cursor.ts";

/** Security Association payload (RFC 7296 §3.3). */
export interface SaPayload {
  readonly kind: "SA";
  readonly proposals: readonly Proposal[];
}

export interface Proposal {
  /** 1 for the first offer, rising by one; an answer repeats the number of the chosen offer. */
  readonly number: number;
  readonly protocolId: number;
  /** Empty, 4 octets (ESP, AH) or 8 (IKE, when rekeying). */
  readonly spi: Uint8Array;
  readonly transforms: readonly Transform[];
}

export interface Transform {
  readonly type: number;
  readonly id: number;
  /** The Key Length attribute. */
  readonly keyBits?: number | undefined;
  /** RFC 7296 §3.3.6: a transform with an attribute nobody understands must not be chosen. */
  readonly unknownAttributes?: readonly UnknownAttribute[];
}

export interface UnknownAttribute {
  /** 0 to 32767. */
  readonly type: number;
  /** Two octets in the short form (the AF bit), any number in the long one. */
  readonly shortForm: boolean;
  readonly value: Uint8Array;
}

/** More transforms than this in one payload is an attack on the negotiation, not an offer. */
const MAX_TRANSFORMS = 1024;
const MORE_PROPOSALS = 2;
const MORE_TRANSFORMS = 3;
const SHORT_FORM = 0x8000;

export const saPayload: Codec<SaPayload> = {
  decode(r) {
    const proposals: Proposal[] = [];
    const budget = { transforms: MAX_TRANSFORMS };
    for (let more = true; more; ) {
      const last = r.u8("Last Substruc");
      if (last !== 0 && last !== MORE_PROPOSALS) r.fail("Last Substruc", `is ${last}, not 0 or 2`);
      more = last === MORE_PROPOSALS;
      proposals.push(decodeProposal(r, budget));
    }
    r.end();
    return { kind: "SA", proposals };
  },
  encode(w, sa) {
    for (const [i, proposal] of sa.proposals.entries())
      encodeProposal(w, proposal, i < sa.proposals.length - 1 ? MORE_PROPOSALS : 0);
  },
};

/* | Last Substruc |   RESERVED    |         Proposal Length       |
   | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
   ~                        SPI (variable)                         ~
   ~                        <Transforms>                           ~    RFC 7296 §3.3.1 */

function decodeProposal(outer: Reader, budget: { transforms: number }): Proposal {
  outer.u8("RESERVED");
  const length = outer.u16("Proposal Length");
  if (length < 8) outer.fail("Proposal Length", `is ${length}, less than its own header`);
  const r = outer.sub(length - 4, "Proposal");
  const number = r.u8("Proposal Num");
  const protocolId = r.u8("Protocol ID");
  const spiSize = r.u8("SPI Size");
  const count = r.u8("Num Transforms");
  const spi = r.view(spiSize, "SPI");
  budget.transforms -= count;
  if (budget.transforms < 0) r.fail("Num Transforms", `more than ${MAX_TRANSFORMS} in one SA payload`);
  const transforms: Transform[] = [];
  for (let i = 0; i < count; i++) {
    const last = r.u8("Last Substruc");
    const expected = i < count - 1 ? MORE_TRANSFORMS : 0;
    if (last !== expected) r.fail("Last Substruc", `is ${last} in transform ${i + 1} of ${count}`);
    transforms.push(decodeTransform(r));
  }
  r.end();
  return { number, protocolId, spi, transforms };
}

function encodeProposal(w: Writer, proposal: Proposal, last: number): void {
  const start = w.length;
  w.u8(last).u8(0).u16(0);
  w.u8(proposal.number).u8(proposal.protocolId).u8(proposal.spi.length).u8(proposal.transforms.length);
  w.bytes(proposal.spi);
  for (const [i, transform] of proposal.transforms.entries())
    encodeTransform(w, transform, i < proposal.transforms.length - 1 ? MORE_TRANSFORMS : 0);
  w.patchU16(start + 2, w.length - start);
}

/* | Last Substruc |   RESERVED    |        Transform Length       |
   |Transform Type |   RESERVED    |          Transform ID         |
   ~                      Transform Attributes                     ~    RFC 7296 §3.3.2 */

function decodeTransform(outer: Reader): Transform {
  outer.u8("RESERVED");
  const length = outer.u16("Transform Length");
  if (length < 8) outer.fail("Transform Length", `is ${length}, less than its own header`);
  const r = outer.sub(length - 4, "Transform");
  const type = r.u8("Transform Type");
  r.u8("RESERVED");
  const id = r.u16("Transform ID");
  let keyBits: number | undefined;
  const unknownAttributes: UnknownAttribute[] = [];
  while (r.remaining > 0) {
    const { attribute, shortValue } = decodeAttribute(r);
    // A second Key Length is as senseless as an unknown attribute, and makes the transform just as unusable.
    if (attribute.type === KEY_LENGTH && shortValue !== undefined && keyBits === undefined)
      keyBits = shortValue;
    else unknownAttributes.push(attribute);
  }
  return {
    type,
    id,
    ...(keyBits !== undefined && { keyBits }),
    ...(unknownAttributes.length > 0 && { unknownAttributes }),
  };
}

function encodeTransform(w: Writer, transform: Transform, last: number): void {
  const start = w.length;
  w.u8(last).u8(0).u16(0);
  w.u8(transform.type).u8(0).u16(transform.id);
  if (transform.keyBits !== undefined) w.u16(SHORT_FORM | KEY_LENGTH).u16(transform.keyBits);
  for (const attribute of transform.unknownAttributes ?? []) encodeAttribute(w, attribute);
  w.patchU16(start + 2, w.length - start);
}

/* |A|       Attribute Type        |    AF=0  Attribute Length     |
   |F|                             |    AF=1  Attribute Value      |
   |                   AF=0  Attribute Value                       |
   |                   AF=1  Not Transmitted                       |    RFC 7296 §3.3.5 */

function decodeAttribute(r: Reader): { attribute: UnknownAttribute; shortValue: number | undefined } {
  const typeField = r.u16("Attribute Type");
  const type = typeField & ~SHORT_FORM;
  if ((typeField & SHORT_FORM) !== 0) {
    const value = r.view(2, "Attribute Value");
    return { attribute: { type, shortForm: true, value }, shortValue: (value[0]! << 8) | value[1]! };
  }
  const length = r.u16("Attribute Length");
  return {
    attribute: { type, shortForm: false, value: r.view(length, "Attribute Value") },
    shortValue: undefined,
  };
}

function encodeAttribute(w: Writer, attribute: UnknownAttribute): void {
  if (attribute.shortForm) {
    if (attribute.value.length !== 2) throw new RangeError("a short attribute has two octets of value");
    w.u16(SHORT_FORM | attribute.type).bytes(attribute.value);
  } else {
    w.u16(attribute.type).u16(attribute.value.length).bytes(attribute.value);
  }
}

const KEY_LENGTH = TransformAttribute.code.KEY_LENGTH;
