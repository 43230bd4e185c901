/**
 * SA negotiation of IKEv1 in both phases (RFC 2408 §4.2, RFC 2409 §5, RFC 2407 §4.5): what we offer, what we choose from
 * an offer, and whether an answer keeps to what we offered. A failed choice says what differs first.
 *
 * An IKEv1 transform names one algorithm of each kind, so an offer spells out every combination of a proposal's words.
 * A chosen transform goes back exactly as it came: some peers compare octets.
 */
import { err, ok, type Result } from "../../core/result.ts";
import {
  dhById,
  EncapsulationMode,
  EsnValue,
  type EspSuite,
  encrById,
  type IkeSuite,
  IsakmpProtocol,
  ikev1EncryptionByEncr,
  ikev1Groups,
  ikev1HashByInteg,
  integById,
  Phase1Authentication,
} from "../../registry/index.ts";
import type { IsakmpProposal, IsakmpTransform } from "../../wire/v1/index.ts";
import type { Mismatch } from "../common/failures.ts";
import type { ProposalSettings } from "../common/settings.ts";
import {
  cipherOf,
  cipherValue,
  formatReading,
  formatValue,
  type Kind,
  type Life,
  type Reading,
  readPhase1,
  readPhase2,
  writePhase1,
  writePhase2,
} from "./transforms.ts";

/** What of an offer or an answer was agreed on. */
export interface Agreed<S> {
  readonly suite: S;
  /** What the peer says about lifetimes; nothing of it is ours. */
  readonly life: Life;
  /** The peer's SPI, of ESP. */
  readonly spi: Uint8Array;
  /** EncapsulationMode, of ESP; undefined when the transform does not name one. */
  readonly mode: number | undefined;
}

export interface Choice<S> extends Agreed<S> {
  /** The offer with the chosen transform alone, as it came; its SPI is the peer's. */
  readonly proposal: IsakmpProposal;
}

// ── Phase 1 ────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * The one proposal of an offer; without transforms when nothing that is configured exists in IKEv1. `group`: that one
 * only, because aggressive mode has a key exchange in its first message (RFC 2409 §5.4).
 */
export function offerPhase1(
  settings: readonly ProposalSettings[],
  lifeSeconds: number,
  group?: number,
): IsakmpProposal {
  const chosen = combinations(settings.map((p) => phase1Rows(p, group)));
  const transforms = chosen.map((each, i) => writePhase1(i + 1, each, lifeSeconds));
  return { number: 1, protocol: IsakmpProtocol.code.PROTO_ISAKMP, spi: noSpi, transforms };
}

/** Groups that phase 1 can use, preferred first, each once. */
export function phase1Groups(settings: readonly ProposalSettings[]): number[] {
  return groupsIn(settings.map((p) => phase1Rows(p)));
}

/** Chooses by our order of preference among what the peer offers. */
export function choosePhase1(
  settings: readonly ProposalSettings[],
  offered: readonly IsakmpProposal[],
): Result<Choice<IkeSuite>, Mismatch> {
  return choose(
    phase1,
    settings,
    settings.map((p) => phase1Rows(p)),
    offered,
  );
}

/** What the responder chose of `offered`, or what is wrong with its answer. */
export function checkPhase1Answer(
  offered: IsakmpProposal,
  answer: readonly IsakmpProposal[],
): Result<Agreed<IkeSuite>, string> {
  return check(phase1, offered, answer);
}

// ── Phase 2 ────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a quick mode is held to beside the proposals. */
export interface QuickScope {
  /** ESP travels in UDP. */
  readonly encapsulated: boolean;
  /** The peer speaks NAT-T as a draft had it, and not as RFC 3947: its number for the mode is another one. */
  readonly draft: boolean;
}

/**
 * Groups of PFS that a quick mode can use, preferred first, 0 for none. All transforms of one quick mode have the same
 * (RFC 2409 §5.5): a peer that takes none of the first group is asked again with the next.
 */
export function quickGroups(settings: readonly ProposalSettings[]): number[] {
  return groupsIn(settings.map((p) => phase2Rows(p, offeredModes({ encapsulated: false, draft: false }))));
}

/** The one proposal of an offer, with the group of `group`. `spi`: ours, 4 octets. */
export function offerPhase2(
  settings: readonly ProposalSettings[],
  group: number,
  scope: QuickScope,
  spi: Uint8Array,
  life: Life,
): IsakmpProposal {
  const rows = settings.map((p) => phase2Rows(p, offeredModes(scope), { group, offering: true }));
  const transforms = combinations(rows).map((each, i) => writePhase2(i + 1, each, life));
  return { number: 1, protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP, spi, transforms };
}

/** As `choosePhase1`. `withKe`: the offer comes with a key exchange. */
export function choosePhase2(
  settings: readonly ProposalSettings[],
  offered: readonly IsakmpProposal[],
  scope: QuickScope,
  withKe: boolean,
): Result<Choice<EspSuite>, Mismatch> {
  const rows = settings.map((p) => phase2Rows(p, acceptedModes(scope)));
  return choose(phase2(withKe), settings, rows, offered);
}

export function checkPhase2Answer(
  offered: IsakmpProposal,
  answer: readonly IsakmpProposal[],
): Result<Agreed<EspSuite>, string> {
  const group = readPhase2(offered.transforms[0]!).said.get("DH group")!.value;
  return check(phase2(group !== 0), offered, answer);
}

/** An offer in keywords, for records: one line for each transform. */
export const formatPhase1Offer = (offered: readonly IsakmpProposal[]): string[] =>
  formatOffer(phase1, offered);
export const formatPhase2Offer = (offered: readonly IsakmpProposal[]): string[] =>
  formatOffer(phase2(true), offered);

// ── Choosing ───────────────────────────────────────────────────────────────────────────────────────────────────

interface Phase<S> {
  readonly protocol: number;
  /** Octets of SPI that a proposal must carry; undefined: whatever it carries is ignored (RFC 2408 §3.5). */
  readonly spiBytes: number | undefined;
  read(transform: IsakmpTransform): Reading;
  /** Why a transform that we understand cannot be chosen in this message. */
  obstacle?(reading: Reading): string | undefined;
  suiteOf(value: (kind: Kind) => number): S;
}

const phase1: Phase<IkeSuite> = {
  protocol: IsakmpProtocol.code.PROTO_ISAKMP,
  spiBytes: undefined,
  read: readPhase1,
  suiteOf(value) {
    const { encr, keyBits } = cipherOf(value("encryption"));
    const { integ, prf } = ikev1HashByInteg.get(value("hash"))!;
    return { encr, keyBits, integ, prf, group: value("DH group") };
  },
};

const phase2 = (withKe: boolean): Phase<EspSuite> => ({
  protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
  spiBytes: 4,
  read: readPhase2,
  obstacle({ said }) {
    const { value, text } = said.get("DH group")!;
    if ((value !== 0) === withKe) return undefined;
    return withKe
      ? "the offer has a key exchange and no DH group"
      : `DH group ${text} without a key exchange`;
  },
  suiteOf(value) {
    const { encr, keyBits } = cipherOf(value("encryption"));
    const esn = value("sequence numbers") === EsnValue.code.ESN;
    return { encr, keyBits, integ: value("integrity"), group: value("DH group"), esn };
  },
});

/** What is acceptable of one kind, preferred first. */
interface Row {
  readonly kind: Kind;
  readonly acceptable: readonly number[];
}

interface Difference {
  /** Kinds that are agreed before this one: of several failed comparisons, the nearest is reported. */
  readonly agreed: number;
  text(): string;
}

function choose<S>(
  phase: Phase<S>,
  settings: readonly ProposalSettings[],
  ours: readonly (readonly Row[])[],
  offered: readonly IsakmpProposal[],
): Result<Choice<S>, Mismatch> {
  const readings = offered.flatMap((proposal) =>
    proposal.transforms.map((transform) => ({ proposal, transform, reading: phase.read(transform) })),
  );
  let nearest: Difference | undefined;
  for (const rows of ours) {
    let best: { readonly ranks: readonly number[]; readonly of: (typeof readings)[number] } | undefined;
    for (const of of readings) {
      const match = compare(phase, rows, of.reading, of.proposal, offered);
      if ("ranks" in match) {
        if (!best || before(match.ranks, best.ranks)) best = { ranks: match.ranks, of };
      } else if (!nearest || match.agreed > nearest.agreed) nearest = match;
    }
    if (!best) continue;
    const { proposal, transform, reading } = best.of;
    return ok({
      ...agreedOn(phase, reading, proposal.spi, rows),
      proposal: { ...proposal, transforms: [transform] },
    });
  }
  return err({
    ours: settings.map((p) => p.text),
    theirs: formatOffer(phase, offered),
    difference: nearest?.text() ?? nothingToCompare(ours, offered),
  });
}

function nothingToCompare(ours: readonly (readonly Row[])[], offered: readonly IsakmpProposal[]): string {
  const none = offered.every((p) => p.transforms.length === 0);
  return none || ours.length > 0 ? "the offer holds no transform" : "no proposal is configured";
}

/** The place of each kind in our order of preference, or the first kind on which the two differ. */
function compare<S>(
  phase: Phase<S>,
  rows: readonly Row[],
  reading: Reading,
  proposal: IsakmpProposal,
  offered: readonly IsakmpProposal[],
): { readonly ranks: readonly number[] } | Difference {
  const { protocol, spi, number } = proposal;
  const differ = (agreed: number, text: () => string): Difference => ({ agreed, text });
  if (protocol !== phase.protocol)
    return differ(
      0,
      () => `protocol: ours ${protocolName(phase.protocol)}, theirs ${protocolName(protocol)}`,
    );
  if (offered.some((other) => other !== proposal && other.number === number))
    return differ(0, () => "protocol: ours ESP alone, theirs several together");
  if (phase.spiBytes !== undefined && spi.length !== phase.spiBytes)
    return differ(0, () => `SPI of ${spi.length} octets instead of ${phase.spiBytes}`);
  const ranks: number[] = [];
  for (const { kind, acceptable } of rows) {
    const theirs = reading.said.get(kind);
    const rank = theirs ? acceptable.indexOf(theirs.value) : 0;
    if (rank >= 0 && acceptable.length > 0) {
      ranks.push(rank);
      continue;
    }
    return differ(ranks.length + 1, () => {
      const names = acceptable.map((value) => formatValue(kind, value));
      const own = names.length === 0 ? "none that IKEv1 has" : names.join(" or ");
      return `${kind}: ours ${own}, theirs ${theirs?.text ?? "none"}`;
    });
  }
  const { problem } = reading;
  if (problem !== undefined) return differ(ranks.length + 1, () => problem);
  const obstacle = phase.obstacle?.(reading);
  return obstacle === undefined ? { ranks } : differ(ranks.length + 1, () => obstacle);
}

function before(a: readonly number[], b: readonly number[]): boolean {
  const i = a.findIndex((rank, at) => rank !== b[at]);
  return i >= 0 && a[i]! < b[i]!;
}

function agreedOn<S>(phase: Phase<S>, reading: Reading, spi: Uint8Array, rows?: readonly Row[]): Agreed<S> {
  const value = (kind: Kind) =>
    reading.said.get(kind)?.value ?? rows?.find((row) => row.kind === kind)?.acceptable[0] ?? 0;
  const mode = reading.said.get("encapsulation")?.value;
  return { suite: phase.suiteOf(value), life: reading.life, spi, mode };
}

/**
 * RFC 2408 §4.2: one proposal with one transform of those offered. Held to what it says, and not to its numbers, which
 * some peers count anew; a lifetime may differ, and the shorter one counts.
 */
function check<S>(
  phase: Phase<S>,
  offered: IsakmpProposal,
  answer: readonly IsakmpProposal[],
): Result<Agreed<S>, string> {
  const chosen = answer[0];
  if (!chosen || answer.length !== 1)
    return err(`the answer holds ${answer.length} proposals instead of one`);
  if (chosen.protocol !== phase.protocol)
    return err(`the answer changes the protocol to ${protocolName(chosen.protocol)}`);
  if (phase.spiBytes !== undefined && chosen.spi.length !== phase.spiBytes)
    return err(`the answer's SPI has ${chosen.spi.length} octets`);
  const transform = chosen.transforms[0];
  if (!transform || chosen.transforms.length !== 1)
    return err(`the answer holds ${chosen.transforms.length} transforms instead of one`);
  const reading = phase.read(transform);
  if (reading.problem !== undefined) return err(`the answer has ${reading.problem}`);
  if (!offered.transforms.some((each) => saysTheSame(phase.read(each), reading)))
    return err(`${formatReading(reading)} was not offered`);
  return ok(agreedOn(phase, reading, chosen.spi));
}

/** A kind that an answer leaves out although it was offered is taken as offered. */
function saysTheSame(offered: Reading, answered: Reading): boolean {
  for (const [kind, { value }] of offered.said)
    if ((answered.said.get(kind)?.value ?? value) !== value) return false;
  return true;
}

function formatOffer<S>(phase: Phase<S>, offered: readonly IsakmpProposal[]): string[] {
  return offered.flatMap((proposal) =>
    proposal.protocol === phase.protocol
      ? proposal.transforms.map((transform) => formatReading(phase.read(transform)))
      : [protocolName(proposal.protocol)],
  );
}

const protocolName = (protocol: number): string => IsakmpProtocol.nameOf(protocol);

// ── What is configured ─────────────────────────────────────────────────────────────────────────────────────────

function phase1Rows(ours: ProposalSettings, group?: number): Row[] {
  const ciphers = ours.encryption.filter(
    ({ id }) => encrById.get(id)?.implemented.ike && ikev1EncryptionByEncr.get(id)?.phase1 !== undefined,
  );
  // One hash is integrity and PRF: a proposal that wants two of them has no words in IKEv1.
  const hashes = ours.integrity.filter((id) => {
    const row = ikev1HashByInteg.get(id);
    return row && integById.get(id)?.implemented.ike && ours.prf.includes(row.prf);
  });
  return [
    { kind: "encryption", acceptable: ciphers.map(({ id, keyBits }) => cipherValue(id, keyBits)) },
    { kind: "hash", acceptable: hashes },
    { kind: "DH group", acceptable: groupsOf(ours, "ike").filter((id) => id === (group ?? id)) },
    { kind: "authentication", acceptable: [Phase1Authentication.code.PRE_SHARED_KEY] },
  ];
}

function phase2Rows(
  ours: ProposalSettings,
  modes: readonly number[],
  narrowed?: { readonly group: number; readonly offering: true },
): Row[] {
  const ciphers = ours.encryption.filter(
    ({ id }) => encrById.get(id)?.implemented.esp && ikev1EncryptionByEncr.has(id),
  );
  const aead = ciphers.some(({ id }) => encrById.get(id)!.mode === "aead");
  const macs = ours.integrity.filter((id) => integById.get(id)?.implemented.esp && ikev1HashByInteg.has(id));
  const groups = ours.groups.length === 0 ? [0] : groupsOf(ours, "esp");
  return [
    { kind: "encryption", acceptable: ciphers.map(({ id, keyBits }) => cipherValue(id, keyBits)) },
    { kind: "integrity", acceptable: aead ? [0] : macs },
    { kind: "DH group", acceptable: narrowed ? groups.filter((id) => id === narrowed.group) : groups },
    { kind: "encapsulation", acceptable: modes },
    { kind: "sequence numbers", acceptable: sequencesOf(ours, narrowed !== undefined) },
  ];
}

/**
 * DEVIATION from what we offer in IKEv2: where the configuration does not say, 64-bit sequence numbers are accepted and
 * not asked for. They are an attribute that many an IKEv1 implementation was written before (RFC 4304 §2.2.1).
 */
function sequencesOf({ esn }: ProposalSettings, offering: boolean): readonly number[] {
  if (esn && esn.length > 0) return esn;
  return offering ? [EsnValue.code.NO_ESN] : [EsnValue.code.ESN, EsnValue.code.NO_ESN];
}

const groupsOf = ({ groups }: ProposalSettings, use: "ike" | "esp"): number[] =>
  groups.filter((id) => ikev1Groups.has(id) && dhById.get(id)?.implemented[use]);

function offeredModes({ encapsulated, draft }: QuickScope): readonly number[] {
  const modes = EncapsulationMode.code;
  if (!encapsulated) return [modes.TUNNEL];
  return [draft ? modes["UDP_ENCAPSULATED_TUNNEL (draft)"] : modes.UDP_ENCAPSULATED_TUNNEL];
}

function acceptedModes({ encapsulated }: QuickScope): readonly number[] {
  const modes = EncapsulationMode.code;
  if (!encapsulated) return [modes.TUNNEL];
  return [modes.UDP_ENCAPSULATED_TUNNEL, modes["UDP_ENCAPSULATED_TUNNEL (draft)"]];
}

function groupsIn(proposals: readonly (readonly Row[])[]): number[] {
  const usable = proposals.filter((rows) => rows.every(({ acceptable }) => acceptable.length > 0));
  return [...new Set(usable.flatMap((rows) => rows.find(({ kind }) => kind === "DH group")!.acceptable))];
}

/** Every combination of each proposal, in order of preference, each once; at most as many as an offer can hold. */
function combinations(proposals: readonly (readonly Row[])[]): ReadonlyMap<Kind, number>[] {
  const found = new Map<string, ReadonlyMap<Kind, number>>();
  for (const rows of proposals) {
    let partial: [Kind, number][][] = [[]];
    for (const { kind, acceptable } of rows)
      partial = partial.flatMap((chosen) =>
        acceptable.map((value): [Kind, number][] => [...chosen, [kind, value]]),
      );
    for (const chosen of partial) {
      if (found.size === maxTransforms) return [...found.values()];
      const key = chosen.map(([, value]) => value).join();
      if (!found.has(key)) found.set(key, new Map(chosen));
    }
  }
  return [...found.values()];
}

/** # of Transforms is one octet (RFC 2408 §3.5). */
const maxTransforms = 255;
const noSpi = new Uint8Array(0);
