/**
 * What the exchanges of phase 2 give to the ISAKMP SA that runs them, and what it gives to them. Each has a message ID
 * of its own (RFC 2409 §5.5), so several may be under way at once, of both sides.
 *
 * The transport (`transport.ts`) encrypts, computes and checks HASH(1), HASH(2) and HASH(3), repeats the last message of
 * the side that waits, and answers repetitions: an exchange sees every message of the peer once, authentic, in order.
 */
import type { Endpoint } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import type { DecodedIsakmpHeader, IsakmpPayload, ReceivedPayload } from "../../wire/v1/index.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** A message of phase 2 whose HASH is right. */
export interface Received {
  readonly header: DecodedIsakmpHeader;
  /** Without the HASH payload. */
  readonly payloads: readonly ReceivedPayload[];
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** A message of ours, without the HASH payload that goes in front. */
export interface Message {
  readonly payloads: readonly IsakmpPayload[];
  /** True when the exchange goes on only with a message of the peer: until then this one is repeated. */
  readonly awaits: boolean;
  /** The commit bit (RFC 2408 §3.1), echoed to a peer that set it. */
  readonly commit?: boolean;
  /** Called before it is sent again: false when what it says is no longer so, and the peer is not to get it. */
  readonly beforeRepeat?: ((now: Instant) => boolean) | undefined;
  /** Runs after the message has left: what must not happen before. */
  readonly afterwards?: (() => void) | undefined;
}

/** An exchange with a message ID, from either side, with the state that only it needs. */
export interface Exchange {
  readonly name: string;
  /** IsakmpExchangeType. */
  readonly type: number;
  /**
   * The peer's next message. The answer to it, or undefined when the exchange is over. `wait`: it settles nothing, as if
   * it had not come.
   */
  onMessage(sa: IsakmpSa, now: Instant, message: Received): Message | "wait" | undefined;
  /** An authentic error notification of the peer may be about this exchange: true ends it, without `onAbandon`. */
  onRefusal?(sa: IsakmpSa, now: Instant, error: Refusal): boolean;
  /** The peer repeated its last message: it did not have our answer yet. */
  onRepeated?(now: Instant): void;
  /** The peer did not answer our last message in time. */
  onTimeout(sa: IsakmpSa, now: Instant): void;
  /**
   * The ISAKMP SA ended while the exchange waited or was under way, or another one took its place: give back what it holds.
   * In the second case the peer's next message may come yet.
   */
  onAbandon?(sa: IsakmpSa, now: Instant): void;
}

/** One that we begin. */
export interface InitiatedExchange extends Exchange {
  /** Lower goes first when several wait for their turn. */
  readonly priority: number;
  /** The first message; undefined when the reason for the exchange is gone. */
  begin(sa: IsakmpSa, now: Instant): Message | undefined;
}

/** One that the peer begins: its first message was authentic. */
export interface AnsweredExchange {
  /** IsakmpExchangeType. */
  readonly type: number;
  /** Undefined: there is nothing to answer, and nothing is kept but that the message was seen. */
  onFirstMessage(
    sa: IsakmpSa,
    now: Instant,
    message: Received,
  ): { readonly answer: Message; readonly exchange: Exchange } | undefined;
}

/** An authentic error notification: what it says it is about. */
export interface Refusal {
  /** IsakmpNotifyType. */
  readonly type: number;
  /** IsakmpProtocol. */
  readonly protocol: number;
  readonly spi: Uint8Array;
  readonly data: Uint8Array;
  /** No other exchange of ours is under way that it could be about. */
  readonly onlyCandidate: boolean;
}

/** What goes first when more than one exchange waits for its turn. */
export const priorities = {
  newChild: 0,
  rekeyChild: 1,
};
