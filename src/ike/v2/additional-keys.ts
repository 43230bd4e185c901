/**
 * Negotiations of the peer that wait for additional key exchanges (RFC 9370 §2.2.4): the CREATE_CHILD_SA request is
 * answered, and nothing is made before the last IKE_FOLLOWUP_KE.
 *
 * Invariants: at most MAX_WAITING of them, each for at most `followUpMs` after its last message; whichever way one ends,
 * `complete` or `abandon` is called, once, and its secrets are wiped.
 */
import { compareBytes } from "../../core/address.ts";
import type { Result } from "../../core/result.ts";
import type { Secret } from "../../core/secret.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { type AdditionalMethod, NotifyType } from "../../registry/index.ts";
import type { NotifyPayload } from "../../wire/index.ts";
import type { Answer } from "./exchange.ts";
import type { Host } from "./host.ts";
import { notify } from "./notify.ts";

/** What a negotiation that waits is about. */
export interface Waiting {
  readonly methods: readonly AdditionalMethod[];
  /** All secrets are there. What to do after the answer has left, or another answer. `secrets` are wiped afterwards. */
  complete(now: Instant, secrets: readonly Secret[]): Result<(() => void) | undefined, Answer>;
  /** It comes to nothing: gives back what it holds. */
  abandon(): void;
}

/** One negotiation that waits. */
export class FollowUp {
  readonly waiting: Waiting;
  readonly secrets: Secret[] = [];
  link: Uint8Array;
  until: Instant;

  constructor(waiting: Waiting, link: Uint8Array, until: Instant) {
    this.waiting = waiting;
    this.link = link;
    this.until = until;
  }

  /** The key exchange method that comes next; undefined after the last. */
  get method(): number | undefined {
    return this.waiting.methods[this.secrets.length]?.method;
  }

  wipe(): void {
    for (const secret of this.secrets) secret.wipe();
  }
}

export class FollowUps {
  readonly #host: Host;
  #all: FollowUp[] = [];

  constructor(host: Host) {
    this.#host = host;
  }

  get size(): number {
    return this.#all.length;
  }

  /** When the first of them is given up. */
  get deadline(): Instant | undefined {
    return this.#all.reduce<Instant | undefined>((at, { until }) => earlier(at, until), undefined);
  }

  handleTimeout(now: Instant): void {
    for (const late of this.#all.filter(({ until }) => until <= now)) this.abandon(late);
  }

  /** A negotiation that waits from now on; the notification tells the peer how to go on with it. */
  begin(now: Instant, waiting: Waiting): NotifyPayload {
    // A peer that leaves off in the middle has lost a collision: what it began first is what it forgot.
    if (this.#all.length >= MAX_WAITING) this.abandon(this.#all[0]!);
    const followUp = new FollowUp(waiting, nothing, now);
    this.#all.push(followUp);
    return this.renew(now, followUp);
  }

  /** Another link for the next exchange of the same negotiation. */
  renew(now: Instant, followUp: FollowUp): NotifyPayload {
    followUp.link = this.#host.random.bytes(LINK_BYTES);
    followUp.until = now + this.#host.limits.followUpMs;
    return notify(NotifyType.code.ADDITIONAL_KEY_EXCHANGE, followUp.link);
  }

  find(link: Uint8Array): FollowUp | undefined {
    return this.#all.find((f) => compareBytes(f.link, link) === 0);
  }

  /** Done: it waits no longer. */
  remove(followUp: FollowUp): void {
    this.#all = this.#all.filter((f) => f !== followUp);
    followUp.wipe();
  }

  abandon(followUp: FollowUp): void {
    this.remove(followUp);
    followUp.waiting.abandon();
  }

  /** Nothing waits any longer. */
  discard(): void {
    for (const followUp of [...this.#all]) this.abandon(followUp);
  }
}

/** One CHILD_SA or IKE SA is negotiated at a time; a few more may be what a collision left behind. */
const MAX_WAITING = 4;
const LINK_BYTES = 8;
const nothing = new Uint8Array(0);
