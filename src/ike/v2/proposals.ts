/**
 * SA negotiation (RFC 7296 §2.7, §3.3): what we offer, what we choose from an offer, and whether an answer keeps to
 * what we offered. A failed choice says what differs first, because an operator has to repair it.
 */

import { err, ok, type Result } from "../../core/result.ts";
import {
  DhGroup,
  dhById,
  EncryptionAlgorithm,
  EsnValue,
  type EspSuite,
  encrById,
  encryptionKeyword,
  formatProposal,
  groupKeyword,
  type IkeSuite,
  IntegrityAlgorithm,
  integById,
  integrityKeyword,
  kemById,
  ProtocolId,
  prfById,
  prfKeyword,
  TransformType,
} from "../../registry/index.ts";
import type { Proposal, Transform } from "../../wire/index.ts";
import type { Mismatch } from "../common/failures.ts";
import type { ProposalSettings } from "../common/settings.ts";

export type Use = "ike" | "esp";

/** `pfs`: whether DH groups belong to the negotiation; always for IKE, and for ESP only outside IKE_AUTH (§1.2). */
export interface Scope<U extends Use> {
  readonly use: U;
  readonly pfs: boolean;
  /** Octets of SPI that each proposal must carry: 0 for a first IKE SA, 8 when rekeying it, 4 for ESP. */
  readonly spiBytes: 0 | 4 | 8;
  /** False when the peer cannot do additional key exchanges here (RFC 9370 §2.2.1); with `pfs` only. */
  readonly additional?: boolean;
}

export type SuiteOf<U extends Use> = U extends "ike" ? IkeSuite : EspSuite;

export interface Choice<U extends Use> {
  readonly suite: SuiteOf<U>;
  /** The chosen offer with one transform of each type; its SPI is still the peer's. */
  readonly proposal: Proposal;
}

/** Why nothing was chosen, in the operator's words. */
export const firstIkeSa: Scope<"ike"> = { use: "ike", pfs: true, spiBytes: 0 };
/** With a peer that has no IKE_INTERMEDIATE. */
export const plainFirstIkeSa: Scope<"ike"> = { ...firstIkeSa, additional: false };
export const rekeyedIkeSa: Scope<"ike"> = { use: "ike", pfs: true, spiBytes: 8 };
export const firstChildSa: Scope<"esp"> = { use: "esp", pfs: false, spiBytes: 4 };
export const laterChildSa: Scope<"esp"> = { use: "esp", pfs: true, spiBytes: 4 };

/** The proposals of an offer, numbered from 1, in our order of preference. */
export function offer(
  scope: Scope<Use>,
  settings: readonly ProposalSettings[],
  spi: Uint8Array = new Uint8Array(0),
): Proposal[] {
  return settings.map((p, i) => ({
    number: i + 1,
    protocolId: protocolOf(scope.use),
    spi,
    transforms: [
      ...p.encryption.map((e) => transform(T.ENCR, e.id, e.keyBits)),
      ...p.prf.map((id) => transform(T.PRF, id)),
      ...p.integrity.map((id) => transform(T.INTEG, id)),
      ...(scope.pfs ? p.groups.map((id) => transform(T.DH, id)) : []),
      ...(scope.pfs ? additionalOf(p).flatMap((a) => a.methods.map((id) => transform(a.type, id))) : []),
      ...(scope.use === "esp" ? esnOf(p).map((id) => transform(T.ESN, id)) : []),
    ],
  }));
}

/** Chooses by our order of preference among what the peer offers (§2.7). */
export function choose<U extends Use>(
  scope: Scope<U>,
  settings: readonly ProposalSettings[],
  offered: readonly Proposal[],
): Result<Choice<U>, Mismatch> {
  let nearest: Difference | undefined;
  for (const ours of settings) {
    const wanted = wantedOf(scope, ours);
    for (const theirs of offered) {
      const match = compare(scope, wanted, theirs);
      if ("chosen" in match) {
        const { number, protocolId, spi } = theirs;
        const proposal = { number, protocolId, spi, transforms: match.chosen };
        return ok({ suite: suiteOf(scope, match.chosen), proposal });
      }
      if (!nearest || match.agreed > nearest.agreed) nearest = match;
    }
  }
  return err({
    ours: settings.map((p) => p.text),
    theirs: offered.map(formatOffer),
    difference: nearest?.text() ?? "the offer holds no proposal",
  });
}

/**
 * Checks the responder's answer (§2.7: one proposal, one transform of each type that was offered, nothing else).
 * Returns the suite, or what is wrong with the answer.
 */
export function checkAnswer<U extends Use>(
  scope: Scope<U>,
  offered: readonly Proposal[],
  answer: readonly Proposal[],
): Result<SuiteOf<U>, string> {
  const chosen = answer[0];
  if (!chosen || answer.length !== 1)
    return err(`the answer holds ${answer.length} proposals instead of one`);
  const asked = offered.find((p) => p.number === chosen.number);
  if (!asked) return err(`proposal ${chosen.number} was not offered`);
  if (chosen.protocolId !== asked.protocolId)
    return err(`the answer changes the protocol to ${ProtocolId.nameOf(chosen.protocolId)}`);
  if (chosen.spi.length !== scope.spiBytes) return err(`the answer's SPI has ${chosen.spi.length} octets`);
  for (const t of chosen.transforms) {
    // An explicit NONE says what leaving the type out says.
    if (isNone(t) && !asked.transforms.some((o) => o.type === t.type)) continue;
    if (!asked.transforms.some((o) => sameTransform(o, t)))
      return err(`${formatTransform(t)} was not offered`);
    if (chosen.transforms.filter((o) => o.type === t.type).length > 1)
      return err(`${kindName(t.type)} is chosen twice`);
  }
  for (const type of new Set(asked.transforms.map((t) => t.type))) {
    const optional = asked.transforms.some((o) => o.type === type && isNone(o));
    if (!optional && !chosen.transforms.some((t) => t.type === type))
      return err(`${kindName(type)} is missing in the answer`);
  }
  // RFC 9370 §2.2.1: no method is done twice.
  const methods = chosen.transforms.filter((t) => isKeyExchange(t.type) && !isNone(t)).map((t) => t.id);
  const twice = methods.find((id, i) => methods.indexOf(id) < i);
  if (twice !== undefined) return err(`${groupKeyword(twice)} is chosen for two key exchanges`);
  return ok(suiteOf(scope, chosen.transforms));
}

/** DH groups of a list of proposals, preferred first, each once. */
export function groupsOf(settings: readonly ProposalSettings[]): number[] {
  return [...new Set(settings.flatMap((p) => p.groups))];
}

/** An offer in keywords, for records and logs. */
export function formatOffer(p: Proposal): string {
  const of = (type: number) => p.transforms.filter((t) => t.type === type);
  const ids = (type: number) => of(type).map((t) => t.id);
  return formatProposal({
    encryption: of(T.ENCR).map((t) => ({ id: t.id, keyBits: t.keyBits })),
    integrity: ids(T.INTEG).filter((id) => id !== IntegrityAlgorithm.code.NONE),
    prf: ids(T.PRF),
    groups: ids(T.DH).filter((id) => id !== DhGroup.code.NONE),
    additionalKeyExchanges: additionalTypes
      .map((type) => ({ type, methods: ids(type) }))
      .filter(({ methods }) => methods.length > 0),
    esn: ids(T.ESN),
  });
}

interface Difference {
  /** On how many types the two agree, and one more: how near they come. */
  readonly agreed: number;
  /** Put into words only when nothing better was found. */
  readonly text: () => string;
}

type Comparison = { readonly chosen: Transform[] } | Difference;

/** One of our proposals against one of theirs: a transform of each type, or the first type on which they differ. */
function compare(scope: Scope<Use>, ours: readonly Wanted[], theirs: Proposal): Comparison {
  const { protocolId, spi, transforms } = theirs;
  if (protocolId !== protocolOf(scope.use))
    return differ(0, () => [
      "protocol",
      [ProtocolId.nameOf(protocolOf(scope.use))],
      [ProtocolId.nameOf(protocolId)],
    ]);
  if (spi.length !== scope.spiBytes)
    return { agreed: 0, text: () => `SPI of ${spi.length} octets instead of ${scope.spiBytes}` };
  // RFC 7296 §3.3.6: an unknown transform type spoils its proposal; it may stand for something we would leave out.
  for (const { type } of transforms)
    if (!kindOf.has(type)) {
      const text = () => `${TransformType.nameOf(type)}: not supported here, required by the peer`;
      return { agreed: 0, text };
    }

  const chosen: Transform[] = [];
  for (const wanted of ours) {
    const theirTransforms = usable(transforms, wanted.type, chosen);
    const found = preferred(wanted.acceptable, theirTransforms);
    if (found) chosen.push(found);
    else if (theirTransforms.length > 0 || !wanted.mayBeAbsent)
      return differ(chosen.length + 1, () => [
        kindName(wanted.type),
        wanted.acceptable.filter((t) => !isNone(t)).map(formatTransform),
        theirTransforms.map(formatTransform),
      ]);
  }
  return { chosen };
}

/** Those of one type that are understood, and that no other key exchange has taken. */
function usable(
  transforms: readonly Transform[],
  type: number,
  chosen: readonly Transform[],
): readonly Transform[] {
  const found: Transform[] = [];
  for (const t of transforms)
    if (t.type === type && !t.unknownAttributes?.length && !isTaken(t, chosen)) found.push(t);
  return found;
}

function preferred(acceptable: readonly Transform[], theirs: readonly Transform[]): Transform | undefined {
  for (const ours of acceptable) for (const t of theirs) if (sameTransform(ours, t)) return t;
  return undefined;
}

interface Wanted {
  readonly type: number;
  /** In order of preference. */
  readonly acceptable: readonly Transform[];
  /** The type may be missing in the offer. */
  readonly mayBeAbsent: boolean;
}

/**
 * What we accept of each transform type. Anything this build cannot run is not among it, whoever configured it. Made
 * once for each of the few scopes, and kept for as long as the settings live.
 */
function wantedOf(scope: Scope<Use>, ours: ProposalSettings): readonly Wanted[] {
  let byScope = wantedBySettings.get(ours);
  if (!byScope) {
    byScope = [];
    wantedBySettings.set(ours, byScope);
  }
  const number = (scope.use === "ike" ? 4 : 0) + (scope.pfs ? 2 : 0) + (scope.additional === false ? 1 : 0);
  byScope[number] ??= makeWanted(scope, ours);
  return byScope[number];
}

const wantedBySettings = new WeakMap<ProposalSettings, (readonly Wanted[])[]>();

function makeWanted(scope: Scope<Use>, ours: ProposalSettings): Wanted[] {
  const { use } = scope;
  const encryption = ours.encryption.filter((e) => encrById.get(e.id)?.implemented[use]);
  const aead = encryption.some((e) => encrById.get(e.id)!.mode === "aead");
  const none = (type: number): Wanted => ({ type, acceptable: [transform(type, 0)], mayBeAbsent: true });
  const list = (type: number, ids: readonly number[]): Wanted => ({
    type,
    acceptable: ids.map((id) => transform(type, id)),
    mayBeAbsent: false,
  });
  const groups = ours.groups.filter((id) => dhById.get(id)?.implemented[use]);
  const additional = scope.pfs ? wantedAdditional(scope, ours) : [];
  const wanted: Wanted[] = [
    {
      type: T.ENCR,
      acceptable: encryption.map((e) => transform(T.ENCR, e.id, e.keyBits)),
      mayBeAbsent: false,
    },
    aead
      ? none(T.INTEG)
      : list(
          T.INTEG,
          ours.integrity.filter((id) => integById.get(id)?.implemented[use]),
        ),
  ];
  if (use === "ike") {
    wanted.push(
      list(
        T.PRF,
        ours.prf.filter((id) => prfById.get(id)?.implemented.ike),
      ),
      list(T.DH, groups),
      ...additional,
    );
    return wanted;
  }
  if (scope.pfs) wanted.push(groups.length > 0 ? list(T.DH, groups) : none(T.DH));
  wanted.push(...additional);
  // An offer without the type means 32-bit sequence numbers, as before RFC 4304.
  wanted.push({ type: T.ESN, acceptable: esnOf(ours).map((id) => transform(T.ESN, id)), mayBeAbsent: true });
  return wanted;
}

/** Of each type, also of those that we do not ask for: the peer's offer may leave it to us. */
function wantedAdditional({ use, additional }: Scope<Use>, ours: ProposalSettings): Wanted[] {
  return additionalTypes.map((type) => {
    const methods = additionalOf(ours).find((a) => a.type === type)?.methods ?? [DhGroup.code.NONE];
    const acceptable = methods
      .filter((id) => id === DhGroup.code.NONE || additional !== false)
      .filter((id) => id === DhGroup.code.NONE || (dhById.get(id) ?? kemById.get(id))?.implemented[use])
      .map((id) => transform(type, id));
    return { type, acceptable, mayBeAbsent: methods.includes(DhGroup.code.NONE) };
  });
}

/** RFC 9370 §2.2.1: no method is done twice. */
function isTaken(t: Transform, chosen: readonly Transform[]): boolean {
  return isAdditional(t.type) && !isNone(t) && chosen.some((c) => isKeyExchange(c.type) && c.id === t.id);
}

function suiteOf<U extends Use>(scope: Scope<U>, transforms: readonly Transform[]): SuiteOf<U> {
  const of = (type: number) => transforms.find((t) => t.type === type);
  const id = (type: number) => of(type)?.id ?? 0;
  const encr = id(T.ENCR);
  const keyBits = of(T.ENCR)?.keyBits;
  const integ = id(T.INTEG);
  const group = scope.pfs ? id(T.DH) : 0;
  const common: IkeSuite | EspSuite =
    scope.use === "ike"
      ? { encr, keyBits, integ, group, prf: id(T.PRF) }
      : { encr, keyBits, integ, group, esn: id(T.ESN) === EsnValue.code.ESN };
  const additional = scope.pfs ? transforms.filter((t) => isAdditional(t.type) && !isNone(t)) : [];
  const methods = additional.map((t) => ({ type: t.type, method: t.id })).sort((a, b) => a.type - b.type);
  return (methods.length === 0 ? common : { ...common, additional: methods }) as SuiteOf<U>;
}

function differ(
  agreed: number,
  words: () => readonly [kind: string, ours: readonly string[], theirs: readonly string[]],
): Difference {
  const list = (names: readonly string[]) => (names.length === 0 ? "none" : names.join(" or "));
  const text = () => {
    const [kind, ours, theirs] = words();
    return `${kind}: ours ${list(ours)}, theirs ${list(theirs)}`;
  };
  return { agreed, text };
}

function transform(type: number, id: number, keyBits?: number): Transform {
  return { type, id, keyBits };
}

function sameTransform(a: Transform, b: Transform): boolean {
  return a.type === b.type && a.id === b.id && a.keyBits === b.keyBits && !b.unknownAttributes?.length;
}

function formatTransform(t: Transform): string {
  return kindOf.get(t.type)?.format(t) ?? `${TransformType.nameOf(t.type)} ${t.id}`;
}

const T = TransformType.code;
const protocolOf = (use: Use): number => (use === "ike" ? ProtocolId.code.IKE : ProtocolId.code.ESP);
const esnOf = (p: ProposalSettings): readonly number[] =>
  p.esn && p.esn.length > 0 ? p.esn : [EsnValue.code.ESN, EsnValue.code.NO_ESN];
const additionalTypes = [T.ADDKE1, T.ADDKE2, T.ADDKE3, T.ADDKE4, T.ADDKE5, T.ADDKE6, T.ADDKE7];
const additionalOf = (p: ProposalSettings) => p.additionalKeyExchanges ?? [];
const isAdditional = (type: number): boolean => type >= T.ADDKE1 && type <= T.ADDKE7;
const isKeyExchange = (type: number): boolean => type === T.DH || isAdditional(type);
const isNone = (t: Transform): boolean => t.id === 0 && (t.type === T.INTEG || isKeyExchange(t.type));
const kindName = (type: number): string => kindOf.get(type)?.name ?? TransformType.nameOf(type);

const kindOf: ReadonlyMap<number, { readonly name: string; format(t: Transform): string }> = new Map([
  [
    T.ENCR,
    {
      name: "encryption",
      // A known cipher with an odd key length has no keyword: say both.
      format: (t: Transform) =>
        encrById.has(t.id) ? encryptionKeyword(t.id, t.keyBits) : EncryptionAlgorithm.nameOf(t.id),
    },
  ],
  [T.PRF, { name: "PRF", format: (t: Transform) => prfKeyword(t.id) }],
  [T.INTEG, { name: "integrity", format: (t: Transform) => integrityKeyword(t.id) }],
  [T.DH, { name: "DH group", format: (t: Transform) => groupKeyword(t.id) }],
  ...additionalTypes.map(
    (type, i) =>
      [
        type,
        {
          name: `additional key exchange ${i + 1}`,
          format: (t: Transform) => (t.id === 0 ? "none" : groupKeyword(t.id)),
        },
      ] as const,
  ),
  [T.ESN, { name: "sequence numbers", format: (t: Transform) => (t.id === 1 ? "esn" : "noesn") }],
]);
