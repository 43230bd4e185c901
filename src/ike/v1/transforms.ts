/**
 * Transforms of IKEv1 in the numbers of the algorithm tables (RFC 2409 appendix A, RFC 2407 §4.5). A transform names one
 * algorithm of each kind; a kind that differs is what an operator is told, so each has a name and words.
 */
import {
  EncapsulationMode,
  EspTransform,
  encrById,
  encryptionKeyword,
  groupKeyword,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpLifeType,
  ikev1EncryptionByEsp,
  ikev1EncryptionByPhase1,
  ikev1HashByAuthentication,
  ikev1HashByPhase1,
  integrityKeyword,
  KEY_IKE,
  Phase1Attribute,
  Phase1Authentication,
  Phase1Encryption,
  Phase1Hash,
} from "../../registry/index.ts";
import {
  attributeNumber,
  type IsakmpAttribute,
  type IsakmpTransform,
  numberAttribute,
} from "../../wire/v1/index.ts";

/** How long an SA may live; what is not said is not limited. */
export interface Life {
  readonly seconds: number | undefined;
  /** Of 1024 octets. */
  readonly kilobytes: number | undefined;
}

/** What a transform says about one kind of algorithm. */
export interface Said {
  readonly value: number;
  readonly text: string;
}

export interface Reading {
  /** In the order of `kinds`; a kind that is left out and whose absence says nothing is missing here. */
  readonly said: ReadonlyMap<Kind, Said>;
  readonly life: Life;
  /** Why it cannot be chosen, whatever is configured. */
  readonly problem: string | undefined;
}

export type Kind =
  | "encryption"
  | "hash"
  | "integrity"
  | "DH group"
  | "authentication"
  | "encapsulation"
  | "sequence numbers";

/** One number for a cipher and its key length. */
export const cipherValue = (id: number, keyBits: number | undefined): number => id * 1024 + (keyBits ?? 0);
export const cipherOf = (value: number): { encr: number; keyBits: number | undefined } => ({
  encr: Math.floor(value / 1024),
  keyBits: value % 1024 === 0 ? undefined : value % 1024,
});

/** What no table of ours has: nothing that is configured is equal to it. */
const unknown = -1;

/** RFC 2409 appendix A. */
export function readPhase1(transform: IsakmpTransform): Reading {
  const of = collect(transform.attributes, phase1Life);
  const said = new Map<Kind, Said>();
  said.set("encryption", cipherIn(of, P.ENCRYPTION_ALGORITHM, P.KEY_LENGTH, phase1Cipher));
  const hash = of.numbers.get(P.HASH_ALGORITHM) ?? unknown;
  const row = ikev1HashByPhase1.get(hash);
  said.set("hash", {
    value: row?.integ ?? unknown,
    text: row ? integrityKeyword(row.integ) : Phase1Hash.nameOf(hash),
  });
  said.set("DH group", groupIn(of, P.GROUP_DESCRIPTION));
  const method = of.numbers.get(P.AUTHENTICATION_METHOD) ?? unknown;
  said.set("authentication", { value: method, text: Phase1Authentication.nameOf(method) });
  const strange = transform.id === KEY_IKE ? undefined : `transform ${transform.id} instead of KEY_IKE`;
  return { said, life: of.life, problem: strange ?? of.problem ?? unread(of, phase1Known, Phase1Attribute) };
}

/** RFC 2407 §4.5. */
export function readPhase2(transform: IsakmpTransform): Reading {
  const of = collect(transform.attributes, phase2Life);
  const said = new Map<Kind, Said>();
  const cipher = cipherIn(of, transform.id, I.KEY_LENGTH, espCipher);
  said.set("encryption", cipher);
  const mac = of.numbers.get(I.AUTHENTICATION_ALGORITHM);
  const row = mac === undefined ? undefined : ikev1HashByAuthentication.get(mac);
  if (mac === undefined) said.set("integrity", { value: 0, text: "none" });
  else
    said.set("integrity", {
      value: row?.integ ?? unknown,
      text: row ? integrityKeyword(row.integ) : IpsecAuthentication.nameOf(mac),
    });
  said.set("DH group", groupIn(of, I.GROUP_DESCRIPTION));
  const mode = of.numbers.get(I.ENCAPSULATION_MODE);
  // RFC 2407 §4.5: what its absence means is for each host to say. Here it is what the path asks for.
  if (mode !== undefined) said.set("encapsulation", { value: mode, text: encapsulationText(mode) });
  const sequence = of.numbers.get(I.EXTENDED_SEQUENCE_NUMBER) ?? 0;
  said.set("sequence numbers", { value: sequence, text: sequenceText(sequence) });
  return { said, life: of.life, problem: of.problem ?? unread(of, phase2Known, IpsecAttribute) };
}

/** An algorithm of each kind, as it is offered. */
export type Chosen = ReadonlyMap<Kind, number>;

/** `lifeSeconds`: 1 to 2^32 − 1. */
export function writePhase1(number: number, chosen: Chosen, lifeSeconds: number): IsakmpTransform {
  const { encr, keyBits } = cipherOf(chosen.get("encryption")!);
  const hash = phase1HashOf.get(chosen.get("hash")!)!;
  const attributes = [
    numberAttribute(P.ENCRYPTION_ALGORITHM, phase1EncryptionOf.get(encr)!),
    ...(keyBits === undefined ? [] : [numberAttribute(P.KEY_LENGTH, keyBits)]),
    numberAttribute(P.HASH_ALGORITHM, hash),
    numberAttribute(P.GROUP_DESCRIPTION, chosen.get("DH group")!),
    numberAttribute(P.AUTHENTICATION_METHOD, chosen.get("authentication")!),
    ...lifeAttributes(phase1Life, { seconds: lifeSeconds, kilobytes: undefined }),
  ];
  return { number, id: KEY_IKE, attributes };
}

export function writePhase2(number: number, chosen: Chosen, life: Life): IsakmpTransform {
  const { encr, keyBits } = cipherOf(chosen.get("encryption")!);
  const integ = chosen.get("integrity")!;
  const group = chosen.get("DH group")!;
  const sequence = chosen.get("sequence numbers")!;
  const attributes = [
    ...lifeAttributes(phase2Life, life),
    ...(group === 0 ? [] : [numberAttribute(I.GROUP_DESCRIPTION, group)]),
    numberAttribute(I.ENCAPSULATION_MODE, chosen.get("encapsulation")!),
    ...(integ === 0 ? [] : [numberAttribute(I.AUTHENTICATION_ALGORITHM, authenticationOf.get(integ)!)]),
    ...(keyBits === undefined ? [] : [numberAttribute(I.KEY_LENGTH, keyBits)]),
    ...(sequence === 0 ? [] : [numberAttribute(I.EXTENDED_SEQUENCE_NUMBER, sequence)]),
  ];
  return { number, id: espTransformOf.get(encr)!, attributes };
}

/** The attributes of a RESPONDER-LIFETIME notification (RFC 2407 §4.6.3.1). */
export const lifetimeAttributes = (life: Life): IsakmpAttribute[] => lifeAttributes(phase2Life, life);
export const readLifetime = (attributes: readonly IsakmpAttribute[]): Life =>
  collect(attributes, phase2Life).life;

/** `aes128-sha1-modp1024`, with what is unusual about it behind. */
export function formatReading({ said }: Reading): string {
  const words: string[] = [];
  const remarks: string[] = [];
  for (const [kind, { value, text }] of said) {
    if (usual.get(kind)?.includes(value)) continue;
    if (usual.has(kind)) remarks.push(text);
    else if (text !== "none") words.push(text);
  }
  return [words.join("-"), ...remarks].join(" ");
}

export function formatValue(kind: Kind, value: number): string {
  switch (kind) {
    case "encryption": {
      const { encr, keyBits } = cipherOf(value);
      return encryptionKeyword(encr, keyBits);
    }
    case "hash":
    case "integrity":
      return value === 0 ? "none" : integrityKeyword(value);
    case "DH group":
      return value === 0 ? "none" : groupKeyword(value);
    case "authentication":
      return Phase1Authentication.nameOf(value);
    case "encapsulation":
      return encapsulationText(value);
    case "sequence numbers":
      return sequenceText(value);
  }
}

// ── Inside ─────────────────────────────────────────────────────────────────────────────────────────────────────

interface Collected {
  readonly numbers: ReadonlyMap<number, number>;
  readonly life: Life;
  readonly problem: string | undefined;
}

/** Attribute types of a lifetime: a type, then its duration, as often as there are types. */
interface LifeTypes {
  readonly type: number;
  readonly duration: number;
}

function collect(attributes: readonly IsakmpAttribute[], types: LifeTypes): Collected {
  const numbers = new Map<number, number>();
  let seconds: number | undefined;
  let kilobytes: number | undefined;
  let lifeType: number | undefined;
  let problem: string | undefined;
  for (const attribute of attributes) {
    // A duration beyond 2^53 is one without an end.
    const value = attributeNumber(attribute) ?? Number.MAX_SAFE_INTEGER;
    if (attribute.type === types.type) lifeType = value;
    else if (attribute.type === types.duration) {
      if (lifeType === undefined) problem ??= "a life duration without its type";
      // Zero would end an SA before it began: it is read as no limit, which it is where people write it.
      if (lifeType === IsakmpLifeType.code.SECONDS) seconds = atMost(seconds, value || undefined);
      else if (lifeType === IsakmpLifeType.code.KILOBYTES) kilobytes = atMost(kilobytes, value || undefined);
      lifeType = undefined;
    } else if ((numbers.get(attribute.type) ?? value) !== value) {
      problem ??= `attribute ${attribute.type} twice, with different values`;
    } else numbers.set(attribute.type, value);
  }
  return { numbers, life: { seconds, kilobytes }, problem };
}

/** The shorter of two lifetimes, of which either may be without an end. */
export function atMost(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.min(a, b);
}

/** An attribute that nobody here understands may change what the transform is: it is not for us. */
function unread(
  { numbers }: Collected,
  known: ReadonlySet<number>,
  registry: { nameOf(code: number): string },
): string | undefined {
  for (const type of numbers.keys()) if (!known.has(type)) return `${registry.nameOf(type)}: not supported`;
  return undefined;
}

interface CipherTable {
  encr(number: number): number | undefined;
  nameOf(number: number): string;
  /** Where the cipher's number is an attribute. */
  readonly attribute: boolean;
}

function cipherIn({ numbers }: Collected, type: number, lengthType: number, table: CipherTable): Said {
  const number = table.attribute ? (numbers.get(type) ?? unknown) : type;
  const encr = table.encr(number);
  const length = numbers.get(lengthType);
  if (encr === undefined)
    return { value: unknown, text: `${table.nameOf(number)}${length === undefined ? "" : `_${length}`}` };
  const row = encrById.get(encr)!;
  // RFC 3602 §5.3 has AES's key length always said; who leaves it out means the one that every AES has.
  const keyBits = length ?? (row.keyLengthAttribute ? 128 : undefined);
  const known = keyBits === undefined || (row.keyLengthAttribute && keyBits <= 512);
  return {
    value: known ? cipherValue(encr, keyBits) : unknown,
    text: encryptionKeyword(encr, keyBits),
  };
}

function groupIn({ numbers }: Collected, type: number): Said {
  const group = numbers.get(type) ?? 0;
  return { value: group, text: group === 0 ? "none" : groupKeyword(group) };
}

function lifeAttributes(types: LifeTypes, { seconds, kilobytes }: Life): IsakmpAttribute[] {
  const pair = (type: number, duration: number | undefined) =>
    duration === undefined
      ? []
      : [
          numberAttribute(types.type, type),
          numberAttribute(types.duration, Math.min(Math.max(1, Math.floor(duration)), 0xffffffff)),
        ];
  return [...pair(IsakmpLifeType.code.SECONDS, seconds), ...pair(IsakmpLifeType.code.KILOBYTES, kilobytes)];
}

const encapsulationText = (mode: number): string => EncapsulationMode.nameOf(mode);
const sequenceText = (value: number): string =>
  value === 1 ? "esn" : value === 0 ? "noesn" : `sequence numbers ${value}`;

const P = Phase1Attribute.code;
const I = IpsecAttribute.code;
const phase1Life: LifeTypes = { type: P.LIFE_TYPE, duration: P.LIFE_DURATION };
const phase2Life: LifeTypes = { type: I.SA_LIFE_TYPE, duration: I.SA_LIFE_DURATION };

/** GROUP_TYPE repeats what the group's number says. */
const phase1Known: ReadonlySet<number> = new Set([
  P.ENCRYPTION_ALGORITHM,
  P.KEY_LENGTH,
  P.HASH_ALGORITHM,
  P.GROUP_DESCRIPTION,
  P.GROUP_TYPE,
  P.AUTHENTICATION_METHOD,
]);
/** ECN_TUNNEL changes what a host does with two bits, and nothing that the peer must know. */
const phase2Known: ReadonlySet<number> = new Set([
  I.GROUP_DESCRIPTION,
  I.ENCAPSULATION_MODE,
  I.AUTHENTICATION_ALGORITHM,
  I.KEY_LENGTH,
  I.ECN_TUNNEL,
  I.EXTENDED_SEQUENCE_NUMBER,
]);

const phase1Cipher: CipherTable = {
  encr: (number) => ikev1EncryptionByPhase1.get(number)?.encr,
  nameOf: (number) => Phase1Encryption.nameOf(number),
  attribute: true,
};
const espCipher: CipherTable = {
  encr: (number) => ikev1EncryptionByEsp.get(number)?.encr,
  nameOf: (number) => EspTransform.nameOf(number),
  attribute: false,
};

const phase1EncryptionOf = new Map([...ikev1EncryptionByPhase1].map(([number, row]) => [row.encr, number]));
const espTransformOf = new Map([...ikev1EncryptionByEsp].map(([number, row]) => [row.encr, number]));
const phase1HashOf = new Map([...ikev1HashByPhase1].map(([number, row]) => [row.integ, number]));
const authenticationOf = new Map([...ikev1HashByAuthentication].map(([number, row]) => [row.integ, number]));

/** What goes without saying, of the kinds that are no keywords. */
const usual: ReadonlyMap<Kind, readonly number[]> = new Map([
  ["authentication", [Phase1Authentication.code.PRE_SHARED_KEY]],
  [
    "encapsulation",
    [
      EncapsulationMode.code.TUNNEL,
      EncapsulationMode.code.UDP_ENCAPSULATED_TUNNEL,
      EncapsulationMode.code["UDP_ENCAPSULATED_TUNNEL (draft)"],
    ],
  ],
  ["sequence numbers", [0]],
]);
