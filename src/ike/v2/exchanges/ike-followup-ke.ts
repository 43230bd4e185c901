/**
 * IKE_FOLLOWUP_KE (RFC 9370 §2.2.4): the additional key exchanges of a CREATE_CHILD_SA, one exchange each, tied to it
 * by what the responder's latest answer says:
 *
 *   HDR, SK {KEi(n), N(ADDITIONAL_KEY_EXCHANGE)(link n)} -->
 *                                  <-- HDR, SK {KEr(n), [N(ADDITIONAL_KEY_EXCHANGE)(link n+1)]}
 *
 * Only the last answer makes the new SA, on both sides: whoever answers it before its own attempt was answered has met
 * a collision, just as without additional key exchanges.
 */
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import { type KeyExchange, startKeyExchange } from "../../../crypto/index.ts";
import {
  type AdditionalMethod,
  ExchangeType,
  groupKeyword,
  isErrorNotify,
  NotifyType,
} from "../../../registry/index.ts";
import { findNotify, findPayload, type NotifyPayload, type PlainPayload } from "../../../wire/index.ts";
import {
  type Answer,
  type Exchange,
  type InitiatedExchange,
  priorities,
  type Received,
} from "../exchange.ts";
import type { IkeSa } from "../ike-sa.ts";
import { answerKey, completeKey } from "../key-material.ts";
import { notify } from "../notify.ts";
import type { PayloadRules } from "../payload-rules.ts";

const type = ExchangeType.code.IKE_FOLLOWUP_KE;

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export const ikeFollowUpKe: Exchange = {
  name: "IKE_FOLLOWUP_KE",
  type,
  rfc: "RFC 9370 §2.2.4",
  from: ["ESTABLISHED", "REKEYED", "CONTENDING", "DELETING"],
  request: { required: ["KE"], optional: [] },
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, { payloads }: Received): Answer {
  const { followUps, host } = sa;
  const refuse = (notifyType: number): Answer => ({ payloads: [notify(notifyType)] });
  const link = findNotify(payloads, NotifyType.code.ADDITIONAL_KEY_EXCHANGE);
  const followUp = link && followUps.find(link.data);
  if (!followUp) return refuse(NotifyType.code.STATE_NOT_FOUND);
  // As for CREATE_CHILD_SA itself (RFC 7296 §2.25.2).
  if (!sa.established) {
    followUps.abandon(followUp);
    return refuse(NotifyType.code.TEMPORARY_FAILURE);
  }
  const ke = findPayload(payloads, "KE")!;
  const answer = ke.dhGroup === followUp.method ? answerKey(host.keyPairs, ke.dhGroup, ke.data) : undefined;
  if (!answer) {
    host.count("key_exchange");
    followUps.abandon(followUp);
    return refuse(NotifyType.code.NO_PROPOSAL_CHOSEN);
  }
  followUp.secrets.push(answer.shared);
  const said: PlainPayload = { kind: "KE", dhGroup: ke.dhGroup, data: answer.publicValue };
  if (followUp.method !== undefined) return { payloads: [said, followUps.renew(now, followUp)] };
  const outcome = followUp.waiting.complete(now, followUp.secrets);
  followUps.remove(followUp);
  return outcome.ok ? { payloads: [said], afterwards: outcome.value } : outcome.error;
}

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

/** What the exchange that began it all does with the outcome. */
export interface FollowUpOwner {
  /** The name of that exchange: as long as its additional key exchanges go on, it counts as under way. */
  readonly name: string;
  /** All secrets are there; they are wiped afterwards. */
  onKeys(sa: IkeSa, now: Instant, secrets: readonly Secret[]): void;
  onRefused(sa: IkeSa, now: Instant, error: NotifyPayload): void;
  /** The peer's answer makes no sense. */
  onBroken(sa: IkeSa, now: Instant, problem: string): void;
  onTimeout(sa: IkeSa, now: Instant): void;
  onAbandon(sa: IkeSa): void;
}

/**
 * Does the additional key exchanges that the answer to a CREATE_CHILD_SA asks for. What is wrong with the answer, if
 * something is: then nothing was begun.
 */
export function followUp(
  sa: IkeSa,
  now: Instant,
  methods: readonly AdditionalMethod[],
  answer: readonly PlainPayload[],
  owner: FollowUpOwner,
): string | undefined {
  const link = findNotify(answer, NotifyType.code.ADDITIONAL_KEY_EXCHANGE);
  if (!link) return missingLink;
  sa.initiate(now, new IkeFollowUpKe(owner, methods, [], Uint8Array.from(link.data)));
  return undefined;
}

class IkeFollowUpKe implements InitiatedExchange {
  readonly name: string;
  readonly type = type;
  readonly priority = priorities.followUp;
  /** A refusal has no KE. */
  readonly response: PayloadRules = { required: [], optional: ["KE"] };
  readonly #owner: FollowUpOwner;
  readonly #methods: readonly AdditionalMethod[];
  readonly #secrets: Secret[];
  readonly #link: Uint8Array;
  #exchange: KeyExchange | undefined;

  constructor(
    owner: FollowUpOwner,
    methods: readonly AdditionalMethod[],
    secrets: Secret[],
    link: Uint8Array,
  ) {
    this.name = owner.name;
    this.#owner = owner;
    this.#methods = methods;
    this.#secrets = secrets;
    this.#link = link;
  }

  buildRequest(sa: IkeSa): PlainPayload[] {
    const { method } = this.#methods[this.#secrets.length]!;
    this.#exchange = startKeyExchange(method, (group) => sa.host.keyPairs.take(group));
    return [
      { kind: "KE", dhGroup: method, data: this.#exchange.publicValue },
      notify(NotifyType.code.ADDITIONAL_KEY_EXCHANGE, this.#link),
    ];
  }

  onResponse(sa: IkeSa, now: Instant, { payloads }: Received): "done" {
    const exchange = this.#exchange!;
    const ke = findPayload(payloads, "KE");
    const error = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    if (error && !ke) {
      this.#wipe();
      this.#owner.onRefused(sa, now, error);
      return "done";
    }
    const shared = ke?.dhGroup === exchange.method ? completeKey(exchange, ke.data) : undefined;
    exchange.wipe();
    if (!shared) {
      sa.host.count("key_exchange");
      return this.#broken(sa, now, `no usable KE payload for ${groupKeyword(exchange.method)}`);
    }
    this.#secrets.push(shared);
    if (this.#secrets.length === this.#methods.length) {
      this.#owner.onKeys(sa, now, this.#secrets);
      this.#wipe();
      return "done";
    }
    const link = findNotify(payloads, NotifyType.code.ADDITIONAL_KEY_EXCHANGE);
    if (!link) return this.#broken(sa, now, missingLink);
    const next = new IkeFollowUpKe(this.#owner, this.#methods, this.#secrets, Uint8Array.from(link.data));
    sa.initiate(now, next);
    return "done";
  }

  #broken(sa: IkeSa, now: Instant, problem: string): "done" {
    this.#wipe();
    this.#owner.onBroken(sa, now, problem);
    return "done";
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.#wipe();
    this.#owner.onTimeout(sa, now);
  }

  onAbandon(sa: IkeSa): void {
    this.#wipe();
    this.#owner.onAbandon(sa);
  }

  #wipe(): void {
    this.#exchange?.wipe();
    for (const secret of this.#secrets) secret.wipe();
  }
}

const missingLink = "additional key exchanges were agreed on, and the answer has no ADDITIONAL_KEY_EXCHANGE";
