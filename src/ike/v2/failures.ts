/** Failure records of IKEv2: what only its messages can say. */
import type { Endpoint } from "../../core/address.ts";
import type { FailureRecord, Terms } from "../../core/failure.ts";
import type { FailureCode } from "../../core/failure-reasons.ts";
import { NotifyType } from "../../registry/index.ts";
import type { Proposal } from "../../wire/index.ts";
import { type Ends, failureOf, selectorPair } from "../common/failures.ts";
import type { PeerSettings } from "../common/settings.ts";
import { formatOffer } from "./proposals.ts";

/** A first message with a critical payload that we do not know. */
export function unknownCritical(
  candidates: readonly PeerSettings[],
  remote: Endpoint,
  payloadType: number,
): FailureRecord {
  const difference = `IKE_SA_INIT: critical payload ${payloadType} is unknown here`;
  return failureOf({ peer: undefined, candidates, remote }, "UNSUPPORTED_CRITICAL_PAYLOAD", { difference });
}

/** What a message offers for a CHILD_SA. */
export function childTerms(proposals: readonly Proposal[], ends: Ends): Terms {
  return { esp: proposals.map(formatOffer), selectors: [selectorPair(ends)] };
}

/** An error notification of the peer that means the same wherever it comes; otherwise `fallback`. */
export function codeOfNotify(notifyType: number, fallback: FailureCode): FailureCode {
  switch (notifyType) {
    case NotifyType.code.AUTHENTICATION_FAILED:
      return "AUTHENTICATION_FAILED";
    case NotifyType.code.UNSUPPORTED_CRITICAL_PAYLOAD:
      return "UNSUPPORTED_CRITICAL_PAYLOAD";
    case NotifyType.code.TS_UNACCEPTABLE:
      return "TS_UNACCEPTABLE";
    case NotifyType.code.INVALID_KE_PAYLOAD:
      return "INVALID_KE";
    default:
      return fallback;
  }
}
