/**
 * The initiator of CREATE_CHILD_SA for a CHILD_SA (RFC 7296 §1.3.1, §1.3.3): another one, or a new one for an old one.
 *
 *   HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr} -->
 *                                  <-- HDR, SK {SA, Nr, [KEr,] TSi, TSr}
 *
 * Whatever the peer answers, the old CHILD_SA carries packets until a new one can.
 */

import type { FailureRecord } from "../../../core/failure.ts";
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import {
  type AdditionalMethod,
  ExchangeType,
  isErrorNotify,
  NotifyType,
  TransformType,
} from "../../../registry/index.ts";
import { findPayload, type NotifyPayload, type PlainPayload } from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import {
  acceptChild,
  type ChildOffer,
  type ChildSeed,
  childOfferPayloads,
  offerChild,
  readAnswer,
  refusalOf,
} from "../child-negotiation.ts";
import { type ChildSa, concede, requestChildDelete, settleRekey, uninstall } from "../child-sa.ts";
import { lowerNonce } from "../cookie.ts";
import { type InitiatedExchange, priorities, type Received } from "../exchange.ts";
import type { IkeSa } from "../ike-sa.ts";
import { notifyChild } from "../notify.ts";
import type { Ask } from "../pairs.ts";
import type { PayloadRules } from "../payload-rules.ts";
import { groupsOf, laterChildSa } from "../proposals.ts";
import { endRehearsal, onRehearsalUnanswered, reportRekeyFailure } from "../rehearsal.ts";
import { isDuplicate, nonceBytes, refusedDelay, retryDelay } from "./create-child-common.ts";
import { followUp } from "./ike-followup-ke.ts";

const type = ExchangeType.code.CREATE_CHILD_SA;

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

/** The old CHILD_SA is as good as it was: try again later, and not in step with the peer. */
function retryLater(sa: IkeSa, now: Instant, old: ChildSa): void {
  if (old.state.name === "INSTALLED") old.rekeyAt = now + retryDelay(sa, sa.host.limits.rekeyRetryMs);
}

/** Two configurations that disagree: an operator may repair them, so it is tried again, but rarely. */
function retryRefused(sa: IkeSa, now: Instant, old: ChildSa): void {
  if (old.state.name === "INSTALLED") old.rekeyAt = now + refusedDelay(sa, old.expiresAt - now);
}

const newChildName = "create CHILD_SA";
const childRekeyPrefix = "rekey CHILD_SA ";
/** The exchange that replaces `child`, by its name. */
export const childRekeyName = (child: ChildSa): string => `${childRekeyPrefix}${child.spiIn}`;
/** An exchange of ours that makes a CHILD_SA is under way. */
export const isMakingChild = (sa: IkeSa): boolean =>
  sa.underWay === newChildName || sa.underWay?.startsWith(childRekeyPrefix) === true;
