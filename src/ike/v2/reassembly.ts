/**
 * Encrypted messages of one direction, opened: in one piece, or collected from fragments (RFC 7383 §2.6).
 *
 * Invariants: nothing is kept that was not authentic; one message at a time, of at most MAX_FRAGMENTS fragments and
 * `reassemblyBytes` octets, for at most `reassemblyMs`.
 */

import { attemptDecode, WireError } from "../../core/errors.ts";
import type { Instant } from "../../core/time.ts";
import {
  type DecodedMessage,
  decodePayloads,
  findPayload,
  MAX_FRAGMENTS,
  openBody,
  openFragment,
  type PlainPayload,
  type SkfPayload,
  type SkOpener,
} from "../../wire/index.ts";
import type { IkeDrop } from "../common/drops.ts";
import type { EndpointLimits } from "../common/settings.ts";

/** An authentic message. */
export interface Opened {
  /** `malformed`: authentic, and yet it does not decode. */
  readonly payloads: readonly PlainPayload[] | "malformed";
  /** What a repetition of the message begins with: its datagram, or that of its first fragment. */
  readonly datagram: Uint8Array;
  /** What was encrypted, put together; empty when it is malformed. */
  readonly content: Uint8Array;
}

/** `incomplete`: a fragment was kept, and others are missing. */
export type Opening = Opened | { readonly drop: IkeDrop } | "incomplete";

interface Fragment {
  readonly firstPayload: number;
  readonly chunk: Uint8Array;
}

interface Collection {
  readonly messageId: number;
  readonly exchangeType: number;
  readonly total: number;
  readonly expiresAt: Instant;
  readonly fragments: Map<number, Fragment>;
  bytes: number;
  first: Uint8Array;
}

export class Reassembly {
  readonly #limits: EndpointLimits;
  #collection: Collection | undefined;

  constructor(limits: EndpointLimits) {
    this.#limits = limits;
  }

  /** When what was collected is given up. */
  get deadline(): Instant | undefined {
    return this.#collection?.expiresAt;
  }

  handleTimeout(now: Instant): void {
    if (this.#collection && this.#collection.expiresAt <= now) this.discard();
  }

  /** Forgets what was collected. */
  discard(): void {
    for (const { chunk } of this.#collection?.fragments.values() ?? []) chunk.fill(0);
    this.#collection = undefined;
  }

  /**
   * Opens a message that the window admits; one with another message ID than before forgets the earlier fragments.
   * `fragmentation`: both sides said that they support it.
   */
  open(
    now: Instant,
    datagram: Uint8Array,
    message: DecodedMessage,
    opener: SkOpener,
    fragmentation: boolean,
  ): Opening {
    const fragment = findPayload(message.payloads, "SKF");
    try {
      if (fragment) {
        if (!fragmentation) return { drop: "fragment" };
        return this.#collect(now, datagram, message, fragment, opener);
      }
      const sk = findPayload(message.payloads, "SK");
      const content = sk && openBody(datagram, sk, opener);
      if (!content) return { drop: "not_authentic" };
      this.discard();
      return { payloads: decodePayloads(sk.firstPayload, content), datagram, content };
    } catch (error) {
      // It is thrown only after the integrity check has passed.
      if (!(error instanceof WireError)) throw error;
      this.discard();
      return { payloads: "malformed", datagram, content: nothing };
    }
  }

  #collect(
    now: Instant,
    datagram: Uint8Array,
    { header }: DecodedMessage,
    fragment: SkfPayload,
    opener: SkOpener,
  ): Opening {
    const { messageId, exchangeType } = header;
    const { fragmentNumber, totalFragments, firstPayload } = fragment;
    const current = this.#collection?.messageId === messageId ? this.#collection : undefined;
    if (totalFragments > MAX_FRAGMENTS) return { drop: "fragment" };
    // RFC 7383 §2.6: a set of more fragments replaces one of fewer, as PMTU discovery makes them; never the reverse.
    if (current && totalFragments < current.total) return { drop: "fragment" };
    const joins = current?.total === totalFragments ? current : undefined;
    if (joins && joins.exchangeType !== exchangeType) return { drop: "fragment" };
    if (joins?.fragments.has(fragmentNumber)) return { drop: "fragment_repeated" };
    const chunk = openFragment(datagram, fragment, opener);
    if (!chunk) return { drop: "not_authentic" };

    const kept = chunk.length + (fragmentNumber === 1 ? datagram.length : 0);
    if ((joins?.bytes ?? 0) + kept > this.#limits.reassemblyBytes) {
      // DEVIATION: RFC 7383 §5 would drop the connection too; its own timers do that when the peer has nothing smaller.
      this.discard();
      return { drop: "fragment" };
    }
    const collection = joins ?? this.#begin(now, messageId, exchangeType, totalFragments);
    collection.fragments.set(fragmentNumber, { firstPayload, chunk });
    collection.bytes += kept;
    if (fragmentNumber === 1) collection.first = Uint8Array.from(datagram);
    return collection.fragments.size < totalFragments ? "incomplete" : this.#complete(collection);
  }

  #begin(now: Instant, messageId: number, exchangeType: number, total: number): Collection {
    this.discard();
    const expiresAt = now + this.#limits.reassemblyMs;
    const empty = { fragments: new Map<number, Fragment>(), bytes: 0, first: new Uint8Array(0) };
    this.#collection = { messageId, exchangeType, total, expiresAt, ...empty };
    return this.#collection;
  }

  #complete({ total, fragments, first }: Collection): Opened {
    const parts = Array.from({ length: total }, (_, i) => fragments.get(i + 1)!);
    const content = new Uint8Array(parts.reduce((bytes, { chunk }) => bytes + chunk.length, 0));
    let at = 0;
    for (const { chunk } of parts) {
      content.set(chunk, at);
      at += chunk.length;
    }
    this.discard();
    const payloads = attemptDecode(() => decodePayloads(parts[0]!.firstPayload, content));
    if (!payloads) return { payloads: "malformed", datagram: first, content: nothing };
    return { payloads, datagram: first, content };
  }
}

const nothing = new Uint8Array(0);

/** True for an authentic first fragment: what stands for its message when that comes again (RFC 7383 §2.6.1). */
export function isFirstFragment(datagram: Uint8Array, message: DecodedMessage, opener: SkOpener): boolean {
  const fragment = findPayload(message.payloads, "SKF");
  if (fragment?.fragmentNumber !== 1) return false;
  return attemptDecode(() => openFragment(datagram, fragment, opener)) !== undefined;
}

/** True for an authentic message in one piece. */
export function isAuthentic(datagram: Uint8Array, message: DecodedMessage, opener: SkOpener): boolean {
  const sk = findPayload(message.payloads, "SK");
  return sk !== undefined && attemptDecode(() => openBody(datagram, sk, opener)) !== undefined;
}
