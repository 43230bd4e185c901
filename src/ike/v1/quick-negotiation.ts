/**
 * Negotiating a pair of IPsec SAs: what quick mode's payloads say, in both roles (RFC 2409 §5.5). Nothing is installed
 * here; whatever fails has a record for the operator and a notification for the peer.
 */
import type { FailureRecord, Terms } from "../../core/failure.ts";
import type { FailureCode } from "../../core/failure-reasons.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Secret } from "../../core/secret.ts";
import type { SelectorPair } from "../../core/traffic-selector.ts";
import { type ChildSaKeys, type KeyPair, keymat } from "../../crypto/index.ts";
import {
  EncapsulationMode,
  type EspSuite,
  groupKeyword,
  IsakmpDoi,
  IsakmpNotifyType,
  IsakmpProtocol,
  SIT_IDENTITY_ONLY,
} from "../../registry/index.ts";
import { espSpiBytes, espSpiFrom } from "../../wire/index.ts";
import {
  decodeIsakmpAttributes,
  encodeIsakmpAttributes,
  findIsakmpNotify,
  findIsakmpPayload,
  type IsakmpNotifyPayload,
  type IsakmpPayload,
  type IsakmpProposal,
  isakmpPayloadsOf,
  type ReceivedPayload,
} from "../../wire/v1/index.ts";
import {
  type Details,
  failureOf,
  mismatchDetails,
  selectorDetails,
  selectorPair,
} from "../common/failures.ts";
import type { PeerSettings } from "../common/settings.ts";
import { encapsulates } from "../common/views.ts";
import { type IpsecSa, outerPath } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import type { Secured } from "./key-material.ts";
import {
  checkPhase2Answer,
  choosePhase2,
  formatPhase2Offer,
  offerPhase2,
  type QuickScope,
} from "./proposals.ts";
import { idOf, isPermitted, pairOf } from "./selectors.ts";
import { atMost, type Life, lifetimeAttributes, readLifetime } from "./transforms.ts";

/** What we propose, kept until the answer. */
export interface QuickOffer {
  readonly spiIn: number;
  readonly proposal: IsakmpProposal;
  /** 0 without PFS. */
  readonly group: number;
  readonly pair: SelectorPair;
}

/** What both sides say about one pair of IPsec SAs. */
export interface QuickTerms {
  readonly suite: EspSuite;
  readonly spiOut: number;
  readonly pair: SelectorPair;
  readonly encapsulated: boolean;
  readonly life: Life;
}

/** A refusal: the notification for the peer and the record for the operator. */
export interface Refused {
  readonly notify: number;
  readonly record: FailureRecord;
}

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Takes an SPI. Undefined when nothing that is configured exists in IKEv1. */
export function offerQuick(sa: IsakmpSa, pair: SelectorPair, group: number): QuickOffer | undefined {
  const peer = sa.peer!;
  const spiIn = sa.host.allocateSpi();
  const proposal = offerPhase2(peer.espProposals, group, scopeOf(sa), espSpiBytes(spiIn), ownLife(peer));
  if (proposal.transforms.length > 0) return { spiIn, proposal, group, pair };
  sa.host.releaseSpi(spiIn);
  return undefined;
}

/** `SA, Ni [, KE], IDci, IDcr` */
export function offerPayloads(
  { proposal, pair }: QuickOffer,
  Ni: Uint8Array,
  ke: KeyPair | undefined,
): IsakmpPayload[] {
  return [
    saPayload(proposal),
    { kind: "NONCE", nonce: Ni },
    ...(ke ? [{ kind: "KE", data: ke.publicValue } as const] : []),
    idOf(pair.local),
    idOf(pair.remote),
  ];
}

/** What the answer agrees to, or what is wrong with it. */
export function readAnswer(
  sa: IsakmpSa,
  offer: QuickOffer,
  payloads: readonly ReceivedPayload[],
): Result<QuickTerms, Refused> {
  const broken = (difference: string, notify: number = N.PAYLOAD_MALFORMED) =>
    err({
      notify,
      record: failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `quick mode: ${difference}` }),
    });
  const [answered, ...more] = isakmpPayloadsOf(payloads, "SA");
  if (!answered || more.length > 0) return broken("the answer has no SA payload, or several");
  const checked = checkPhase2Answer(offer.proposal, answered.proposals);
  if (!checked.ok) return broken(checked.error, N.BAD_PROPOSAL_SYNTAX);
  const { suite, spi, life, mode } = checked.value;
  const spiOut = espSpiFrom(spi)!;
  if (spiOut < firstSpi) return broken("the answer's SPI is reserved", N.INVALID_SPI);
  if (sa.host.children.isTaken(spiOut, outerPath(sa).remote)) return broken(spiTaken, N.INVALID_SPI);
  const [local, remote, ...others] = isakmpPayloadsOf(payloads, "ID");
  const ours = endsOf(offer.pair);
  const pair = pairOf({ local, remote }, { local: sa.local.address, remote: sa.remote.address });
  const offered = offeredTerms([offer.proposal], offer.pair);
  const unacceptable = (difference: string, details: Details = { ours: [selectorPair(ours)] }) =>
    err({
      notify: N.INVALID_ID_INFORMATION,
      record: failureOf(sa, "TS_UNACCEPTABLE", { ...details, offered, difference }),
    });
  if (!local || others.length > 0) return unacceptable("the answer does not have the two IDs of the request");
  if (!pair.ok) return unacceptable(`the peer answered with ${pair.error}`);
  // RFC 2409 §5.5 has the IDs come back as they were. Some peers narrow them as IKEv2 does, and mean it.
  if (!isPermitted({ localSelectors: [offer.pair.local], remoteSelectors: [offer.pair.remote] }, pair.value))
    return unacceptable("the peer answered with selectors wider than ours", {
      ...selectorDetails(ours, endsOf(pair.value)),
    });
  return ok({
    suite,
    spiOut,
    pair: pair.value,
    encapsulated: isEncapsulated(sa, mode),
    life: shorter(life, responderLifetime(payloads)),
  });
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export interface QuickDecision extends QuickTerms {
  /** The peer's offer with the chosen transform alone. */
  readonly proposal: IsakmpProposal;
  /** Goes back as it came. */
  readonly ids: readonly IsakmpPayload[];
}

/** What we agree to, before anything is computed or installed. */
export function decideQuick(
  sa: IsakmpSa,
  payloads: readonly ReceivedPayload[],
): Result<QuickDecision, Refused> {
  const peer = sa.peer!;
  const broken = (difference: string, notify: number = N.PAYLOAD_MALFORMED) =>
    err({
      notify,
      record: failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `quick mode: ${difference}` }),
    });
  const [offered, ...more] = isakmpPayloadsOf(payloads, "SA");
  if (!offered) return broken("no SA payload");
  // RFC 2409 §5.5 allows for several pairs in one exchange. Nobody asks for them.
  if (more.length > 0) return broken("several SA payloads", N.BAD_PROPOSAL_SYNTAX);
  if (isakmpPayloadsOf(payloads, "NONCE").length !== 1) return broken("no nonce, or several");
  const [idci, idcr, ...others] = isakmpPayloadsOf(payloads, "ID");
  const addresses = { local: sa.local.address, remote: sa.remote.address };
  const pair =
    others.length > 0 ? err("more than two ID payloads") : pairOf({ local: idcr, remote: idci }, addresses);
  if (!pair.ok) {
    const ours = [selectorPair({ local: peer.localSelectors, remote: peer.remoteSelectors })];
    const details = { ours, difference: `the peer asks for ${pair.error}` };
    return err({ notify: N.INVALID_ID_INFORMATION, record: failureOf(sa, "TS_UNACCEPTABLE", details) });
  }
  const withKe = findIsakmpPayload(payloads, "KE") !== undefined;
  const chosen = choosePhase2(peer.espProposals, offered.proposals, scopeOf(sa), withKe);
  const theirTerms = offeredTerms(offered.proposals, pair.value);
  if (!chosen.ok) {
    const details = { ...mismatchDetails(chosen.error), offered: theirTerms };
    return err({ notify: N.NO_PROPOSAL_CHOSEN, record: failureOf(sa, "NO_PROPOSAL_CHOSEN_ESP", details) });
  }
  if (!isPermitted(peer, pair.value)) {
    const ours = { local: peer.localSelectors, remote: peer.remoteSelectors };
    const details = {
      ...selectorDetails(ours, endsOf(pair.value)),
      difference: beyond(peer, pair.value),
      offered: theirTerms,
    };
    return err({ notify: N.INVALID_ID_INFORMATION, record: failureOf(sa, "TS_UNACCEPTABLE", details) });
  }
  const { suite, proposal, life, spi, mode } = chosen.value;
  const spiOut = espSpiFrom(spi)!;
  if (spiOut < firstSpi) return broken(`the peer's SPI ${spiOut} is reserved`, N.INVALID_SPI);
  if (sa.host.children.isTaken(spiOut, outerPath(sa).remote)) return broken(spiTaken, N.INVALID_SPI);
  const ids = [idci, idcr].flatMap((id) => (id ? [id] : []));
  return ok({ suite, spiOut, pair: pair.value, encapsulated: isEncapsulated(sa, mode), life, proposal, ids });
}

/** `SA, Nr [, KE] [, IDci, IDcr]`, with our lifetimes where they are shorter than the peer's (RFC 2407 §4.6.3.1). */
export function decisionPayloads(
  peer: PeerSettings,
  decision: QuickDecision,
  spiIn: number,
  Nr: Uint8Array,
  ke: Uint8Array | undefined,
): IsakmpPayload[] {
  const spi = espSpiBytes(spiIn);
  const shorterLife = ownShorterLife(peer, decision.life);
  return [
    saPayload({ ...decision.proposal, spi }),
    { kind: "NONCE", nonce: Nr },
    ...(ke ? [{ kind: "KE", data: ke } as const] : []),
    ...decision.ids,
    ...(shorterLife
      ? [notifyEsp(N.RESPONDER_LIFETIME, spi, encodeIsakmpAttributes(lifetimeAttributes(shorterLife)))]
      : []),
  ];
}

// ── Both ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Keys of both directions; each has the SPI of who receives (RFC 2409 §5.5). */
export function quickKeys(
  { suite, keys }: Secured,
  terms: QuickTerms,
  spiIn: number,
  {
    Ni,
    Nr,
    shared,
  }: { readonly Ni: Uint8Array; readonly Nr: Uint8Array; readonly shared: Secret | undefined },
): { readonly inbound: ChildSaKeys; readonly outbound: ChildSaKeys } {
  const of = (spi: number) => keymat(suite.prf, keys.SKEYID_d, terms.suite, spi, Ni, Nr, shared);
  return { inbound: of(spiIn), outbound: of(terms.spiOut) };
}

/** A notification about an SA of ESP. */
export function notifyEsp(type: number, spi: Uint8Array, data: Uint8Array = nothing): IsakmpNotifyPayload {
  return {
    kind: "N",
    doi: IsakmpDoi.code.IPSEC,
    protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
    spi,
    type,
    data,
  };
}

/** What a refusal of `offer` means to the operator. */
export function refusalOf(
  sa: IsakmpSa,
  offer: QuickOffer,
  type: number,
  replaced: IpsecSa | undefined,
): FailureRecord {
  const theirs = [IsakmpNotifyType.nameOf(type)];
  const offered = offeredTerms([offer.proposal], offer.pair);
  const ours = sa.peer!.espProposals.map((p) => p.text);
  const of = (code: FailureCode, details: Details) =>
    failureOf(sa, code, { ours, theirs, offered, ...details });
  switch (type) {
    case N.NO_PROPOSAL_CHOSEN:
    case N.ATTRIBUTES_NOT_SUPPORTED:
    case N.BAD_PROPOSAL_SYNTAX: {
      const asked = offer.group === 0 ? "none" : groupKeyword(offer.group);
      const difference = `the peer takes no proposal of ours with DH group ${asked} for perfect forward secrecy`;
      return of("NO_PROPOSAL_CHOSEN_ESP", { difference });
    }
    case N.INVALID_ID_INFORMATION:
      return of("TS_UNACCEPTABLE", {
        ours: [selectorPair(endsOf(offer.pair))],
        difference: "the peer does not take this pair of subnets",
      });
    case N.INVALID_KEY_INFORMATION:
      return of("INVALID_KE", {
        difference: `the peer does not take our public value of DH group ${groupKeyword(offer.group)}`,
      });
    default:
      return of(replaced ? "REKEY_REFUSED" : "PEER_REFUSED_CHILD", {
        difference: `the peer answers ${theirs}`,
      });
  }
}

/** The peer said nothing to our quick mode, and lives as far as anybody knows: some refuse without a word. */
export function silenceOf(sa: IsakmpSa, offer: QuickOffer, replaced: IpsecSa | undefined): FailureRecord {
  return failureOf(sa, replaced ? "REKEY_REFUSED" : "PEER_REFUSED_CHILD", {
    ours: sa.peer!.espProposals.map((p) => p.text),
    offered: offeredTerms([offer.proposal], offer.pair),
    difference: "the peer accepted us, and does not answer quick mode",
    remedy:
      "compare ipsec.proposals, perfect forward secrecy and the subnets with the peer's, and look at its log",
  });
}

/** Nothing that is configured exists in IKEv1. */
export function noOffer(sa: IsakmpSa): FailureRecord {
  return failureOf(sa, "NO_PROPOSAL_CHOSEN_ESP", {
    ours: sa.peer!.espProposals.map((p) => p.text),
    difference: "none of our proposals can be said in IKEv1",
    remedy:
      "add a proposal without chacha20poly1305, x25519 and ML-KEM to ipsec.proposals here, or use IKEv2",
  });
}

/** Why a request goes beyond what is configured. */
function beyond(peer: PeerSettings, pair: SelectorPair): string {
  const outside = (["local", "remote"] as const).filter((end) => {
    const own = { localSelectors: peer.localSelectors, remoteSelectors: peer.remoteSelectors };
    const both = {
      local: peer.localSelectors[0] ?? pair.local,
      remote: peer.remoteSelectors[0] ?? pair.remote,
    };
    return !isPermitted(own, { ...both, [end]: pair[end] });
  });
  const ends = outside.length === 1 ? `${outside[0]} subnet` : "pair of subnets";
  return `the peer asks for a ${ends} that is not all in ours, and IKEv1 has no narrowing`;
}

const scopeOf = (sa: IsakmpSa): QuickScope => ({
  encapsulated: encapsulates(sa.nat),
  draft: sa.natDialect === "draft",
});

function isEncapsulated(sa: IsakmpSa, mode: number | undefined): boolean {
  return mode === undefined ? encapsulates(sa.nat) : mode !== EncapsulationMode.code.TUNNEL;
}

const saPayload = (proposal: IsakmpProposal): IsakmpPayload => ({
  kind: "SA",
  doi: IsakmpDoi.code.IPSEC,
  situation: SIT_IDENTITY_ONLY,
  proposals: [proposal],
});

const endsOf = ({ local, remote }: SelectorPair) => ({ local: [local], remote: [remote] });

const offeredTerms = (proposals: readonly IsakmpProposal[], pair: SelectorPair): Terms => ({
  esp: formatPhase2Offer(proposals),
  selectors: [selectorPair(endsOf(pair))],
});

function ownLife(peer: PeerSettings): Life {
  const { childLifetimeMs, childLifetimeBytes } = peer;
  return {
    seconds: childLifetimeMs / 1000,
    kilobytes: childLifetimeBytes === 0 ? undefined : childLifetimeBytes / 1024,
  };
}

/** What of our lifetimes is shorter than the peer's; undefined when nothing is. */
function ownShorterLife(peer: PeerSettings, theirs: Life): Life | undefined {
  const own = ownLife(peer);
  const less = (a: number | undefined, b: number | undefined) =>
    a !== undefined && a < (b ?? Infinity) ? a : undefined;
  const life = {
    seconds: less(own.seconds, theirs.seconds),
    kilobytes: less(own.kilobytes, theirs.kilobytes),
  };
  return life.seconds === undefined && life.kilobytes === undefined ? undefined : life;
}

function responderLifetime(payloads: readonly ReceivedPayload[]): Life | undefined {
  const said = findIsakmpNotify(payloads, N.RESPONDER_LIFETIME);
  if (!said) return undefined;
  const attributes = decodeIsakmpAttributes(said.data);
  return attributes && readLifetime(attributes);
}

function shorter(a: Life, b: Life | undefined): Life {
  return { seconds: atMost(a.seconds, b?.seconds), kilobytes: atMost(a.kilobytes, b?.kilobytes) };
}

const N = IsakmpNotifyType.code;
const nothing = new Uint8Array(0);
/** RFC 4303 §2.1: 0 to 255 are reserved. */
const firstSpi = 256;
/** Behind one address there may be many peers, and each chooses its SPIs for itself. */
const spiTaken = "the peer's SPI is that of another SA to its address";
