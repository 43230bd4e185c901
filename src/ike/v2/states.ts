/** The states of an IKE SA, each with the data that only it has. */

import type { Instant } from "../../core/time.ts";
import type { EndReason } from "../common/events.ts";
import type { IntermediateKeys } from "./exchanges/ike-intermediate.ts";
import type { IkeSa } from "./ike-sa.ts";

/** RealMessage1 and RealMessage2 of §2.15: the IKE_SA_INIT request and response as they were on the wire. */
export interface SignedMessages {
  readonly request: Uint8Array;
  readonly response: Uint8Array;
  /** IntAuth of RFC 9242 §3.3.2: what IKE_INTERMEDIATE exchanges add; absent when there were none. */
  readonly intAuth?: Uint8Array;
}

export type IkeSaState =
  /** Initiator: the IKE_SA_INIT request is out. */
  | { readonly name: "INIT_SENT" }
  /** Initiator: an IKE_INTERMEDIATE request is out. */
  | { readonly name: "INTERMEDIATE_SENT" }
  /** Initiator: the IKE_AUTH request is out. */
  | { readonly name: "AUTH_SENT" }
  /** Responder: as HALF_OPEN, and IKE_AUTH is not legal before the additional key exchanges are done (RFC 9370). */
  | {
      readonly name: "INTERMEDIATE";
      readonly until: Instant;
      readonly signed: SignedMessages;
      readonly exchanges: IntermediateKeys;
    }
  /** Responder: IKE_SA_INIT is answered, and nobody has proven anything yet. */
  | { readonly name: "HALF_OPEN"; readonly until: Instant; readonly signed: SignedMessages }
  | { readonly name: "ESTABLISHED"; readonly since: Instant }
  /** The peer created a successor and will delete this IKE SA. */
  | { readonly name: "REKEYED"; readonly until: Instant }
  /**
   * The peer's successor of `old`, made while ours was under way (§2.8.2): it inherits nothing until the nonces, or
   * the peer, have said that it stays.
   */
  | { readonly name: "CONTENDING"; readonly until: Instant; readonly old: IkeSa }
  /** Our Delete is out, or waits for the window. */
  | { readonly name: "DELETING"; readonly why: EndReason }
  /** Nothing is left but the answer to a request that the peer may repeat. */
  | { readonly name: "CLOSED"; readonly until: Instant };

export type StateName = IkeSaState["name"];
