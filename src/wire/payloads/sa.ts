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
  readonly unknownAttributes?: readonly UnknownAttribute[] | undefined;
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
    const last = sa.proposals.length - 1;
    for (let i = 0; i <= last; i++) encodeProposal(w, sa.proposals[i]!, i < last ? MORE_PROPOSALS : 0);
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
  const lastTransform = proposal.transforms.length - 1;
  for (let i = 0; i <= lastTransform; i++)
    encodeTransform(w, proposal.transforms[i]!, i < lastTransform ? MORE_TRANSFORMS : 0);
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
  let unknownAttributes: UnknownAttribute[] | undefined;
  while (r.remaining > 0) {
    const typeField = r.u16("Attribute Type");
    // A second Key Length is as senseless as an unknown attribute, and makes the transform just as unusable.
    if (typeField === (SHORT_FORM | KEY_LENGTH) && keyBits === undefined) {
      keyBits = r.u16("Attribute Value");
      continue;
    }
    const attribute = decodeAttribute(r, typeField);
    if (unknownAttributes) unknownAttributes.push(attribute);
    else unknownAttributes = [attribute];
  }
  return { type, id, keyBits, unknownAttributes };
}

function encodeTransform(w: Writer, transform: Transform, last: number): void {
  const start = w.length;
  w.u8(last).u8(0).u16(0);
  w.u8(transform.type).u8(0).u16(transform.id);
  if (transform.keyBits !== undefined) w.u16(SHORT_FORM | KEY_LENGTH).u16(transform.keyBits);
  if (transform.unknownAttributes)
    for (const attribute of transform.unknownAttributes) encodeAttribute(w, attribute);
  w.patchU16(start + 2, w.length - start);
}

/* |A|       Attribute Type        |    AF=0  Attribute Length     |
   |F|                             |    AF=1  Attribute Value      |
   |                   AF=0  Attribute Value                       |
   |                   AF=1  Not Transmitted                       |    RFC 7296 §3.3.5 */

function decodeAttribute(r: Reader, typeField: number): UnknownAttribute {
  const type = typeField & ~SHORT_FORM;
  if ((typeField & SHORT_FORM) !== 0) return { type, shortForm: true, value: r.view(2, "Attribute Value") };
  const length = r.u16("Attribute Length");
  return { type, shortForm: false, value: r.view(length, "Attribute Value") };
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
