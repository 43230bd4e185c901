/**
 * IKE_AUTH (RFC 7296 §1.2, §2.15, §2.16): identities, pre-shared keys, and the first CHILD_SA.
 *
 *   HDR, SK {IDi, [IDr,] AUTH, SAi2, TSi, TSr, [N(INITIAL_CONTACT)]} -->
 *                                                  <-- HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
 */

import { earlier, type Instant } from "../../../core/time.ts";
import { type PpkKeys, wipePpkKeys } from "../../../crypto/index.ts";
import { AuthMethod, ExchangeType, isErrorNotify, NotifyType } from "../../../registry/index.ts";
import {
  type AuthPayload,
  findNotify,
  findPayload,
  type IdPayload,
  type NotifyPayload,
  type PlainPayload,
  restOfIdPayload,
} from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import {
  expectedIdentity,
  formatIdentity,
  formatIdPayload,
  identityMatches,
  identityMismatch,
  ownIdentity,
} from "../../common/identity.ts";
import { softFraction } from "../../common/install.ts";
import { mayExpect } from "../../common/peer-table.ts";
import { narrow, sameSelectors } from "../../common/selectors.ts";
import type { PeerSettings } from "../../common/settings.ts";
import {
  acceptChild,
  answerChild,
  type ChildOffer,
  childOfferPayloads,
  endsOf,
  offerChild,
} from "../child-negotiation.ts";
import { expectChild } from "../child-sa.ts";
import { ownToken, takeToken } from "../crash-detection.ts";
import type { Answer, Exchange, InitiatedExchange, Received } from "../exchange.ts";
import { priorities } from "../exchange.ts";
import { childTerms, codeOfNotify } from "../failures.ts";
import { identityPayload } from "../identity.ts";
import type { IkeSa } from "../ike-sa.ts";
import { pskAuth, type Signed, verifyPskAuth } from "../key-material.ts";
import { acceptMobike, meetsForbiddenNat, mobikeNotifies } from "../mobike.ts";
import { notify } from "../notify.ts";
import { firstAsk, Pairs } from "../pairs.ts";
import { type PayloadRules, violation } from "../payload-rules.ts";
import { adoptPpk, mixedKeys, type Proof, ppkDetails, ppkNotifies, verifyInitiator } from "../ppk.ts";
import { honourAuthLifetime } from "../reauthentication.ts";

import { scheduleRehearsal } from "../rehearsal.ts";
import type { SignedMessages } from "../states.ts";
import { refuseIkeSa } from "./informational.ts";

/**
 * Without AUTH the initiator asks for EAP (§2.16): told apart by hand, because the refusal differs. Without `SA, TSi,
 * TSr` it wants no CHILD_SA yet (RFC 6023 §3).
 */
const request: PayloadRules = {
  required: ["IDi"],
  optional: ["IDr", "AUTH", "SA", "TSi", "TSr"],
  together: ["SA", "TSi", "TSr"],
};
const response: PayloadRules = { required: ["IDr", "AUTH"], optional: ["SA", "TSi", "TSr"] };
const type = ExchangeType.code.IKE_AUTH;

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

export function authenticate(signed: SignedMessages): InitiatedExchange {
  return new IkeAuth(signed);
}

class IkeAuth implements InitiatedExchange {
  readonly name = "IKE_AUTH";
  readonly type = type;
  readonly priority = priorities.auth;
  /** A refusal has neither IDr nor AUTH: `onResponse` looks for it before it applies the rules. */
  readonly response: PayloadRules = { required: [], optional: [] };
  readonly #signed: SignedMessages;
  #child: ChildOffer | undefined;
  /** Set while the peer has not said whether it has our PPK. */
  #mixed: PpkKeys | undefined;

  constructor(signed: SignedMessages) {
    this.#signed = signed;
  }

  buildRequest(sa: IkeSa): PlainPayload[] {
    const peer = sa.peer!;
    const { Nr } = sa.secured!;
    const idi = identityPayload("IDi", ownIdentity(peer, sa.local.address));
    const expected = expectedIdentity(peer, sa.remote.address);
    // InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI
    const { request: message, intAuth } = this.#signed;
    const octets = { message, peerNonce: Nr, restOfIdPayload: restOfIdPayload(idi), intAuth };
    const ppk = sa.usesPpk ? peer.ppk : undefined;
    this.#mixed = ppk && mixedKeys(sa, ppk);
    const { suite, keys } = sa.secured!;
    const signing = { suite, keys: { ...keys, ...this.#mixed } };
    const data = pskAuth(signing, "initiator", peer.psk, octets);
    const childless = peer.childless === "force";
    if (!childless) this.#child ??= offerChild(sa, peer, firstAsk(sa, peer));
    sa.localId = formatIdPayload(idi);
    return [
      idi,
      ...(expected ? [identityPayload("IDr", expected)] : []),
      { kind: "AUTH", method: AuthMethod.code.SHARED_KEY_MIC, data },
      ...(ppk ? ppkNotifies(sa, peer, ppk, octets) : []),
      ...ownToken(sa),
      ...(this.#child ? childOfferPayloads(this.#child) : []),
      // §2.4: only when this is all that we have with the peer.
      ...(sa.host.isFirstContact(sa) ? [notify(NotifyType.code.INITIAL_CONTACT)] : []),
      ...mobikeNotifies(sa, peer),
    ];
  }

  onResponse(sa: IkeSa, now: Instant, { payloads }: Received): "done" {
    const error = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    if (!findPayload(payloads, "AUTH") && error) return this.#onRefusal(sa, now, error);
    const problem = violation(response, payloads);
    if (problem !== undefined) {
      const difference = `IKE_AUTH: ${problem}`;
      return this.#refuse(sa, now, NotifyType.code.INVALID_SYNTAX, "PEER_PROTOCOL_ERROR", { difference });
    }
    const idr = findPayload(payloads, "IDr")!;
    const auth = findPayload(payloads, "AUTH")!;
    const peer = sa.peer!;
    sa.remoteId = formatIdPayload(idr);
    const expected = expectedIdentity(peer, sa.remote.address);
    if (expected && !identityMatches(expected, idr)) {
      const details = identityMismatch(expected, idr);
      return this.#refuse(sa, now, NotifyType.code.AUTHENTICATION_FAILED, "PEER_IDENTITY_MISMATCH", details);
    }
    // ResponderSignedOctets = RealMessage2 | NonceIData | MACedIDForR
    const { Ni } = sa.secured!;
    const { response: message, intAuth } = this.#signed;
    const octets = { message, peerNonce: Ni, restOfIdPayload: restOfIdPayload(idr), intAuth };
    if (this.#mixed && findNotify(payloads, NotifyType.code.PPK_IDENTITY)) {
      adoptPpk(sa, this.#mixed);
      this.#mixed = undefined;
    } else if (sa.usesPpk && peer.ppk?.required) {
      const details = ppkDetails(peer, "the peer does not have the PPK");
      return this.#refuse(sa, now, NotifyType.code.AUTHENTICATION_FAILED, "PPK_MISMATCH", details);
    }
    this.#dropMixed();
    if (!isAuthentic(sa, peer, "responder", auth, octets))
      return this.#refuse(sa, now, NotifyType.code.AUTHENTICATION_FAILED, authCode(auth), authDetails(auth));

    const abandoned = sa.state.name === "DELETING" ? sa.state.why : undefined;
    acceptMobike(sa, peer, payloads);
    establish(sa, now);
    if (abandoned) {
      this.onAbandon(sa);
      sa.requestDelete(now, abandoned);
      return "done";
    }
    takeToken(sa, payloads);
    honourAuthLifetime(sa, now, payloads);
    if (!this.#child) {
      expectChild(sa, now);
      sa.host.onEstablished(sa, now, false);
      sa.pairs!.start(sa, now);
      return "done";
    }
    const offered = this.#child;
    this.#child = undefined;
    sa.pairs!.asking = offered.ask;
    const accepted = acceptChild(sa, now, offered, payloads);
    if (accepted.ok) sa.pairs!.onAccepted(sa, now, offered.ask!, accepted.value);
    else {
      // §1.2: the IKE SA stands without its CHILD_SA. It has a use only while there are other pairs to ask for.
      expectChild(sa, now);
      sa.pairs!.onRefused(sa, now, offered.ask!, error?.type ?? 0, accepted.error);
    }
    if (accepted.ok && !sa.replaces) scheduleRehearsal(sa, now, accepted.value);
    if (sa.established) sa.host.onEstablished(sa, now, false);
    return "done";
  }

  /** The peer refused in an answer that only it can have encrypted; without AUTH it proves no more than that. */
  #onRefusal(sa: IkeSa, now: Instant, error: NotifyPayload): "done" {
    const theirs = [NotifyType.nameOf(error.type)];
    const ours = [`our identity ${sa.localId}`, ...(this.#mixed ? ppkDetails(sa.peer!, "").ours : [])];
    const offered = this.#child && childTerms(this.#child.proposals, endsOf(this.#child));
    this.onAbandon(sa);
    const code = codeOfNotify(error.type, "OTHER_NOTIFY");
    const details = { ours, theirs, ...(offered && { offered }) };
    const difference = `IKE_AUTH: the peer answers ${theirs}`;
    sa.fail(now, failureOf(sa, code, code === "OTHER_NOTIFY" ? { ...details, difference } : details));
    return "done";
  }

  #refuse(
    sa: IkeSa,
    now: Instant,
    notifyType: number,
    code: Parameters<typeof failureOf>[1],
    details: Parameters<typeof failureOf>[2],
  ): "done" {
    this.onAbandon(sa);
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, code, details) });
    if (!sa.is("DELETING")) sa.transition({ name: "DELETING", why: "failed" }, code);
    sa.initiate(now, refuseIkeSa(notifyType));
    return "done";
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.onAbandon(sa);
    if (sa.state.name === "DELETING") {
      sa.end(now, sa.state.why);
      return;
    }
    sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "IKE_AUTH_UNANSWERED") });
    sa.end(now, "unreachable");
  }

  onAbandon(sa: IkeSa): void {
    if (this.#child) sa.host.releaseSpi(this.#child.spiIn);
    this.#child = undefined;
    this.#dropMixed();
  }

  #dropMixed(): void {
    if (this.#mixed) wipePpkKeys(this.#mixed);
    this.#mixed = undefined;
  }
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export const ikeAuth: Exchange = {
  name: "IKE_AUTH",
  type,
  rfc: "RFC 7296 §1.2",
  from: ["HALF_OPEN"],
  request,
  onRequest,
};

function onRequest(sa: IkeSa, now: Instant, message: Received): Answer {
  const { payloads } = message;
  if (sa.state.name !== "HALF_OPEN") throw new Error(`IKE_AUTH in ${sa.state.name}`);
  const { signed } = sa.state;
  const idi = findPayload(payloads, "IDi")!;
  const idr = findPayload(payloads, "IDr");
  const auth = findPayload(payloads, "AUTH");
  // §2.23: a NAT may have given the second exchange another port than the first.
  sa.local = message.local;
  sa.remote = message.remote;
  sa.remoteId = formatIdPayload(idi);
  const refuse = (
    code: Parameters<typeof failureOf>[1],
    details: Parameters<typeof failureOf>[2],
  ): Answer => ({
    payloads: [notify(NotifyType.code.AUTHENTICATION_FAILED)],
    afterwards: () => sa.fail(now, failureOf(sa, code, details)),
  });

  const fitting = mayExpect(sa.candidates, idi).filter((peer) => acceptsIdentities(sa, peer, idi, idr));
  const first = sa.candidates[0]!;
  if (fitting.length === 0) {
    sa.candidates = [first];
    const expected = expectedIdentity(first, sa.remote.address);
    if (expected && !identityMatches(expected, idi))
      return refuse("PEER_IDENTITY_MISMATCH", identityMismatch(expected, idi));
    const ours = [formatIdentity(ownIdentity(first, sa.local.address))];
    const theirs = [idr ? formatIdPayload(idr) : "any"];
    const difference = `our identity: ours ${ours}, the peer asks for ${theirs}`;
    const remedy = "set ike.localId here to what the peer asks for, or change the peer's remote identity";
    return refuse("PEER_IDENTITY_MISMATCH", { ours, theirs, difference, remedy });
  }
  // Several connections may fit by their identities; the key decides, and then what the CHILD_SA is for.
  const { Ni, Nr } = sa.secured!;
  const { intAuth } = signed;
  const theirs = { message: signed.request, peerNonce: Nr, restOfIdPayload: restOfIdPayload(idi), intAuth };
  const proofs = new Map(auth ? fitting.map((p) => [p, verifyInitiator(sa, p, auth, theirs, payloads)]) : []);
  const authentic = fitting.filter((p) => proofs.get(p)?.ok);
  const peer = bestBySelectors(authentic, payloads);
  for (const [candidate, proof] of proofs)
    if (proof.ok && proof.mixed && candidate !== peer) wipePpkKeys(proof.mixed);
  if (!peer) {
    const without = fitting.find((p) => isProofButForPpk(proofs.get(p)));
    sa.candidates = [without ?? fitting[0]!];
    return without
      ? refuse("PPK_MISMATCH", ppkDetails(without, "the peer has another PPK, or none"))
      : refuse(authCode(auth), authDetails(auth));
  }
  const proof = proofs.get(peer)!;
  const mixed = proof.ok ? proof.mixed : undefined;
  if (mixed) adoptPpk(sa, mixed);

  const childless = !findPayload(payloads, "SA");
  if (childless && peer.childless === "never") {
    const difference = "IKE_AUTH without a CHILD_SA, which ike.childless forbids here";
    const afterwards = () => sa.fail(now, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
    return { payloads: [notify(NotifyType.code.INVALID_SYNTAX)], afterwards };
  }
  sa.peer = peer;
  sa.candidates = [];
  if (meetsForbiddenNat(payloads, message)) {
    const difference = "the peer allows no NAT, and one changed the addresses of its message";
    return {
      payloads: [notify(NotifyType.code.UNEXPECTED_NAT_DETECTED)],
      afterwards: () => sa.fail(now, failureOf(sa, "OTHER_NOTIFY", { difference })),
    };
  }
  acceptMobike(sa, peer, payloads);
  const ourId = identityPayload("IDr", ownIdentity(peer, sa.local.address));
  sa.localId = formatIdPayload(ourId);
  const octets = {
    message: signed.response,
    peerNonce: Ni,
    restOfIdPayload: restOfIdPayload(ourId),
    intAuth,
  };
  const data = pskAuth(sa.secured!, "responder", peer.psk, octets);
  establish(sa, now);
  takeToken(sa, payloads);
  const initialContact = findNotify(payloads, NotifyType.code.INITIAL_CONTACT) !== undefined;
  const child = childless ? undefined : answerChild(sa, now, payloads);
  if (child && !child.ok) sa.host.emit({ kind: "failure", sa, record: child.error.record });
  if (!child?.ok) expectChild(sa, now);
  const answer: PlainPayload[] = [ourId, { kind: "AUTH", method: AuthMethod.code.SHARED_KEY_MIC, data }];
  // RFC 8784 §3: empty, it says that the PPK is used.
  if (mixed) answer.push(notify(NotifyType.code.PPK_IDENTITY));
  answer.push(...ownToken(sa));
  // §1.2: without a CHILD_SA the IKE SA still stands.
  if (child?.ok) answer.push(...child.value);
  else if (child) answer.push(notify(child.error.notify));
  if (sa.mobike) answer.push(...mobikeNotifies(sa, peer));
  return { payloads: answer, afterwards: () => sa.host.onEstablished(sa, now, initialContact) };
}

function isProofButForPpk(proof: Proof | undefined): boolean {
  return proof !== undefined && !proof.ok && proof.ppk;
}

// ── Both ───────────────────────────────────────────────────────────────────────────────────────────────────────

function establish(sa: IkeSa, now: Instant): void {
  const peer = sa.peer!;
  sa.handshakeMs = now - sa.createdAt;
  sa.pairs = new Pairs(peer, sa.role === "initiator");
  startLifetime(sa, now);
  if (sa.nat.local && peer.natTraversal) sa.keepaliveAt = now + peer.natTraversal.keepaliveMs;
  sa.transition({ name: "ESTABLISHED", since: now }, "IKE_AUTH succeeded");
  sa.host.emit({ kind: "established", sa });
}

/** Starts the clocks of an IKE SA: rekey before the end, and an end. */
export function startLifetime(sa: IkeSa, now: Instant): void {
  const { ikeLifetimeMs, reauthenticate } = sa.peer!;
  const softAt = now + Math.floor(ikeLifetimeMs * softFraction(sa.host, sa.role));
  if (reauthenticate) sa.reauthAt = earlier(sa.reauthAt, softAt);
  else sa.rekeyAt = softAt;
  sa.expiresAt = now + ikeLifetimeMs;
}

/** Of several connections with the same peer, the one whose selectors were asked for; else one that covers them. */
function bestBySelectors(
  peers: readonly PeerSettings[],
  payloads: readonly PlainPayload[],
): PeerSettings | undefined {
  if (peers.length < 2) return peers[0];
  const TSi = findPayload(payloads, "TSi")?.selectors ?? [];
  const TSr = findPayload(payloads, "TSr")?.selectors ?? [];
  const equal = (p: PeerSettings) =>
    sameSelectors(p.remoteSelectors, TSi) && sameSelectors(p.localSelectors, TSr);
  const shares = (p: PeerSettings) =>
    narrow(p.remoteSelectors, TSi).length > 0 && narrow(p.localSelectors, TSr).length > 0;
  return peers.find(equal) ?? peers.find(shares) ?? peers[0];
}

function isAuthentic(
  sa: IkeSa,
  peer: PeerSettings,
  signer: "initiator" | "responder",
  auth: AuthPayload,
  octets: Signed,
): boolean {
  if (auth.method !== AuthMethod.code.SHARED_KEY_MIC) return false;
  return verifyPskAuth(sa.secured!, signer, peer.psk, octets, auth.data);
}

function acceptsIdentities(
  sa: IkeSa,
  peer: PeerSettings,
  idi: IdPayload,
  idr: IdPayload | undefined,
): boolean {
  const expected = expectedIdentity(peer, sa.remote.address);
  if (expected && !identityMatches(expected, idi)) return false;
  return !idr || identityMatches(ownIdentity(peer, sa.local.address), idr);
}

/** No key is wrong when the peer does not use one. */
function authCode(auth: AuthPayload | undefined) {
  return auth?.method === AuthMethod.code.SHARED_KEY_MIC
    ? "AUTHENTICATION_FAILED"
    : "AUTH_METHOD_UNSUPPORTED";
}

function authDetails(auth: AuthPayload | undefined) {
  const ours = [AuthMethod.nameOf(AuthMethod.code.SHARED_KEY_MIC)];
  if (!auth) return { ours, theirs: ["EAP"], difference: "authentication: ours pre-shared key, theirs EAP" };
  const theirs = [AuthMethod.nameOf(auth.method)];
  if (auth.method === AuthMethod.code.SHARED_KEY_MIC)
    return { ours, theirs, difference: "the pre-shared keys differ" };
  return { ours, theirs, difference: `authentication: ours ${ours}, theirs ${theirs}` };
}
