/**
 * CREATE_CHILD_SA for the IKE SA itself (RFC 7296 §1.3.2, §2.18).
 *
 *   HDR, SK {SA, Ni, KEi} -->
 *                                  <-- HDR, SK {SA, Nr, KEr}
 *
 * When both sides ask at once, both get a successor, and the CHILD_SAs wait until the nonces have said which of the two
 * stays (§2.8.2). The other is closed by the side that created it, the old one by the creator of the one that stays.
 */

import { compareBytes } from "../../../core/address.ts";
import { err, ok } from "../../../core/result.ts";
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import {
  type AdditionalMethod,
  ExchangeType,
  type IkeSuite,
  isErrorNotify,
  NotifyType,
} from "../../../registry/index.ts";
import {
  findPayload,
  ikeSpiBytes,
  ikeSpiFrom,
  type NotifyPayload,
  type PlainPayload,
  type Proposal,
} from "../../../wire/index.ts";
import { failureOf, mismatchDetails } from "../../common/failures.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import { lowerNonce } from "../cookie.ts";
import { takeToken } from "../crash-detection.ts";
import { type Answer, type InitiatedExchange, priorities, type Received } from "../exchange.ts";
import { codeOfNotify } from "../failures.ts";
import type { IkeSa } from "../ike-sa.ts";
import { secureRekeyed } from "../key-material.ts";
import { type PayloadRules, violation } from "../payload-rules.ts";
import { checkAnswer, choose, formatOffer, groupsOf, offer, rekeyedIkeSa } from "../proposals.ts";
import { inherit, inheritRival, successorOf } from "../succession.ts";
import { agreeKey, nonceBytes, refuse, refusedDelay, retryDelay } from "./create-child-common.ts";
import { followUp } from "./ike-followup-ke.ts";

const type = ExchangeType.code.CREATE_CHILD_SA;
export const ikeRekeyRules: PayloadRules = { required: ["SA", "Nonce", "KE"], optional: [] };
export const ikeRekeyName = "rekey IKE SA";
/** A peer that replaces its IKE SA faster than it deletes the old ones has to wait: each is kept for `rekeyedMs`. */
const mostAlive = 16;

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export function onIkeRekey(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[]): Answer {
  if (!sa.idle && !collides(sa)) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  if (sa.family.alive > mostAlive) return refuse(NotifyType.code.TEMPORARY_FAILURE);
  const peer = sa.peer!;
  const chosen = choose(rekeyedIkeSa, peer.ikeProposals, findPayload(payloads, "SA")!.proposals);
  if (!chosen.ok) {
    const details = { ...mismatchDetails(chosen.error), offered: { ike: chosen.error.theirs } };
    const record = failureOf(sa, "NO_PROPOSAL_CHOSEN_IKE", details);
    sa.host.emit({ kind: "failure", sa, record });
    return refuse(NotifyType.code.NO_PROPOSAL_CHOSEN);
  }
  const { suite, proposal } = chosen.value;
  const spiRemote = ikeSpiFrom(proposal.spi)!;
  if (spiRemote === 0n) {
    const difference = "IKE SA rekey: the peer's new SPI is zero";
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }) });
    return refuse(NotifyType.code.NO_PROPOSAL_CHOSEN);
  }
  const agreed = agreeKey(sa, payloads, suite.group);
  if (!agreed.ok) return agreed.error;
  const spiLocal = sa.host.newIkeSpi();
  const Nr = sa.host.random.bytes(nonceBytes);
  const Ni = Uint8Array.from(findPayload(payloads, "Nonce")!.nonce);
  const ids = { role: "responder", spiInitiator: spiRemote, spiResponder: spiLocal } as const;
  const shared = agreed.value.shared!;
  const make = (at: Instant, additional: readonly Secret[]) => {
    const agreement = { Ni, Nr, shared, additional };
    const secured = secureRekeyed(sa.host.random, sa.secured!, ids, suite, agreement);
    const colliding = collides(sa);
    return () => {
      const until = at + sa.host.limits.rekeyedMs;
      const state = colliding
        ? ({ name: "CONTENDING", until, old: sa } as const)
        : ({ name: "ESTABLISHED", since: at } as const);
      const successor = successorOf(sa, at, { role: "responder", spiLocal, spiRemote, secured }, state);
      sa.rival = { sa: successor, lowestNonce: lowerNonce(Ni, Nr) };
      if (!colliding) inheritRival(sa, at);
    };
  };
  const said: PlainPayload[] = [
    { kind: "SA", proposals: [{ ...proposal, spi: ikeSpiBytes(spiLocal) }] },
    { kind: "Nonce", nonce: Nr },
    ...agreed.value.payloads,
  ];
  const { additional } = suite;
  if (!additional) return { payloads: said, afterwards: make(now, []) };

  const abandon = () => shared.wipe();
  const complete = (at: Instant, secrets: readonly Secret[]) => {
    // What would be refused by now is refused.
    if (sa.idle || collides(sa)) return ok(make(at, secrets));
    abandon();
    return err(refuse(NotifyType.code.TEMPORARY_FAILURE));
  };
  return { payloads: [...said, sa.followUps.begin(now, { methods: additional, complete, abandon })] };
}

/**
 * Both sides rekey at once. With any other exchange of ours under way the peer has to wait (§2.25.2): it may be about
 * CHILD_SAs, and the successor would inherit what comes of it.
 */
function collides(sa: IkeSa): boolean {
  return sa.underWay === ikeRekeyName && !sa.rival;
}

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Replaces the IKE SA; its CHILD_SAs move to the successor untouched (§2.18). */
export function rekeyIkeSa(): InitiatedExchange {
  return new IkeRekey(undefined);
}

class IkeRekey implements InitiatedExchange {
  readonly name = ikeRekeyName;
  readonly type = type;
  readonly priority = priorities.rekeyIke;
  readonly response: PayloadRules = { required: [], optional: ["SA", "Nonce", "KE"] };
  readonly #wantedGroup: number | undefined;
  #spiLocal = 0n;
  #Ni: Uint8Array | undefined;
  #proposals: Proposal[] = [];
  #keyPair: KeyPair | undefined;
  /** The first secret, while additional key exchanges are under way. */
  #shared: Secret | undefined;

  constructor(wantedGroup: number | undefined) {
    this.#wantedGroup = wantedGroup;
  }

  buildRequest(sa: IkeSa): PlainPayload[] | undefined {
    if (!sa.established) return undefined;
    const { ikeProposals } = sa.peer!;
    this.#spiLocal = sa.host.newIkeSpi();
    sa.host.offeredIkeSpis.add(this.#spiLocal);
    this.#Ni = sa.host.random.bytes(nonceBytes);
    this.#proposals = offer(rekeyedIkeSa, ikeProposals, ikeSpiBytes(this.#spiLocal));
    this.#keyPair = sa.host.keyPairs.take(this.#wantedGroup ?? groupsOf(ikeProposals)[0]!);
    return [
      { kind: "SA", proposals: this.#proposals },
      { kind: "Nonce", nonce: this.#Ni },
      { kind: "KE", dhGroup: this.#keyPair.group, data: this.#keyPair.publicValue },
    ];
  }

  onResponse(sa: IkeSa, now: Instant, { payloads }: Received): "done" {
    const keyPair = this.#keyPair!;
    this.#keyPair = undefined;
    const error = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    // One that is being closed has made a successor all the same, which the peer has, with the CHILD_SAs: it goes too.
    if (error && !findPayload(payloads, "SA")) {
      this.#onRefusal(sa, now, error);
    } else {
      const problem = this.#accept(sa, now, payloads, keyPair);
      if (problem !== undefined) this.#onBroken(sa, now, problem);
    }
    keyPair.wipe();
    if (!this.#shared) sa.host.offeredIkeSpis.delete(this.#spiLocal);
    return "done";
  }

  #onBroken(sa: IkeSa, now: Instant, problem: string): void {
    const difference = `IKE SA rekey: ${problem}`;
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }) });
    this.#failed(sa, now);
  }

  #accept(sa: IkeSa, now: Instant, payloads: readonly PlainPayload[], keyPair: KeyPair): string | undefined {
    const problem = violation(ikeRekeyRules, payloads);
    if (problem !== undefined) return problem;
    const answered = findPayload(payloads, "SA")!.proposals;
    const suite = checkAnswer(rekeyedIkeSa, this.#proposals, answered);
    if (!suite.ok) return suite.error;
    const spiRemote = ikeSpiFrom(answered[0]!.spi)!;
    if (spiRemote === 0n) return "the answer's SPI is zero";
    const ke = findPayload(payloads, "KE")!;
    if (ke.dhGroup !== keyPair.group || suite.value.group !== keyPair.group) return "KE is for another group";
    const shared = sharedSecret(keyPair, ke.data);
    if (!shared) return "the key exchange data is not a valid public value";
    const spiLocal = this.#spiLocal;
    const Nr = Uint8Array.from(findPayload(payloads, "Nonce")!.nonce);
    const answer = { payloads, suite: suite.value, spiLocal, spiRemote, Nr, shared };
    const { additional } = suite.value;
    if (additional) return this.#followUp(sa, now, additional, answer);
    this.#conclude(sa, now, answer, []);
    return undefined;
  }

  /** The peer agreed to more key exchanges: they come first. */
  #followUp(
    sa: IkeSa,
    now: Instant,
    methods: readonly AdditionalMethod[],
    answer: IkeAnswer,
  ): string | undefined {
    this.#shared = answer.shared;
    const stands = () => !sa.is("CLOSED");
    const problem = followUp(sa, now, methods, answer.payloads, {
      name: this.name,
      onKeys: (_, at, secrets) => {
        if (stands()) this.#conclude(sa, at, answer, secrets);
        this.onAbandon(sa);
      },
      onRefused: (_, at, error) => {
        this.onAbandon(sa);
        if (stands()) this.#onRefusal(sa, at, error);
      },
      onBroken: (_, at, broken) => {
        this.onAbandon(sa);
        if (stands()) this.#onBroken(sa, at, broken);
      },
      onTimeout: (_, at) => this.onTimeout(sa, at),
      onAbandon: () => this.onAbandon(sa),
    });
    if (problem !== undefined) this.onAbandon(sa);
    return problem;
  }

  #conclude(sa: IkeSa, now: Instant, answer: IkeAnswer, additional: readonly Secret[]): void {
    const { suite, spiLocal, spiRemote, Nr, shared } = answer;
    const ids = { role: "initiator", spiInitiator: spiLocal, spiResponder: spiRemote } as const;
    const agreement = { Ni: this.#Ni!, Nr, shared, additional };
    const secured = secureRekeyed(sa.host.random, sa.secured!, ids, suite, agreement);
    const since = { name: "ESTABLISHED", since: now } as const;
    const made = successorOf(sa, now, { role: "initiator", spiLocal, spiRemote, secured }, since);
    takeToken(made, answer.payloads);
    // §2.8.2: the one with the lowest of the four nonces goes, unless the peer has closed or used the other already.
    const { rival } = sa;
    const lower =
      rival?.sa.is("CONTENDING") && compareBytes(lowerNonce(this.#Ni!, Nr), rival.lowestNonce) < 0;
    if (!sa.established || lower) {
      if (lower) inheritRival(sa, now);
      made.requestDelete(now, "rekeyed");
    } else {
      inherit(sa, made, now);
      sa.requestDelete(now, "rekeyed");
    }
  }

  #onRefusal(sa: IkeSa, now: Instant, error: NotifyPayload): void {
    if (sa.is("DELETING")) return;
    if (sa.rival) {
      this.#failed(sa, now);
      return;
    }
    if (
      error.type === NotifyType.code.INVALID_KE_PAYLOAD &&
      this.#wantedGroup === undefined &&
      error.data.length === 2
    ) {
      const group = (error.data[0]! << 8) | error.data[1]!;
      if (groupsOf(sa.peer!.ikeProposals).includes(group)) {
        sa.initiate(now, new IkeRekey(group));
        return;
      }
    }
    if (!passing.includes(error.type)) {
      const theirs = [NotifyType.nameOf(error.type)];
      const difference = `the peer refuses to rekey the IKE SA: ${theirs}`;
      const ours = sa.peer!.ikeProposals.map((p) => p.text);
      const details = { ours, theirs, difference, offered: { ike: this.#proposals.map(formatOffer) } };
      const code =
        error.type === NotifyType.code.NO_PROPOSAL_CHOSEN
          ? "NO_PROPOSAL_CHOSEN_IKE"
          : codeOfNotify(error.type, "REKEY_REFUSED");
      sa.host.emit({ kind: "failure", sa, record: failureOf(sa, code, details) });
      sa.rekeyAt = now + refusedDelay(sa, (sa.expiresAt ?? now) - now);
      return;
    }
    retryIkeLater(sa, now);
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.onAbandon(sa);
    // The peer may have done with this one, its Delete lost: what it made of it is where it answers.
    if (sa.rival) {
      this.#failed(sa, now);
      sa.end(now, "rekeyed");
    } else sa.endDead(now);
  }

  /** Ours came to nothing: the peer's successor stands, or the old one goes on. */
  #failed(sa: IkeSa, now: Instant): void {
    if (!sa.established) return;
    if (sa.rival?.sa.is("CONTENDING")) inheritRival(sa, now);
    else retryIkeLater(sa, now);
  }

  onAbandon(sa: IkeSa): void {
    sa.host.offeredIkeSpis.delete(this.#spiLocal);
    this.#keyPair?.wipe();
    this.#keyPair = undefined;
    this.#shared?.wipe();
    this.#shared = undefined;
  }
}

/** What the peer's answer says, kept while additional key exchanges are under way. */
interface IkeAnswer {
  readonly payloads: readonly PlainPayload[];
  readonly suite: IkeSuite;
  readonly spiLocal: bigint;
  readonly spiRemote: bigint;
  readonly Nr: Uint8Array;
  readonly shared: Secret;
}

/** It is worth trying again soon; STATE_NOT_FOUND (RFC 9370 §2.2.4): the peer has given up waiting for us. */
const passing: readonly number[] = [NotifyType.code.TEMPORARY_FAILURE, NotifyType.code.STATE_NOT_FOUND];

function retryIkeLater(sa: IkeSa, now: Instant): void {
  sa.rekeyAt = now + retryDelay(sa, sa.host.limits.rekeyRetryMs);
}
