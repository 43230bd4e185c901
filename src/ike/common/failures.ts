/** Failure records of either version of IKE: what was offered on both sides, the first difference, and what to change where. */
import { type Endpoint, formatEndpoint } from "../../core/address.ts";
import type { FailureRecord, Terms } from "../../core/failure.ts";
import { type FailureCode, failureReasons } from "../../core/failure-reasons.ts";
import { formatSelector, type TrafficSelector } from "../../core/traffic-selector.ts";
import { formatSuite } from "../../registry/index.ts";
import type { PeerSettings } from "./settings.ts";
import type { ChildSaView, IkeVersion } from "./views.ts";

export type Details = Partial<Pick<FailureRecord, "ours" | "theirs" | "difference" | "remedy" | "offered">>;

/** Whom a record is about: an IKE SA, or a first message that never became one. */
export interface Subject {
  readonly peer: PeerSettings | undefined;
  readonly candidates: readonly PeerSettings[];
  readonly remote: Endpoint;
  readonly suiteText?: string | undefined;
  readonly children?: ReadonlyMap<number, ChildSaView>;
}

/** A record about `subject`; what is not said falls back to the code's own text and remedy. */
export function failureOf(subject: Subject, code: FailureCode, details: Details = {}): FailureRecord {
  const { peer, candidates, remote } = subject;
  const known = peer ?? (candidates.length === 1 ? candidates[0] : undefined);
  const agreed = agreedTerms(subject);
  const record: Writable<FailureRecord> = {
    code,
    connection: known?.connection,
    peer: formatEndpoint(remote),
    ours: bounded(details.ours ?? []),
    theirs: bounded(details.theirs ?? []),
    difference: details.difference ?? failureReasons[code],
    remedy: details.remedy ?? remedies[code],
  };
  if (known) record.configured = configuredTerms(known);
  if (details.offered) record.offered = boundedTerms(details.offered);
  if (agreed) record.agreed = boundedTerms(agreed);
  return record;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** The same object for every record about a peer, for as long as its settings live. */
function configuredTerms(peer: PeerSettings): Terms {
  let terms = termsByPeer.get(peer);
  if (!terms) {
    terms = boundedTerms({
      ike: peer.ikeProposals.map((p) => p.text),
      esp: peer.espProposals.map((p) => p.text),
      selectors: [selectorPair({ local: peer.localSelectors, remote: peer.remoteSelectors })],
    });
    termsByPeer.set(peer, terms);
  }
  return terms;
}

const termsByPeer = new WeakMap<PeerSettings, Terms>();

function agreedTerms({ suiteText, children }: Subject): Terms | undefined {
  if (suiteText === undefined) return undefined;
  const ike = [suiteText];
  if (!children?.size) return { ike };
  const esp = new Set<string>();
  const selectors = new Set<string>();
  for (const { suite, localSelectors, remoteSelectors } of children.values()) {
    esp.add(formatSuite(suite));
    selectors.add(selectorPair({ local: localSelectors, remote: remoteSelectors }));
  }
  return { ike, esp: [...esp], selectors: [...selectors] };
}

/** A first message in version `theirs`, which none of `others`, who live where it came from, may speak. */
export function versionMismatch(
  others: readonly PeerSettings[],
  remote: Endpoint,
  theirs: IkeVersion,
): FailureRecord {
  const ours = others[0]!.version;
  const details = {
    ours: [ours],
    theirs: [`ikev${theirs}`],
    difference: `version: ours ${ours}, theirs ikev${theirs}`,
  };
  return failureOf({ peer: undefined, candidates: others, remote }, "IKE_VERSION_MISMATCH", details);
}

/** The data plane did not take one half of `child`. */
export function refusedSa(sa: Subject, child: ChildSaView, direction: string, reason: string): FailureRecord {
  const difference = `${direction} SA: ${reason}`;
  return failureOf(sa, "DATAPLANE_ERROR", { ours: [formatSuite(child.suite)], difference });
}

/** Why two lists of proposals have nothing in common. */
export interface Mismatch {
  readonly ours: readonly string[];
  readonly theirs: readonly string[];
  readonly difference: string;
}

export function mismatchDetails(mismatch: Mismatch): Details {
  return { ours: mismatch.ours, theirs: mismatch.theirs, difference: mismatch.difference };
}

export interface Ends {
  readonly local: readonly TrafficSelector[];
  readonly remote: readonly TrafficSelector[];
}

/** Both ends of a selector disagreement, written `local === remote`. */
export function selectorDetails(ours: Ends, theirs: Ends): Details {
  return { ours: [selectorPair(ours)], theirs: [selectorPair(theirs)] };
}

export function selectorPair({ local, remote }: Ends): string {
  const list = (selectors: readonly TrafficSelector[]) => bounded(selectors.map(formatSelector)).join(" ");
  return `${list(local)} === ${list(remote)}`;
}

/** A peer may offer hundreds of everything: a record stays readable, and small enough to be kept. */
function bounded(list: readonly string[]): readonly string[] {
  if (list.length <= maxListed && list.every((text) => text.length <= maxText)) return list;
  const kept = list
    .slice(0, maxListed)
    .map((text) => (text.length <= maxText ? text : `${text.slice(0, maxText)}…`));
  return list.length <= maxListed ? kept : [...kept, `and ${list.length - maxListed} more`];
}

function boundedTerms({ ike, esp, selectors }: Terms): Terms {
  const terms: Writable<Terms> = {};
  if (ike) terms.ike = bounded(ike);
  if (esp) terms.esp = bounded(esp);
  if (selectors) terms.selectors = bounded(selectors);
  return terms;
}

const maxListed = 8;
const maxText = 400;

export const remedies: Readonly<Record<FailureCode, string>> = {
  NO_PROPOSAL_CHOSEN_IKE: "add one of the peer's proposals to ike.proposals here, or one of ours on the peer",
  NO_PROPOSAL_CHOSEN_ESP:
    "add one of the peer's proposals to ipsec.proposals here, or one of ours on the peer",
  AUTHENTICATION_FAILED: "make psk the same on both sides, and compare the identities",
  PPK_MISMATCH:
    "make ike.ppk (its id and its key) the same on both sides; required: false lets a peer without it come up",
  AUTH_METHOD_UNSUPPORTED:
    "set the peer to pre-shared key authentication: EAP and certificates are not what this gateway does",
  PEER_IDENTITY_MISMATCH: "set ike.remoteId here to what the peer sends, or change the peer's local identity",
  TS_UNACCEPTABLE:
    "make localSubnets and remoteSubnets here mirror the peer's, or use destination routing on both",
  IKE_MODE_MISMATCH:
    "make ike.mode the same on both sides: main, unless the peer cannot be told by its address",
  INVALID_KE: "configure a DH group that both sides have",
  PEER_UNREACHABLE:
    "check the peer's address, and that UDP 500 and 4500 pass every firewall in both directions",
  IKE_AUTH_UNANSWERED:
    "look at the peer's log; if it never saw IKE_AUTH, a firewall drops UDP 4500 or fragments of large datagrams",
  PEER_NAME_UNRESOLVED: "check the name in customerGateways and the host's DNS",
  NO_LOCAL_ADDRESS: "add an address of that family to gateway.addresses, or give the peer one of ours",
  NO_CONNECTION_MATCHES: "add a connection whose customer gateway has this address, or one with address: any",
  IKE_VERSION_MISMATCH:
    "set ike.version here to what the peer speaks, or to auto; or let the peer speak what is set here",
  PEER_PROTOCOL_ERROR: "look at the peer's log, and report the exchange if the peer is a current release",
  UNSUPPORTED_CRITICAL_PAYLOAD:
    "turn off at the sender what needs that payload, or update the side that does not know it",
  PEER_REFUSED_CHILD:
    "look at the peer's log for why it refused; it may allow fewer CHILD_SAs than we ask for",
  CHILD_SA_LIMIT:
    "configure fewer selector pairs on the peer, or look why it makes a CHILD_SA again and again",
  REKEY_REFUSED:
    "look at the peer's log for why it refuses to rekey: the SA ends with its lifetime otherwise",
  REKEY_REHEARSAL_FAILED:
    "make the groups of ipsec.proposals here (perfect forward secrecy) and the peer's the same, then culvert reset",
  LIFETIME_EXPIRED:
    "see the failures before this one: they say why rekeying failed; compare the lifetimes too",
  CHILD_SA_NOT_FOUND:
    "look at the peer's log for where its CHILD_SA went: a restart, or a lifetime without rekeying",
  PEER_DELETED: "look at the peer's log: it closed the tunnel on purpose",
  DPD_TIMEOUT: "check the path to the peer and whether it still runs",
  PEER_RESTARTED: "nothing: the tunnel is set up again",
  CHILDLESS_UNSUPPORTED:
    "set ike.childless to allow here, or let the peer allow childless IKE SAs (RFC 6023)",
  DATAPLANE_ERROR: "look at the daemon's log for the data plane's own message",
  HALF_OPEN_LIMIT: "somebody floods UDP 500: filter that source, or wait",
  OTHER_NOTIFY: "look at the peer's log for why it refused",
};
