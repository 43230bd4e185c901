/**
 * CREATE_CHILD_SA (RFC 7296 §1.3): another CHILD_SA, a new one for an old one, or a new IKE SA for the old.
 *
 *   HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr} -->          (CHILD_SA, new or rekeyed)
 *   HDR, SK {SA, Ni, KEi} -->                                     (IKE SA, rekeyed)
 *                                  <-- HDR, SK {SA, Nr, [KEr,] [TSi, TSr]}
 *
 * When both sides rekey the same CHILD_SA at once, both succeed, and the nonces say whose result goes (§2.8.1). Both
 * then know of each other: a side that answers after its own rekey is through is deleting the old SA, and refuses
 * (§2.25.1), so that two results exist only if each side answered before it was answered.
 */

import type { FailureRecord } from "../../../core/failure.ts";
import { err, ok } from "../../../core/result.ts";
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import { intersectSelectors, type TrafficSelector } from "../../../core/traffic-selector.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import {
  type AdditionalMethod,
  ExchangeType,
  isErrorNotify,
  NotifyType,
  ProtocolId,
  TransformType,
} from "../../../registry/index.ts";
import {
  espSpiFrom,
  findNotify,
  findPayload,
  type NotifyPayload,
  type PlainPayload,
} from "../../../wire/index.ts";
import {
  acceptChild,
  type ChildOffer,
  type ChildSeed,
  childOfferPayloads,
  decideChild,
  decisionPayloads,
  installDecision,
  offerChild,
  readAnswer,
  refusalOf,
} from "../child-negotiation.ts";
import {
  type ChildSa,
  childByOutboundSpi,
  concede,
  contend,
  markRekeyed,
  outboundOrder,
  requestChildDelete,
  settleRekey,
  standBeside,
  uninstall,
} from "../child-sa.ts";
import { lowerNonce } from "../cookie.ts";
import {
  type Answer,
  type Exchange,
  type InitiatedExchange,
  priorities,
  type Received,
} from "../exchange.ts";
import { failureOf } from "../failures.ts";
import type { IkeSa } from "../ike-sa.ts";
import { sharedSecret } from "../key-material.ts";
import { notifyChild } from "../notify.ts";
import type { Ask } from "../pairs.ts";
import { type PayloadRules, violation } from "../payload-rules.ts";
import { groupsOf, laterChildSa } from "../proposals.ts";
import { endRehearsal, onRehearsalUnanswered, reportRekeyFailure } from "../rehearsal.ts";
import { isSubset } from "../selectors.ts";
import { confirmContender } from "../succession.ts";
import { agreeKey, nonceBytes, refuse, refusedDelay, retryDelay } from "./create-child-common.ts";
import { followUp } from "./ike-followup-ke.ts";
import { ikeRekeyName, ikeRekeyRules, onIkeRekey } from "./rekey-ike-sa.ts";

const type = ExchangeType.code.CREATE_CHILD_SA;
const anyKind: PayloadRules = { required: ["SA", "Nonce"], optional: ["KE", "TSi", "TSr"] };
const childRules: PayloadRules = { required: ["SA", "Nonce", "TSi", "TSr"], optional: ["KE"] };

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export const createChildSa: Exchange = {
  name: "CREATE_CHILD_SA",
  type,
  rfc: "RFC 7296 §1.3",
  // Before IKE_AUTH nobody may create anything: that was an authentication bypass elsewhere.
  from: ["ESTABLISHED", "REKEYED", "CONTENDING", "DELETING"],
  request: anyKind,
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, message: Received): Answer {
  const { payloads } = message;
  confirmContender(sa, now);
  const rekey = findNotify(payloads, NotifyType.code.REKEY_SA);
  const offered = findPayload(payloads, "SA")!.proposals;
  const isIke = !rekey && offered.some((p) => p.protocolId === ProtocolId.code.IKE);
  // §2.25.2: an IKE SA that is being replaced or closed takes nothing new but the peer's own attempt to replace it.
  if (!sa.established || (!isIke && sa.hasExchange(ikeRekeyName)))
    return refuse(NotifyType.code.TEMPORARY_FAILURE);
  const problem = violation(isIke ? ikeRekeyRules : childRules, payloads);
  if (problem !== undefined) {
    const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `CREATE_CHILD_SA: ${problem}` });
    return { ...refuse(NotifyType.code.INVALID_SYNTAX), afterwards: () => sa.fail(now, record) };
  }
  if (rekey) return onChildRekey(sa, now, payloads, rekey);
  return isIke ? onIkeRekey(sa, now, payloads) : onNewChild(sa, now, payloads);
}

function onNewChild(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[], replaced?: ChildSa): Answer {
  const refusal = obstacle(sa, payloads, replaced);
  if (refusal !== undefined) return refusal;
  const decision = decideChild(sa, payloads, laterChildSa, replaced);
  if (!decision.ok) {
    sa.host.emit({ kind: "failure", sa, record: decision.error.record });
    return refuse(decision.error.notify);
  }
  const agreed = agreeKey(sa, payloads, decision.value.suite.group);
  if (!agreed.ok) return agreed.error;
  const Nr = sa.host.random.bytes(nonceBytes);
  const Ni = Uint8Array.from(findPayload(payloads, "Nonce")!.nonce);
  const { shared } = agreed.value;
  const spiIn = sa.host.allocateSpi();
  const [saPayload, ...selectors] = decisionPayloads(decision.value, spiIn);
  const said = [saPayload!, { kind: "Nonce", nonce: Nr } as const, ...agreed.value.payloads, ...selectors];
  const make = (at: Instant, additional: readonly Secret[]) => {
    const seed = { Ni, Nr, shared, additional };
    const child = installDecision(sa, at, decision.value, seed, spiIn, replaced?.spiIn);
    sa.unconfirmed = child;
    shared?.wipe();
    if (!replaced) {
      if (isDuplicate(sa, child, 0)) standBeside(sa, at, child);
      return undefined;
    }
    return () => {
      if (sa.underWay === childRekeyName(replaced))
        contend(sa, at, replaced, { child, lowestNonce: lowerNonce(Ni, Nr) });
      markRekeyed(sa, at, replaced, child);
    };
  };
  const { additional } = decision.value.suite;
  if (!additional) return { payloads: said, afterwards: make(now, []) };

  const abandon = () => {
    sa.host.releaseSpi(spiIn);
    shared?.wipe();
  };
  const complete = (at: Instant, secrets: readonly Secret[]) => {
    // The request was made before these exchanges: what would be refused by now is refused.
    const refusal = obstacle(sa, payloads, replaced);
    if (refusal === undefined) return ok(make(at, secrets));
    abandon();
    return err(refusal);
  };
  return { payloads: [...said, sa.followUps.begin(now, { methods: additional, complete, abandon })] };
}

/** Why a CHILD_SA, or one in the place of `replaced`, cannot be made now. */
function obstacle(
  sa: IkeSa,
  payloads: readonly PlainPayload[],
  replaced: ChildSa | undefined,
): Answer | undefined {
  const gone = replaced && (replaced.state.name !== "INSTALLED" || !sa.children.has(replaced.spiIn));
  if (gone || sa.hasExchange(ikeRekeyName)) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  // Bounds what an authenticated peer can make us keep.
  const { children } = sa.host.limits;
  if (sa.children.size >= (replaced ? 2 * children : children)) return refuseChildOverLimit(sa);
  // Both sides miss the same CHILD_SA and ask for it at once: the initiator's request is the one that counts.
  if (!replaced && sa.role === "initiator" && isAskedFor(sa, payloads))
    return refuse(NotifyType.code.TEMPORARY_FAILURE);
  return undefined;
}

function onChildRekey(
  sa: IkeSa,
  now: Instant,
  payloads: readonly PlainPayload[],
  rekey: NotifyPayload,
): Answer {
  const spi = espSpiFrom(rekey.spi);
  const child =
    rekey.protocolId === ProtocolId.code.ESP && spi !== undefined ? childByOutboundSpi(sa, spi) : undefined;
  // Perhaps the one that the peer has made for us, and whose announcement is still under way.
  if (!child && isMakingChild(sa)) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  // §2.25: the answer repeats which SA it could not find.
  if (!child)
    return { payloads: [{ ...rekey, type: NotifyType.code.CHILD_SA_NOT_FOUND, data: new Uint8Array(0) }] };
  // Being closed, or replaced by the peer already: another answer may fit in a moment, this request does not.
  if (child.state.name !== "INSTALLED") return refuse(NotifyType.code.TEMPORARY_FAILURE);
  return onNewChild(sa, now, payloads, child);
}

// ── Initiator: CHILD_SAs ───────────────────────────────────────────────────────────────────────────────────────

/** Replaces `child`; on success it is deleted, on failure it stays and the rekey is tried again until it expires. */
export function rekeyChildSa(child: ChildSa): InitiatedExchange {
  return new CreateChild(child, undefined, undefined);
}

/** Another CHILD_SA, for the selectors of `ask`; `sa.pairs` learns how it went. */
export function newChildSa(ask: Ask): InitiatedExchange {
  return new CreateChild(undefined, ask, undefined);
}

class CreateChild implements InitiatedExchange {
  readonly name: string;
  readonly type = type;
  readonly priority = priorities.rekeyChild;
  readonly response: PayloadRules = { required: [], optional: ["SA", "Nonce", "KE", "TSi", "TSr"] };
  readonly #replaced: ChildSa | undefined;
  /** Set when nothing is replaced. */
  readonly #ask: Ask | undefined;
  /** Set when the peer asked for another group than our first. */
  readonly #wantedGroup: number | undefined;
  #Ni: Uint8Array | undefined;
  #since: Instant = 0;
  #offer: ChildOffer | undefined;
  #keyPair: KeyPair | undefined;
  /** The first secret, while additional key exchanges are under way. */
  #shared: Secret | undefined;

  constructor(replaced: ChildSa | undefined, ask: Ask | undefined, wantedGroup: number | undefined) {
    this.name = replaced ? childRekeyName(replaced) : newChildName;
    this.#replaced = replaced;
    this.#ask = ask;
    this.#wantedGroup = wantedGroup;
  }

  buildRequest(sa: IkeSa, now: Instant): PlainPayload[] | undefined {
    const old = this.#replaced;
    if (!sa.established || (old && (old.state.name !== "INSTALLED" || !sa.children.has(old.spiIn))))
      return undefined;
    if (this.#ask && sa.pairs!.isMet(sa, now, this.#ask)) return undefined;
    const peer = sa.peer!;
    this.#since = now;
    this.#Ni ??= sa.host.random.bytes(nonceBytes);
    this.#offer ??= offerChild(sa, peer, old ?? this.#ask!, laterChildSa);
    const group = this.#wantedGroup ?? groupsOf(peer.espProposals)[0];
    if (group !== undefined) this.#keyPair ??= sa.host.keyPairs.take(group);
    const [saPayload, ...selectors] = childOfferPayloads(this.#offer);
    return [
      // §1.3.3: named by the SPI that we receive on.
      ...(old ? [notifyChild(NotifyType.code.REKEY_SA, old.spiIn)] : []),
      saPayload!,
      { kind: "Nonce", nonce: this.#Ni },
      ...(this.#keyPair
        ? [{ kind: "KE", dhGroup: this.#keyPair.group, data: this.#keyPair.publicValue } as const]
        : []),
      ...selectors,
    ];
  }

  onResponse(sa: IkeSa, now: Instant, { payloads }: Received): "done" {
    const error = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    if (!sa.established) this.onAbandon(sa);
    else if (!findPayload(payloads, "SA") && error) this.#onRefusal(sa, now, error);
    else this.#onAnswer(sa, now, payloads);
    return "done";
  }

  #onAnswer(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[]): void {
    const nonce = findPayload(payloads, "Nonce");
    const ke = findPayload(payloads, "KE");
    const shared =
      ke && this.#keyPair?.group === ke.dhGroup ? sharedSecret(this.#keyPair, ke.data) : undefined;
    const chosenGroup =
      findPayload(payloads, "SA")?.proposals[0]?.transforms.find((t) => t.type === TransformType.code.DH)
        ?.id ?? 0;
    const problem = !nonce
      ? "no Nonce payload"
      : chosenGroup !== 0 && !shared
        ? "no usable KE payload for the chosen group"
        : undefined;
    const offered = this.#offer!;
    const old = this.#replaced;
    if (problem !== undefined) {
      shared?.wipe();
      this.#release(sa);
      if (old) concede(sa, old);
      const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `CREATE_CHILD_SA: ${problem}` });
      this.#failed(sa, now, 0, record);
      return;
    }
    const Nr = Uint8Array.from(nonce!.nonce);
    const seed = { Ni: this.#Ni!, Nr, shared: chosenGroup === 0 ? undefined : shared };
    this.#keyPair?.wipe();
    const answer = readAnswer(sa, offered, payloads);
    const additional = answer.ok ? answer.value.suite.additional : undefined;
    if (additional) this.#followUp(sa, now, additional, payloads, seed);
    else this.#conclude(sa, now, payloads, seed);
  }

  /** The peer agreed to more key exchanges: they come first. */
  #followUp(
    sa: IkeSa,
    now: Instant,
    methods: readonly AdditionalMethod[],
    payloads: readonly PlainPayload[],
    seed: ChildSeed,
  ): void {
    const old = this.#replaced;
    this.#shared = seed.shared;
    const onBroken = (_: IkeSa, at: Instant, problem: string) => {
      this.onAbandon(sa);
      if (old) concede(sa, old);
      const difference = `CREATE_CHILD_SA: ${problem}`;
      this.#failed(sa, at, 0, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
    };
    const problem = followUp(sa, now, methods, payloads, {
      name: this.name,
      onKeys: (_, at, additional) => {
        if (sa.established) this.#conclude(sa, at, payloads, { ...seed, additional });
        else this.onAbandon(sa);
      },
      onRefused: (_, at, error) => {
        if (sa.established) this.#onRefusal(sa, at, error);
        else this.onAbandon(sa);
      },
      onBroken,
      onTimeout: (_, at) => this.onTimeout(sa, at),
      onAbandon: () => this.onAbandon(sa),
    });
    if (problem !== undefined) onBroken(sa, now, problem);
  }

  #conclude(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[], seed: ChildSeed): void {
    const old = this.#replaced;
    const offered = this.#offer!;
    this.#offer = undefined;
    const accepted = acceptChild(sa, now, offered, payloads, seed);
    seed.shared?.wipe();
    if (!accepted.ok) {
      if (old) concede(sa, old);
      this.#failed(sa, now, 0, accepted.error);
      return;
    }
    const child = accepted.value;
    if (old) settleRekey(sa, now, old, child, lowerNonce(seed.Ni, seed.Nr));
    if (!this.#ask) return;
    // Both sides missed the same CHILD_SA, and the initiator's came first: ours was one too many.
    const redundant = sa.role === "responder" && isDuplicate(sa, child, this.#since);
    sa.pairs!.onAccepted(sa, now, this.#ask, child);
    if (redundant) requestChildDelete(sa, now, child, "duplicate");
  }

  #onRefusal(sa: IkeSa, now: Instant, error: NotifyPayload): void {
    const old = this.#replaced;
    const offered = this.#offer!;
    this.#release(sa);
    if (old) concede(sa, old);
    // The peer has replaced it, or closed it, while we asked: there is nothing left to do and nothing to report.
    if (old && (old.state.name !== "INSTALLED" || sa.children.get(old.spiIn) !== old)) return;
    switch (error.type) {
      case NotifyType.code.TEMPORARY_FAILURE:
      // RFC 9370 §2.2.4: the peer has given up waiting for our key exchanges.
      case NotifyType.code.STATE_NOT_FOUND:
        if (old) retryLater(sa, now, old);
        else sa.pairs!.onPostponed(sa, now, this.#ask!);
        return;
      case NotifyType.code.CHILD_SA_NOT_FOUND:
        // The peer has lost it: keeping our half would only swallow packets.
        if (!old) return;
        sa.host.emit({ kind: "failure", sa, record: refusalOf(sa, offered, error) });
        uninstall(sa, now, old, "deleted-by-peer");
        return;
      case NotifyType.code.INVALID_KE_PAYLOAD: {
        const group = error.data.length === 2 ? (error.data[0]! << 8) | error.data[1]! : 0;
        const allowed = groupsOf(sa.peer!.espProposals).includes(group);
        if (!allowed || this.#wantedGroup !== undefined) break;
        sa.initiate(now, new CreateChild(old, this.#ask, group));
        return;
      }
    }
    this.#failed(sa, now, error.type, refusalOf(sa, offered, error));
  }

  /** `error`: the peer's notification, 0 when its answer was of no use. */
  #failed(sa: IkeSa, now: Instant, error: number, record: FailureRecord): void {
    const old = this.#replaced;
    if (!old) {
      sa.pairs!.onRefused(sa, now, this.#ask!, error, record);
      return;
    }
    reportRekeyFailure(sa, old, record);
    if (endRehearsal(old)) return;
    if (error === 0) retryLater(sa, now, old);
    else retryRefused(sa, now, old);
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.onAbandon(sa);
    if (this.#replaced?.rehearsal) onRehearsalUnanswered(sa, now, this.#replaced);
    else sa.endDead(now);
  }

  onAbandon(sa: IkeSa): void {
    this.#release(sa);
    if (this.#ask) sa.pairs?.onAnswered();
  }

  #release(sa: IkeSa): void {
    if (this.#offer) sa.host.releaseSpi(this.#offer.spiIn);
    this.#offer = undefined;
    this.#keyPair?.wipe();
    this.#keyPair = undefined;
    this.#shared?.wipe();
  }
}

function refuseChildOverLimit(sa: IkeSa): Answer {
  const difference = `the peer asks for another CHILD_SA, and this IKE SA has ${sa.children.size}`;
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "CHILD_SA_LIMIT", { difference }) });
  return refuse(NotifyType.code.NO_ADDITIONAL_SAS);
}

/** The old CHILD_SA is as good as it was: try again later, and not in step with the peer. */
function retryLater(sa: IkeSa, now: Instant, old: ChildSa): void {
  if (old.state.name === "INSTALLED") old.rekeyAt = now + retryDelay(sa, sa.host.limits.rekeyRetryMs);
}

/** Two configurations that disagree: an operator may repair them, so it is tried again, but rarely. */
function retryRefused(sa: IkeSa, now: Instant, old: ChildSa): void {
  if (old.state.name === "INSTALLED") old.rekeyAt = now + refusedDelay(sa, old.expiresAt - now);
}

/** A request of ours for some of what this request of the peer is about waits, or is under way. */
function isAskedFor(sa: IkeSa, payloads: readonly PlainPayload[]): boolean {
  const ask = sa.pairs?.asking;
  if (!ask) return false;
  const meets = (ours: readonly TrafficSelector[], theirs: readonly TrafficSelector[]) =>
    ours.some((a) => theirs.some((b) => intersectSelectors(a, b) !== undefined));
  return (
    meets(ask.localSelectors, findPayload(payloads, "TSr")!.selectors) &&
    meets(ask.remoteSelectors, findPayload(payloads, "TSi")!.selectors)
  );
}

/** Another one, made at `since` or later, carries everything that `made` does. */
function isDuplicate(sa: IkeSa, made: ChildSa, since: Instant): boolean {
  return outboundOrder(sa).some(
    (other) =>
      other !== made &&
      other.state.name === "INSTALLED" &&
      other.installedAt >= since &&
      isSubset(made.localSelectors, other.localSelectors) &&
      isSubset(made.remoteSelectors, other.remoteSelectors),
  );
}

const newChildName = "create CHILD_SA";
const childRekeyPrefix = "rekey CHILD_SA ";
const childRekeyName = (child: ChildSa): string => `${childRekeyPrefix}${child.spiIn}`;
const isMakingChild = (sa: IkeSa): boolean =>
  sa.underWay === newChildName || sa.underWay?.startsWith(childRekeyPrefix) === true;
