/** Failure records of IKEv2: what was offered on both sides, the first difference, and what to change where. */
import { type Endpoint, formatEndpoint } from "../../core/address.ts";
import type { FailureRecord } from "../../core/failure.ts";
import { type FailureCode, failureReasons } from "../../core/failure-reasons.ts";
import { formatSelector, type TrafficSelector } from "../../core/traffic-selector.ts";
import type { Mismatch } from "./proposals.ts";
import type { PeerSettings } from "./settings.ts";

type Details = Partial<Pick<FailureRecord, "ours" | "theirs" | "difference" | "remedy">>;

/** Whom a record is about: an IKE SA, or a first message that never became one. */
export interface Subject {
  readonly peer: PeerSettings | undefined;
  readonly candidates: readonly PeerSettings[];
  readonly remote: Endpoint;
}

/** A record about `subject`; what is not said falls back to the code's own text and remedy. */
export function failureOf(subject: Subject, code: FailureCode, details: Details = {}): FailureRecord {
  const { peer, candidates, remote } = subject;
  return {
    code,
    connection: peer?.connection ?? (candidates.length === 1 ? candidates[0]!.connection : undefined),
    peer: formatEndpoint(remote),
    ours: details.ours ?? [],
    theirs: details.theirs ?? [],
    difference: details.difference ?? failureReasons[code],
    remedy: details.remedy ?? remedies[code],
  };
}

export function mismatchDetails(mismatch: Mismatch): Details {
  return { ours: mismatch.ours, theirs: mismatch.theirs, difference: mismatch.difference };
}

/** Both ends of a selector disagreement, written `local === remote`. */
export function selectorDetails(
  ours: { readonly local: readonly TrafficSelector[]; readonly remote: readonly TrafficSelector[] },
  theirs: { readonly local: readonly TrafficSelector[]; readonly remote: readonly TrafficSelector[] },
): Details {
  const list = (selectors: readonly TrafficSelector[]) => selectors.map(formatSelector).join(" ");
  const pair = (s: typeof ours) => `${list(s.local)} === ${list(s.remote)}`;
  return { ours: [pair(ours)], theirs: [pair(theirs)] };
}

export const remedies: Readonly<Record<FailureCode, string>> = {
  NO_PROPOSAL_CHOSEN_IKE: "add one of the peer's proposals to ike.proposals here, or one of ours on the peer",
  NO_PROPOSAL_CHOSEN_ESP:
    "add one of the peer's proposals to ipsec.proposals here, or one of ours on the peer",
  AUTHENTICATION_FAILED: "make psk the same on both sides, and compare the identities",
  PEER_IDENTITY_MISMATCH: "set ike.remoteId here to what the peer sends, or change the peer's local identity",
  TS_UNACCEPTABLE:
    "make localSubnets and remoteSubnets here mirror the peer's, or use destination routing on both",
  INVALID_KE: "configure a DH group that both sides have",
  PEER_UNREACHABLE:
    "check the peer's address, and that UDP 500 and 4500 pass every firewall in both directions",
  PEER_NAME_UNRESOLVED: "check the name in customerGateways and the host's DNS",
  NO_CONNECTION_MATCHES: "add a connection whose customer gateway has this address, or one with address: any",
  PEER_PROTOCOL_ERROR: "look at the peer's log, and report the exchange if the peer is a current release",
  PEER_DELETED: "look at the peer's log: it closed the tunnel on purpose",
  DPD_TIMEOUT: "check the path to the peer and whether it still runs",
  PEER_RESTARTED: "nothing: the tunnel is set up again",
  CHILDLESS_UNSUPPORTED:
    "set ike.childless to allow here, or let the peer allow childless IKE SAs (RFC 6023)",
  DATAPLANE_ERROR: "look at the daemon's log for the data plane's own message",
  HALF_OPEN_LIMIT: "somebody floods UDP 500: filter that source, or wait",
  OTHER_NOTIFY: "look at the peer's log for why it refused",
};
