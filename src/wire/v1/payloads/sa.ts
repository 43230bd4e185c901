import { attemptDecode } from "../../../core/errors.ts";
import { IsakmpDoi, IsakmpPayloadType, SIT_IDENTITY_ONLY } from "../../../registry/index.ts";
import { type Codec, Reader, Writer } from "../../cursor.ts";

/** Security Association payload of the IPsec DOI, with its proposals and transforms (RFC 2408 §3.4 to §3.6). */
export interface IsakmpSaPayload {
  readonly kind: "SA";
  /** IsakmpDoi: IPSEC. */
  readonly doi: number;
  /** SIT_IDENTITY_ONLY. */
  readonly situation: number;
  readonly proposals: readonly IsakmpProposal[];
}

/** Proposals with one number belong together (ESP and IPComp, say); those with another are alternatives. */
export interface IsakmpProposal {
  readonly number: number;
  /** IsakmpProtocol. */
  readonly protocol: number;
  /** 4 octets for ESP and AH. In phase 1 nothing, or what RFC 2408 §3.5 says to ignore. */
  readonly spi: Uint8Array;
  /** Alternatives, the preferred one first. */
  readonly transforms: readonly IsakmpTransform[];
}

export interface IsakmpTransform {
  readonly number: number;
  /** KEY_IKE in phase 1, EspTransform in phase 2. */
  readonly id: number;
  readonly attributes: readonly IsakmpAttribute[];
}

/**
 * Phase1Attribute or IpsecAttribute. A number is the short form, 0 to 65535; octets are the long one, whose value may
 * be a number nevertheless: `attributeNumber`.
 */
export interface IsakmpAttribute {
  /** 0 to 32767. */
  readonly type: number;
  readonly value: number | Uint8Array;
}

/** An attribute whose value is a number: in the short form where it fits, else in four octets. */
export function numberAttribute(type: number, value: number): IsakmpAttribute {
  if (value <= 0xffff) return { type, value };
  const octets = new Uint8Array(4);
  new DataView(octets.buffer).setUint32(0, value);
  return { type, value: octets };
}

/** The number that an attribute stands for, in either form; undefined when it has none or one beyond 2^53 − 1. */
export function attributeNumber({ value }: IsakmpAttribute): number | undefined {
  if (typeof value === "number") return value;
  if (value.length === 0) return undefined;
  let number = 0;
  for (const octet of value) number = number * 0x100 + octet;
  return Number.isSafeInteger(number) ? number : undefined;
}

/** More proposals and transforms than this in one payload are an attack on the negotiation, not an offer. */
const MAX_TRANSFORMS = 1024;
const MAX_ATTRIBUTES = 64;
const SHORT_FORM = 0x8000;
const { NONE, P, T } = IsakmpPayloadType.code;

/* !              Domain of Interpretation  (DOI)                  !
   !                           Situation                           !    RFC 2408 §3.4, RFC 2407 §4.6.1 */

export const isakmpSaPayload: Codec<IsakmpSaPayload> = {
  decode(r) {
    const doi = r.u32("DOI");
    if (doi !== IsakmpDoi.code.IPSEC) r.fail("DOI", `is ${doi}, not that of IPsec`);
    const situation = r.u32("Situation");
    // SIT_SECRECY and SIT_INTEGRITY would put labels here, and what other bits would is unknown.
    if (situation !== SIT_IDENTITY_ONLY) r.fail("Situation", `is ${situation}, not SIT_IDENTITY_ONLY`);
    const proposals: IsakmpProposal[] = [];
    const budget = { transforms: MAX_TRANSFORMS };
    for (let more = true; more; ) {
      const next = r.u8("Next Payload");
      if (next !== NONE && next !== P) r.fail("Next Payload", `is ${next}, not 0 or 2`);
      more = next === P;
      proposals.push(decodeProposal(r, budget));
    }
    r.end();
    return { kind: "SA", doi, situation, proposals };
  },
  encode(w, sa) {
    w.u32(sa.doi).u32(sa.situation);
    const last = sa.proposals.length - 1;
    for (let i = 0; i <= last; i++) encodeProposal(w, sa.proposals[i]!, i < last ? P : NONE);
  },
};

/* ! Next Payload  !   RESERVED    !         Payload Length        !
   !  Proposal #   !  Protocol-Id  !    SPI Size   !# of Transforms!
   !                        SPI (variable)                         !    RFC 2408 §3.5 */

function decodeProposal(outer: Reader, budget: { transforms: number }): IsakmpProposal {
  outer.u8("RESERVED");
  const length = outer.u16("Proposal Length");
  if (length < 8) outer.fail("Proposal Length", `is ${length}, less than its own header`);
  const r = outer.sub(length - 4, "Proposal");
  const number = r.u8("Proposal #");
  const protocol = r.u8("Protocol-Id");
  const spiSize = r.u8("SPI Size");
  const count = r.u8("# of Transforms");
  const spi = r.view(spiSize, "SPI");
  budget.transforms -= 1 + count;
  if (budget.transforms < 0)
    r.fail("# of Transforms", `more than ${MAX_TRANSFORMS} with their proposals in one SA payload`);
  const transforms: IsakmpTransform[] = [];
  for (let i = 0; i < count; i++) {
    const next = r.u8("Next Payload");
    const expected = i < count - 1 ? T : NONE;
    if (next !== expected) r.fail("Next Payload", `is ${next} in transform ${i + 1} of ${count}`);
    transforms.push(decodeTransform(r));
  }
  r.end();
  return { number, protocol, spi, transforms };
}

function encodeProposal(w: Writer, proposal: IsakmpProposal, next: number): void {
  const start = w.length;
  w.u8(next).u8(0).u16(0);
  w.u8(proposal.number).u8(proposal.protocol).u8(proposal.spi.length).u8(proposal.transforms.length);
  w.bytes(proposal.spi);
  const last = proposal.transforms.length - 1;
  for (let i = 0; i <= last; i++) encodeTransform(w, proposal.transforms[i]!, i < last ? T : NONE);
  w.patchU16(start + 2, w.length - start);
}

/* ! Next Payload  !   RESERVED    !         Payload Length        !
   !  Transform #  !  Transform-Id !           RESERVED2           !
   ~                        SA Attributes                          ~    RFC 2408 §3.6 */

function decodeTransform(outer: Reader): IsakmpTransform {
  outer.u8("RESERVED");
  const length = outer.u16("Transform Length");
  if (length < 8) outer.fail("Transform Length", `is ${length}, less than its own header`);
  const r = outer.sub(length - 4, "Transform");
  const number = r.u8("Transform #");
  const id = r.u8("Transform-Id");
  r.u16("RESERVED2");
  const attributes: IsakmpAttribute[] = [];
  while (r.remaining > 0) {
    if (attributes.length === MAX_ATTRIBUTES)
      r.fail("Attribute Type", `more than ${MAX_ATTRIBUTES} attributes`);
    attributes.push(decodeAttribute(r));
  }
  return { number, id, attributes };
}

function encodeTransform(w: Writer, transform: IsakmpTransform, next: number): void {
  const start = w.length;
  w.u8(next).u8(0).u16(0);
  w.u8(transform.number).u8(transform.id).u16(0);
  for (const attribute of transform.attributes) encodeAttribute(w, attribute);
  w.patchU16(start + 2, w.length - start);
}

/* !A!       Attribute Type        !    AF=0  Attribute Length     !
   !F!                             !    AF=1  Attribute Value      !
   .                   AF=0  Attribute Value                       .
   .                   AF=1  Not Transmitted                       .    RFC 2408 §3.3 */

function decodeAttribute(r: Reader): IsakmpAttribute {
  const field = r.u16("Attribute Type");
  const type = field & ~SHORT_FORM;
  if ((field & SHORT_FORM) !== 0) return { type, value: r.u16("Attribute Value") };
  const length = r.u16("Attribute Length");
  return { type, value: r.view(length, "Attribute Value") };
}

function encodeAttribute(w: Writer, { type, value }: IsakmpAttribute): void {
  if (type > 0x7fff) throw new RangeError(`there is no attribute type ${type}`);
  if (typeof value === "number") w.u16(SHORT_FORM | type).u16(value);
  else w.u16(type).u16(value.length).bytes(value);
}

/** A list of attributes that stands alone: the data of a RESPONDER-LIFETIME notification (RFC 2407 §4.6.3.1). */
export function encodeIsakmpAttributes(attributes: readonly IsakmpAttribute[]): Uint8Array {
  const w = new Writer();
  for (const attribute of attributes) encodeAttribute(w, attribute);
  return w.done();
}

/** Undefined when the octets are not such a list. */
export function decodeIsakmpAttributes(bytes: Uint8Array): IsakmpAttribute[] | undefined {
  return attemptDecode(() => {
    const r = new Reader(bytes, "attributes");
    const attributes: IsakmpAttribute[] = [];
    while (r.remaining > 0) {
      if (attributes.length === MAX_ATTRIBUTES)
        r.fail("Attribute Type", `more than ${MAX_ATTRIBUTES} attributes`);
      attributes.push(decodeAttribute(r));
    }
    return attributes;
  });
}
