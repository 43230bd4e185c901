/**
 * Negotiating a CHILD_SA: the part that IKE_AUTH and CREATE_CHILD_SA have in common (RFC 7296 §1.2, §1.3.1, §2.9).
 * Both roles end in `install`; whatever fails gives its inbound SPI back.
 */

import type { FailureRecord } from "../../core/failure.ts";
import type { FailureCode } from "../../core/failure-reasons.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Secret } from "../../core/secret.ts";
import type { Instant } from "../../core/time.ts";
import { namesPorts, type TrafficSelector } from "../../core/traffic-selector.ts";
import { type EspSuite, groupKeyword, isErrorNotify, NotifyType } from "../../registry/index.ts";
import {
  espSpiBytes,
  espSpiFrom,
  findNotify,
  findPayload,
  type NotifyPayload,
  type PlainPayload,
  type Proposal,
} from "../../wire/index.ts";
import {
  type Details,
  type Ends,
  failureOf,
  mismatchDetails,
  selectorDetails,
  selectorPair,
} from "../common/failures.ts";
import { isSubset } from "../common/selectors.ts";
import type { PeerSettings } from "../common/settings.ts";
import { type ChildSa, install } from "./child-sa.ts";
import { childTerms, codeOfNotify } from "./failures.ts";
import type { IkeSa } from "./ike-sa.ts";
import { childKeys } from "./key-material.ts";
import { narrowRequest } from "./narrowing.ts";
import { outerPath } from "./nat.ts";
import { notify } from "./notify.ts";
import type { Ask } from "./pairs.ts";
import { checkAnswer, choose, firstChildSa, groupsOf, offer, type Scope } from "./proposals.ts";

/** What we proposed, kept until the answer. */
export interface ChildOffer {
  readonly scope: Scope<"esp">;
  readonly spiIn: number;
  readonly proposals: readonly Proposal[];
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  readonly rekeyOf: number | undefined;
  /** Of a new CHILD_SA. */
  readonly ask: Ask | undefined;
}

/** What the keys come from: KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr [| SK(1) ...]) of §2.17 and RFC 9370 §2.2.4. */
export interface ChildSeed {
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
  readonly shared?: Secret | undefined;
  readonly additional?: readonly Secret[] | undefined;
}

/** A refusal: the notification for the peer and the record for the operator. */
export interface Refusal {
  readonly notify: number;
  readonly record: FailureRecord;
}

/** Takes an SPI. A rekey offers the negotiated selectors of the CHILD_SA it replaces, never the configured ones (§2.8). */
export function offerChild(
  sa: IkeSa,
  peer: PeerSettings,
  wanted: Ask | ChildSa,
  scope: Scope<"esp"> = firstChildSa,
): ChildOffer {
  const spiIn = sa.host.allocateSpi();
  const { localSelectors, remoteSelectors } = wanted;
  const proposals = offer(scope, peer.espProposals, espSpiBytes(spiIn));
  const isAsk = "pair" in wanted;
  const [rekeyOf, ask] = isAsk ? [undefined, wanted] : [wanted.spiIn, undefined];
  return { scope, spiIn, proposals, localSelectors, remoteSelectors, rekeyOf, ask };
}

/**
 * `SAi2, TSi, TSr`: in a request TSi is what we protect and TSr what the peer does. RFC 4301 §7.3: who would send
 * fragments that do not show their ports, on an SA for certain ports, says so.
 */
export function childOfferPayloads(o: ChildOffer): PlainPayload[] {
  return [
    { kind: "SA", proposals: o.proposals },
    { kind: "TSi", selectors: o.localSelectors },
    { kind: "TSr", selectors: o.remoteSelectors },
    ...(offersFragments(o) ? [notify(fragmentsAlso)] : []),
  ];
}

const offersFragments = (o: ChildOffer): boolean =>
  o.localSelectors.some(namesPorts) || o.remoteSelectors.some(namesPorts);

const fragmentsAlso = NotifyType.code.NON_FIRST_FRAGMENTS_ALSO;

/** The selectors of an offer. */
export const endsOf = (o: ChildOffer): Ends => ({ local: o.localSelectors, remote: o.remoteSelectors });

/** Initiator: the suite of the answer, or why there is none. Does not install. */
export function readAnswer(
  sa: IkeSa,
  o: ChildOffer,
  payloads: readonly PlainPayload[],
): Result<
  { suite: EspSuite; spiOut: number; local: readonly TrafficSelector[]; remote: readonly TrafficSelector[] },
  FailureRecord
> {
  const refused = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
  const answered = findPayload(payloads, "SA");
  if (!answered && refused) return err(refusalOf(sa, o, refused));
  const tsi = findPayload(payloads, "TSi");
  const tsr = findPayload(payloads, "TSr");
  const broken = (difference: string) => err(failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
  if (!answered || !tsi || !tsr) return broken("the answer holds neither a CHILD_SA nor a refusal");
  const suite = checkAnswer(o.scope, o.proposals, answered.proposals);
  if (!suite.ok) return broken(suite.error);
  const spiOut = espSpiFrom(answered.proposals[0]!.spi);
  if (spiOut === undefined || spiOut < 256) return broken("the answer's SPI is reserved");
  if (sa.host.children.isTaken(spiOut, outerPath(sa).remote)) return broken(spiTaken);
  if (!isSubset(tsi.selectors, o.localSelectors) || !isSubset(tsr.selectors, o.remoteSelectors)) {
    const ours = { local: o.localSelectors, remote: o.remoteSelectors };
    const theirs = { local: tsi.selectors, remote: tsr.selectors };
    const difference = "the peer answered with selectors wider than ours";
    const offered = childTerms(o.proposals, ours);
    return err(failureOf(sa, "TS_UNACCEPTABLE", { ...selectorDetails(ours, theirs), difference, offered }));
  }
  return ok({ suite: suite.value, spiOut, local: tsi.selectors, remote: tsr.selectors });
}

/** Initiator of IKE_AUTH: installs what the answer says, or gives the SPI back. */
export function acceptChild(
  sa: IkeSa,
  now: Instant,
  o: ChildOffer,
  payloads: readonly PlainPayload[],
  seed: ChildSeed = sa.secured!,
): Result<ChildSa, FailureRecord> {
  const answer = readAnswer(sa, o, payloads);
  if (!answer.ok) {
    sa.host.releaseSpi(o.spiIn);
    return answer;
  }
  const { suite, spiOut, local, remote } = answer.value;
  if (sa.deletedEarly.has(spiOut)) {
    sa.host.releaseSpi(o.spiIn);
    const difference = "the peer deleted the CHILD_SA before its answer arrived";
    return err(failureOf(sa, "PEER_DELETED", { difference }));
  }
  const { toInitiator, toResponder } = childKeys(sa.secured!, suite, seed);
  const keys = { inbound: toInitiator, outbound: toResponder };
  const terms = { spiIn: o.spiIn, spiOut, suite, keys, localSelectors: local, remoteSelectors: remote };
  const agreed = offersFragments(o) && findNotify(payloads, fragmentsAlso) !== undefined;
  return ok(install(sa, now, { ...terms, nonFirstFragments: agreed, rekeyOf: o.rekeyOf }));
}

/** What a responder decided, before anything is installed. */
export interface ChildDecision {
  readonly suite: EspSuite;
  readonly proposal: Proposal;
  readonly spiOut: number;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  /** More of what was asked for is possible in another CHILD_SA (§2.9). */
  readonly additional: boolean;
  /** The peer would send later fragments on an SA for certain ports (RFC 4301 §7.3): so do we. */
  readonly nonFirstFragments: boolean;
}

/** Responder: proposal and selectors. `replaced`: a rekey is held to the selectors that are in use. */
export function decideChild(
  sa: IkeSa,
  payloads: readonly PlainPayload[],
  scope: Scope<"esp">,
  replaced?: ChildSa,
): Result<ChildDecision, Refusal> {
  const peer = sa.peer!;
  const offered = findPayload(payloads, "SA")!.proposals;
  const chosen = choose(scope, peer.espProposals, offered);
  const theirs = {
    local: findPayload(payloads, "TSr")!.selectors,
    remote: findPayload(payloads, "TSi")!.selectors,
  };
  if (!chosen.ok) {
    const details = { ...mismatchDetails(chosen.error), offered: childTerms(offered, theirs) };
    const record = failureOf(sa, "NO_PROPOSAL_CHOSEN_ESP", details);
    return err({ notify: NotifyType.code.NO_PROPOSAL_CHOSEN, record });
  }
  const { suite, proposal } = chosen.value;
  const spiOut = espSpiFrom(proposal.spi)!;
  if (spiOut < 256) {
    const record = failureOf(sa, "PEER_PROTOCOL_ERROR", {
      difference: `the peer's SPI ${spiOut} is reserved`,
    });
    return err({ notify: NotifyType.code.NO_PROPOSAL_CHOSEN, record });
  }
  if (sa.host.children.isTaken(spiOut, outerPath(sa).remote)) {
    const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: spiTaken });
    return err({ notify: NotifyType.code.TEMPORARY_FAILURE, record });
  }
  const own = replaced ?? peer;
  const narrowed = narrowRequest(own, !replaced && peer.perSubnetPair === true, theirs);
  if (!narrowed.ok) {
    const ours = { local: own.localSelectors, remote: own.remoteSelectors };
    const { difference, remedy, notify } = narrowed.error;
    const details = {
      ...selectorDetails(ours, theirs),
      difference,
      offered: childTerms(offered, theirs),
      ...(remedy && { remedy }),
    };
    return err({ notify, record: failureOf(sa, "TS_UNACCEPTABLE", details) });
  }
  const { localSelectors, remoteSelectors, additional } = narrowed.value;
  const nonFirstFragments = findNotify(payloads, fragmentsAlso) !== undefined;
  return ok({ suite, proposal, spiOut, localSelectors, remoteSelectors, additional, nonFirstFragments });
}

/** Responder: `SAr2, TSi, TSr`. */
export function decisionPayloads(decision: ChildDecision, spiIn: number): PlainPayload[] {
  const { number, protocolId, transforms } = decision.proposal;
  const payloads: PlainPayload[] = [
    { kind: "SA", proposals: [{ number, protocolId, spi: espSpiBytes(spiIn), transforms }] },
    { kind: "TSi", selectors: decision.remoteSelectors },
    { kind: "TSr", selectors: decision.localSelectors },
  ];
  if (decision.additional) payloads.push(notify(NotifyType.code.ADDITIONAL_TS_POSSIBLE));
  if (decision.nonFirstFragments) payloads.push(notify(fragmentsAlso));
  return payloads;
}

/** Responder: installs what was decided, with an inbound SPI that was allocated for it. */
export function installDecision(
  sa: IkeSa,
  now: Instant,
  decision: ChildDecision,
  seed: ChildSeed,
  spiIn: number,
  rekeyOf?: number,
): ChildSa {
  const { toInitiator, toResponder } = childKeys(sa.secured!, decision.suite, seed);
  const keys = { inbound: toResponder, outbound: toInitiator };
  const { suite, spiOut, localSelectors, remoteSelectors, nonFirstFragments } = decision;
  const terms = { spiIn, spiOut, suite, keys, localSelectors, remoteSelectors, nonFirstFragments, rekeyOf };
  return install(sa, now, terms);
}

/** Responder of IKE_AUTH: decides and installs. */
export function answerChild(
  sa: IkeSa,
  now: Instant,
  payloads: readonly PlainPayload[],
): Result<PlainPayload[], Refusal> {
  const decision = decideChild(sa, payloads, firstChildSa);
  if (!decision.ok) return decision;
  const spiIn = sa.host.allocateSpi();
  installDecision(sa, now, decision.value, sa.secured!, spiIn);
  return ok(decisionPayloads(decision.value, spiIn));
}

/** What a refusal of `o` means to the operator. */
export function refusalOf(sa: IkeSa, o: ChildOffer, refused: NotifyPayload): FailureRecord {
  const theirs = [NotifyType.nameOf(refused.type)];
  const offered = childTerms(o.proposals, endsOf(o));
  const ours = sa.peer!.espProposals.map((p) => p.text);
  const of = (code: FailureCode, details: Details) =>
    failureOf(sa, code, { ours, theirs, offered, ...details });
  switch (refused.type) {
    case NotifyType.code.NO_PROPOSAL_CHOSEN: {
      if (!o.scope.pfs) return of("NO_PROPOSAL_CHOSEN_ESP", {});
      const groups = groupsOf(sa.peer!.espProposals).map(groupKeyword).join(" or ");
      const asked = groups === "" ? "no DH group" : `DH group ${groups}`;
      return of("NO_PROPOSAL_CHOSEN_ESP", {
        difference: `perfect forward secrecy: we ask for ${asked}, the peer answers ${theirs}`,
      });
    }
    case NotifyType.code.TS_UNACCEPTABLE:
      return of("TS_UNACCEPTABLE", { ours: [selectorPair(endsOf(o))] });
    case NotifyType.code.SINGLE_PAIR_REQUIRED:
      return of("TS_UNACCEPTABLE", {
        ours: [selectorPair(endsOf(o))],
        difference: "the peer takes one pair of subnets in a CHILD_SA, and was asked for several",
        remedy: "set ipsec.perSubnetPair here to auto or true, or let the peer take several",
      });
    case NotifyType.code.CHILD_SA_NOT_FOUND:
      return of("CHILD_SA_NOT_FOUND", {});
    default: {
      const code = codeOfNotify(
        refused.type,
        o.rekeyOf === undefined ? "PEER_REFUSED_CHILD" : "REKEY_REFUSED",
      );
      return of(code, { difference: `the peer answers ${theirs}` });
    }
  }
}

/** Behind one address there may be many peers, and each chooses its SPIs for itself. */
const spiTaken = "the peer's SPI is that of another SA to its address";
