/** What the four exchange files give to the IKE SA that runs them, and what it gives to them. */
import type { Endpoint } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import type { DecodedHeader, PlainPayload } from "../../wire/index.ts";
import type { IkeSa } from "./ike-sa.ts";
import type { PayloadRules } from "./payload-rules.ts";
import type { StateName } from "./states.ts";

/** A message whose integrity was checked, unless it belongs to IKE_SA_INIT. */
export interface Received {
  readonly header: DecodedHeader;
  readonly payloads: readonly PlainPayload[];
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** The whole message; of one in fragments, the first (see `content`). */
  readonly datagram: Uint8Array;
  /** What was encrypted, put together; absent in IKE_SA_INIT. */
  readonly content?: Uint8Array;
}

/** The responder's half of an exchange. */
export interface Exchange {
  readonly name: string;
  readonly type: number;
  readonly rfc: string;
  /** States in which a request of this type is possible; in any other it is dropped. */
  readonly from: readonly StateName[];
  readonly request: PayloadRules;
  onRequest(sa: IkeSa, now: Instant, message: Received): Answer;
}

export interface Answer {
  readonly payloads: readonly PlainPayload[];
  /** Runs after the answer has left: what must not happen before, such as closing the IKE SA. */
  readonly afterwards?: ((sent: Sent) => void) | undefined;
}

/** A message of ours as it left. */
export interface Sent {
  /** The whole message, or the first of its fragments. */
  readonly datagram: Uint8Array;
  readonly payloads: readonly PlainPayload[];
}

/** One exchange that we initiate, with the state that only it needs. */
export interface InitiatedExchange {
  readonly name: string;
  readonly type: number;
  /** Lower goes first when several wait for the window. */
  readonly priority: number;
  readonly response: PayloadRules;
  /** Its answer is to prove a path: it is never tried on another one. */
  readonly onePath?: true;
  /** The request probes the path MTU: its first copy is one datagram that nobody may fragment. */
  readonly probe?: Probe;
  /** The request was sent on other paths than ours, too. */
  onSpread?(): void;
  /** The request's payloads; undefined when the reason for the exchange is gone. */
  buildRequest(sa: IkeSa, now: Instant): readonly PlainPayload[] | undefined;
  /** The request has left for the first time. */
  onSent?(sa: IkeSa, sent: Sent): void;
  /** `wait`: the response settles nothing, a better one may come (§2.21.1). */
  onResponse(sa: IkeSa, now: Instant, message: Received): "done" | "wait";
  /** Nobody answered. */
  onTimeout(sa: IkeSa, now: Instant): void;
  /** The IKE SA ended while the exchange waited or was under way: give back what it holds. */
  onAbandon?(sa: IkeSa): void;
}

export interface Probe {
  /** How long the first copy may take to be answered. */
  readonly waitMs: number;
  /** The same request without its padding: how it is repeated. */
  buildPlain(sa: IkeSa, now: Instant): readonly PlainPayload[];
  /** The first copy was not answered in time. `inconclusive`: we were late ourselves, or the path has changed. */
  onRepeated(inconclusive: boolean): void;
}

/** What goes first when more than one exchange waits for the window of one. */
export const priorities = {
  init: 0,
  auth: 1,
  // Half of a negotiation is worth nothing: the next key exchange goes before anything that waits.
  followUp: 1,
  deleteIke: 2,
  update: 3,
  deleteChild: 4,
  rekeyIke: 5,
  rekeyChild: 6,
  liveness: 7,
};
