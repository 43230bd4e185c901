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
      /** Runs after the message has left. */
      readonly afterwards?: () => void;
    }
  /** Nothing is left to say. */
  | { readonly kind: "done" }
  /** The ISAKMP SA has ended. */
  | { readonly kind: "ended" };

/** Phase 1 under way, of either role. It decodes and opens messages itself: the keys come to be in between. */
export interface Phase1 {
  /** IsakmpExchangeType. */
  readonly type: number;
  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply;
  /** Gives back what it holds: it is over, or the ISAKMP SA is. */
  discard(sa: IsakmpSa): void;
}

export interface InitiatedPhase1 extends Phase1 {
  /** Message 1. */
  begin(sa: IsakmpSa, now: Instant): readonly IsakmpPayload[];
  /** Somebody says that the peer refuses: nothing proves it, so it only explains a failure afterwards. */
  onHint(sa: IsakmpSa, notifyType: number): void;
  /** The peer did not answer in time. */
  onTimeout(sa: IsakmpSa, now: Instant): void;
}
