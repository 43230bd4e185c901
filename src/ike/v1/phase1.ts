/** What main mode and aggressive mode give to the ISAKMP SA that runs them, and what it gives to them. */
import type { Endpoint } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import type { DecodedIsakmpHeader, IsakmpPayload } from "../../wire/v1/index.ts";
import type { IkeDrop } from "../common/drops.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** A datagram whose header carries the SPIs of an ISAKMP SA. */
export interface Datagram {
  readonly header: DecodedIsakmpHeader;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly datagram: Uint8Array;
}

export type Phase1Reply =
  /** It settles nothing: the genuine message may follow. */
  | { readonly kind: "drop"; readonly why: IkeDrop }
  | {
      readonly kind: "send";
      readonly payloads: readonly IsakmpPayload[];
      readonly encrypted: boolean;
      /** Phase 1 is over with this message, which the peer may ask for again. */
      readonly last?: true;
      /** Runs after the message has left. */
      readonly afterwards?: () => void;
    }
  /** The peer's message was the last one. */
  | { readonly kind: "done"; readonly afterwards: () => void }
  /** The ISAKMP SA has ended. */
  | { readonly kind: "ended" };

/** Phase 1 under way, of either role. It decodes and opens messages itself: the keys come to be in between. */
export interface Phase1 {
  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply;
  /**
   * As responder: something encrypted came in the place of the peer's next message. `notifyType`: an authentic error;
   * undefined: our key does not open it, and nothing proves who sent it.
   */
  onComplaint?(sa: IsakmpSa, now: Instant, notifyType: number | undefined): void;
  /** Gives back what it holds: phase 1 is over, or the ISAKMP SA is. */
  discard(): void;
}

export interface InitiatedPhase1 extends Phase1 {
  /** Message 1. */
  begin(sa: IsakmpSa, now: Instant): readonly IsakmpPayload[];
  /**
   * Something says that the peer refuses, by a notification or (undefined) by what cannot be read. Nothing proves it, so
   * it changes nothing but the words for a failure that comes anyway.
   */
  onHint(notifyType: number | undefined): void;
  /** An authentic message says that the peer refuses. */
  onRefusal(sa: IsakmpSa, now: Instant, notifyType: number): void;
  /** The peer did not answer in time. */
  onTimeout(sa: IsakmpSa, now: Instant): void;
}
