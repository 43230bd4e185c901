/**
 * Proposals as operators write them (swanctl's syntax): keywords joined by `-`. Several words of one kind are
 * alternatives in order of preference.
 */
import { type DhRow, type EncryptionRow, everywhere, type KemRow, type KeywordRow } from "./algorithm-row.ts";
import { dhById, encrById, integById, kemById, prfById } from "./algorithms.ts";
import { dh } from "./dh-rows.ts";
import { encr } from "./encryption-rows.ts";
import { integ, prf } from "./hmac-rows.ts";
import { kem } from "./kem-rows.ts";
import type { EspSuite, IkeSuite } from "./suite.ts";
import {
  DhGroup,
  EncryptionAlgorithm,
  EsnValue,
  IntegrityAlgorithm,
  PRF,
  TransformType,
} from "./transforms.ts";

export type ProposalUse = "ike" | "esp";

/** The alternatives for one additional key exchange (RFC 9370). */
export interface AdditionalKeyExchange {
  /** TransformType ADDKE1 to ADDKE7. The exchanges are done in this order. */
  readonly type: number;
  /** Key exchange methods in order of preference; 0 (NONE) means that it may be left out. */
  readonly methods: readonly number[];
}

/** A proposal in transform numbers, each list in order of preference. */
export interface ParsedProposal {
  /** The operator's own words. */
  readonly text: string;
  readonly encryption: readonly { readonly id: number; readonly keyBits: number | undefined }[];
  /** Empty when the encryption is AEAD. */
  readonly integrity: readonly number[];
  /** Empty in an ESP proposal. */
  readonly prf: readonly number[];
  /** In an ESP proposal: PFS. */
  readonly groups: readonly number[];
  /** Ascending types, each once; `ke1_mlkem768` and such. */
  readonly additionalKeyExchanges: readonly AdditionalKeyExchange[];
  /** ESP only: `esn` and `noesn` words (EsnValue); empty when none was written. */
  readonly esn: readonly number[];
  /** False when this build cannot run a word of it; `unimplemented` names them. */
  readonly implemented: boolean;
  readonly unimplemented: readonly string[];
  /** Words that work and are in no default, with the reason. */
  readonly weak: readonly { readonly keyword: string; readonly reason: string }[];
}

/** The text is not a proposal. `word` is the culprit, or the whole text when a kind is missing. */
export class ProposalError extends Error {
  override readonly name = "ProposalError";
  readonly word: string;
  constructor(word: string, problem: string) {
    super(problem);
    this.word = word;
  }
}

/** Parses swanctl's keywords. Throws ProposalError, whose message names the word and what is allowed. */
export function parseProposal(text: string, use: ProposalUse): ParsedProposal {
  const encryption: { id: number; keyBits: number | undefined }[] = [];
  const integrity: number[] = [];
  const prfs: number[] = [];
  const groups: number[] = [];
  const additional = new Map<number, number[]>();
  const esn: number[] = [];
  const unimplemented: string[] = [];
  const weak: { keyword: string; reason: string }[] = [];

  for (const word of text.trim().toLowerCase().split("-")) {
    const found = vocabulary.get(word);
    if (!found) throw new ProposalError(word, `unknown algorithm ${quote(word)}; ${allowed(use)}`);
    if (!found[use])
      throw new ProposalError(word, `${quote(word)} cannot be used in ${useName[use]}; ${allowed(use)}`);
    if (!found.implemented[use]) unimplemented.push(word);
    if (found.weak !== undefined) weak.push({ keyword: word, reason: found.weak });
    switch (found.kind) {
      case "encryption":
        if (!encryption.some((e) => e.id === found.id && e.keyBits === found.keyBits))
          encryption.push({ id: found.id, keyBits: found.keyBits });
        break;
      case "integrity":
        addOnce(integrity, found.id);
        break;
      case "prf":
        addOnce(prfs, found.id);
        break;
      case "group":
        addOnce(groups, found.id);
        break;
      case "esn":
        addOnce(esn, found.id);
        break;
      case "additional": {
        const methods = additional.get(found.type!) ?? [];
        addOnce(methods, found.id);
        additional.set(found.type!, methods);
        break;
      }
    }
  }

  const modes = encryption.map((e) => encrById.get(e.id)!.mode === "aead");
  const aead = modes.includes(true);
  if (encryption.length === 0) throw missing(text, "an encryption algorithm", use, "encryption");
  // RFC 7296 §3.3: AEAD and other ciphers cannot share a proposal, because only the latter need integrity.
  if (aead && modes.includes(false))
    throw new ProposalError(
      text,
      `${quote(text)} mixes AEAD and other encryption: write them as two proposals`,
    );
  if (!aead && integrity.length === 0) throw missing(text, "an integrity algorithm", use, "integrity");
  if (use === "ike") {
    // As swanctl does: without a PRF word, the PRF is the hash of the integrity word, also beside AEAD.
    if (prfs.length === 0) for (const id of integrity) addOnce(prfs, integById.get(id)!.prf);
    if (prfs.length === 0) throw missing(text, "a PRF", use, "prf");
    if (groups.length === 0) throw missing(text, "a DH group", use, "group");
  }
  // RFC 9370 §2.2.2: additional key exchanges add to one that comes first; in ESP, to that of PFS.
  if (additional.size > 0 && groups.length === 0) throw missing(text, "a DH group", use, "group");
  checkDistinct(text, groups, additional);
  return {
    text: text.trim(),
    encryption,
    integrity: aead ? [] : integrity,
    prf: prfs,
    groups,
    additionalKeyExchanges: [...additional]
      .map(([type, methods]) => ({ type, methods }))
      .sort((a, b) => a.type - b.type),
    esn,
    implemented: unimplemented.length === 0,
    unimplemented,
    weak,
  };
}

/** RFC 9370 §2.2.1: no method is done twice, so each key exchange needs one that the others leave over. */
function checkDistinct(
  text: string,
  groups: readonly number[],
  additional: ReadonlyMap<number, readonly number[]>,
): void {
  const certain = groups.length === 1 ? [...groups] : [];
  for (const [type, methods] of [...additional].sort(([a], [b]) => a - b)) {
    const left = methods.filter((id) => !certain.includes(id));
    const words = methods.map((id) => `${kePrefix(type)}${groupKeyword(id)}`).join(", ");
    if (left.length === 0)
      throw new ProposalError(text, `${quote(text)} does one key exchange twice: replace ${words}`);
    if (left.length === 1 && left[0] !== DhGroup.code.NONE) certain.push(left[0]!);
  }
}

/** Keywords of transform numbers; a number without a keyword prints as its registry name. */
export function formatProposal(p: {
  readonly encryption: readonly { readonly id: number; readonly keyBits: number | undefined }[];
  readonly integrity: readonly number[];
  readonly prf: readonly number[];
  readonly groups: readonly number[];
  readonly additionalKeyExchanges?: readonly AdditionalKeyExchange[];
  readonly esn?: readonly number[];
}): string {
  return [
    ...p.encryption.map((e) => encryptionKeyword(e.id, e.keyBits)),
    ...p.integrity.map(integrityKeyword),
    ...p.prf.map(prfKeyword),
    ...p.groups.map(groupKeyword),
    ...(p.additionalKeyExchanges ?? []).flatMap(({ type, methods }) =>
      methods.map((id) => `${kePrefix(type)}${id === DhGroup.code.NONE ? "none" : groupKeyword(id)}`),
    ),
    ...(p.esn ?? []).map((id) =>
      id === EsnValue.code.ESN ? "esn" : id === 0 ? "noesn" : EsnValue.nameOf(id),
    ),
  ].join("-");
}

/** `aes256gcm16-prfsha384-x25519`; an ESP suite has no PRF, and says `esn` when it has it. */
export function formatSuite(suite: IkeSuite | EspSuite): string {
  const words = [encryptionKeyword(suite.encr, suite.keyBits)];
  if (suite.integ !== IntegrityAlgorithm.code.NONE) words.push(integrityKeyword(suite.integ));
  if ("prf" in suite) words.push(prfKeyword(suite.prf));
  if (suite.group !== DhGroup.code.NONE) words.push(groupKeyword(suite.group));
  for (const { type, method } of suite.additional ?? [])
    words.push(`${kePrefix(type)}${groupKeyword(method)}`);
  if ("esn" in suite && suite.esn) words.push("esn");
  return words.join("-");
}

export function encryptionKeyword(id: number, keyBits: number | undefined): string {
  const keywords = encrById.get(id)?.keywords;
  for (const word in keywords) if (keywords[word] === keyBits) return word;
  return `${EncryptionAlgorithm.nameOf(id)}${keyBits === undefined ? "" : `_${keyBits}`}`;
}

export const integrityKeyword = (id: number): string =>
  integById.get(id)?.keywords[0] ?? IntegrityAlgorithm.nameOf(id);
export const prfKeyword = (id: number): string => prfById.get(id)?.keywords[0] ?? PRF.nameOf(id);
/** Of any key exchange method, DH group or KEM. */
export const groupKeyword = (id: number): string =>
  dhById.get(id)?.keywords[0] ?? kemById.get(id)?.keywords[0] ?? DhGroup.nameOf(id);

type Kind = "encryption" | "integrity" | "prf" | "group" | "additional" | "esn";

interface Word {
  readonly kind: Kind;
  readonly id: number;
  readonly keyBits: number | undefined;
  /** ADDKE1 to ADDKE7, of an additional key exchange. */
  readonly type?: number;
  readonly weak: string | undefined;
  readonly ike: boolean;
  readonly esp: boolean;
  readonly implemented: { readonly ike: boolean; readonly esp: boolean };
  /** False for synonyms: understood, not suggested. */
  readonly canonical: boolean;
}

function buildVocabulary(): ReadonlyMap<string, Word> {
  const words = new Map<string, Word>();
  for (const row of Object.values<EncryptionRow>(encr)) {
    const add = (keywords: KeywordRow, canonical: boolean) => {
      for (const [word, keyBits] of Object.entries(keywords))
        words.set(word, { ...columns(row), kind: "encryption", keyBits, canonical });
    };
    add(row.keywords, true);
    add(row.synonyms, false);
  }
  const lists = [
    ["integrity", Object.values(integ)],
    ["prf", Object.values(prf)],
    ["group", Object.values(dh)],
  ] as const;
  for (const [kind, rows] of lists) {
    for (const row of rows) {
      for (const word of row.keywords)
        words.set(word, { ...columns(row), kind, keyBits: undefined, canonical: true });
      for (const word of row.synonyms)
        words.set(word, { ...columns(row), kind, keyBits: undefined, canonical: false });
    }
  }
  for (const type of additionalTypes) {
    const prefix = kePrefix(type);
    // RFC 9370 allows any method here; what a DH group adds to a DH group is little, but it is the peer's to ask for.
    const rows = [...Object.values<KemRow>(kem), ...Object.values<DhRow>(dh)];
    for (const row of rows) {
      // Of the many combinations, those that an operator is likely to want.
      const canonical = type === T.ADDKE1 && kemById.has(row.id);
      const word = {
        ...columns(row),
        kind: "additional",
        keyBits: undefined,
        type,
      } as const;
      for (const name of row.keywords) words.set(prefix + name, { ...word, canonical });
      for (const name of row.synonyms) words.set(prefix + name, { ...word, canonical: false });
    }
    const none = { id: DhGroup.code.NONE, weak: undefined, ike: true, esp: true, implemented: everywhere };
    words.set(`${prefix}none`, { ...none, kind: "additional", keyBits: undefined, type, canonical: false });
  }
  for (const [word, id] of [
    ["esn", EsnValue.code.ESN],
    ["noesn", EsnValue.code.NO_ESN],
  ] as const) {
    const row = { id, weak: undefined, ike: false, esp: true, implemented: { ike: false, esp: true } };
    words.set(word, { ...row, kind: "esn", keyBits: undefined, canonical: true });
  }
  return words;
}

function columns(row: Omit<Word, "kind" | "keyBits" | "canonical">) {
  return { id: row.id, weak: row.weak, ike: row.ike, esp: row.esp, implemented: row.implemented };
}

/** `ke1_` for ADDKE1. */
const kePrefix = (type: number): string => `ke${type - T.ADDKE1 + 1}_`;

const T = TransformType.code;
const additionalTypes = [T.ADDKE1, T.ADDKE2, T.ADDKE3, T.ADDKE4, T.ADDKE5, T.ADDKE6, T.ADDKE7];
const vocabulary = buildVocabulary();
const kindName: Partial<Record<Kind, string>> = { additional: "additional key exchange" };
const useName = { ike: "an IKE proposal", esp: "an IPsec proposal" } as const;
const quote = (text: string): string => JSON.stringify(text);

function addOnce(list: number[], id: number): void {
  if (!list.includes(id)) list.push(id);
}

function wordsOf(kind: Kind, use: ProposalUse, weak: boolean): string {
  return [...vocabulary]
    .filter(([, word]) => word.kind === kind && word.canonical && word[use] && word.implemented[use])
    .filter(([, word]) => (word.weak !== undefined) === weak)
    .map(([text]) => text)
    .join(" ");
}

function allowed(use: ProposalUse): string {
  const kinds: Kind[] =
    use === "ike"
      ? ["encryption", "integrity", "prf", "group", "additional"]
      : ["encryption", "integrity", "group", "additional", "esn"];
  const lists = kinds
    .map((kind) => [kindName[kind] ?? kind, wordsOf(kind, use, false)] as const)
    .filter(([, words]) => words !== "");
  const weak = kinds.map((kind) => wordsOf(kind, use, true)).filter((words) => words !== "");
  const sound = `allowed are ${lists.map(([kind, words]) => `${kind}: ${words}`).join("; ")}`;
  return weak.length > 0 ? `${sound}; and for old peers the weak ${weak.join(" ")}` : sound;
}

function missing(text: string, what: string, use: ProposalUse, kind: Kind): ProposalError {
  const words = wordsOf(kind, use, false);
  const choice = words === "" ? "" : `: add one of ${words}`;
  return new ProposalError(text, `${quote(text)} needs ${what}${choice}`);
}
