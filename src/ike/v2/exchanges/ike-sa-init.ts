/**
 * IKE_SA_INIT (RFC 7296 §1.2): cryptographic suite, nonces, Diffie-Hellman. Nothing here is authenticated yet, so as
 * initiator an error only shortens our patience (§2.21.1), and as responder no state exists before the proposal, the
 * group and, under pressure, the initiator's address are good.
 *
 *   HDR, [N(COOKIE),] SAi1, KEi, Ni -->
 *                                   <-- HDR, SAr1, KEr, Nr
 */

import { compareBytes } from "../../../core/address.ts";
import type { FailureRecord } from "../../../core/failure.ts";
import type { Instant } from "../../../core/time.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import { ExchangeType, groupKeyword, isErrorNotify, NotifyType } from "../../../registry/index.ts";
import {
  encodeMessage,
  findNotify,
  findPayload,
  type NotifyPayload,
  type PlainPayload,
  type Proposal,
} from "../../../wire/index.ts";
import { chooseAmong } from "../../common/candidates.ts";
import { failureOf, mismatchDetails } from "../../common/failures.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import type { PeerSettings } from "../../common/settings.ts";
import { encapsulates } from "../../common/views.ts";
import type { InitiatedExchange, Received } from "../exchange.ts";
import { priorities } from "../exchange.ts";
import { codeOfNotify } from "../failures.ts";
import type { Host } from "../host.ts";
import { IkeSa } from "../ike-sa.ts";
import { secure } from "../key-material.ts";
import { detectNat, natDetectionNotifies } from "../nat.ts";
import { groupData, notify } from "../notify.ts";
import { type PayloadRules, violation } from "../payload-rules.ts";
import { ppkDetails, saysUsePpk, usePpk } from "../ppk.ts";
import { checkAnswer, choose, firstIkeSa, groupsOf, offer, plainFirstIkeSa } from "../proposals.ts";
import type { IkeSaState } from "../states.ts";
import { continueSetup, IntermediateKeys, intermediateSupported } from "./ike-intermediate.ts";

const rules: PayloadRules = { required: ["SA", "KE", "Nonce"], optional: [] };
export const ikeSaInit = {
  name: "IKE_SA_INIT",
  type: ExchangeType.code.IKE_SA_INIT,
  request: rules,
  response: rules,
};

/** Tells our peers apart in their logs; the text is all there is to it. */
const vendorId: PlainPayload = { kind: "V", data: new TextEncoder().encode("culvert") };
/** RFC 7383 §2.3: from IKE_AUTH on, we take and send what is large in fragments. */
const fragmentationSupported = notify(NotifyType.code.IKEV2_FRAGMENTATION_SUPPORTED);
const childlessSupported = notify(NotifyType.code.CHILDLESS_IKEV2_SUPPORTED);
const nonceBytes = 32;
/** A responder asks for a cookie once, or again after rotating its secret; more is somebody playing with us. */
const maxCookies = 4;

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

export function initiateIkeSa(peer: PeerSettings): InitiatedExchange {
  return new IkeSaInit(peer);
}

class IkeSaInit implements InitiatedExchange {
  readonly name = ikeSaInit.name;
  readonly type = ikeSaInit.type;
  readonly priority = priorities.init;
  readonly response = ikeSaInit.response;
  readonly #peer: PeerSettings;
  readonly #proposals: Proposal[];
  readonly #triedGroups = new Set<number>();
  #group: number;
  #keyPair: KeyPair | undefined;
  #Ni: Uint8Array | undefined;
  #natDetection: readonly NotifyPayload[] | undefined;
  #cookie: Uint8Array | undefined;
  #cookies = 0;
  /** The most telling of the answers that settled nothing. */
  #hint: FailureRecord | undefined;

  constructor(peer: PeerSettings) {
    this.#peer = peer;
    this.#proposals = offer(firstIkeSa, peer.ikeProposals);
    this.#group = groupsOf(peer.ikeProposals)[0]!;
  }

  buildRequest(sa: IkeSa): PlainPayload[] {
    this.#Ni ??= sa.host.random.bytes(nonceBytes);
    if (this.#keyPair?.group !== this.#group) {
      this.#keyPair?.wipe();
      this.#keyPair = sa.host.keyPairs.take(this.#group);
    }
    this.#triedGroups.add(this.#group);
    const path = { spiInitiator: sa.spiLocal, spiResponder: 0n, local: sa.local, remote: sa.remote };
    this.#natDetection ??= natDetectionNotifies(sa.host.random, path, this.#peer.natTraversal);
    return [
      // §2.6: the cookie comes first, the rest is unchanged.
      ...(this.#cookie ? [notify(NotifyType.code.COOKIE, this.#cookie)] : []),
      { kind: "SA", proposals: this.#proposals },
      { kind: "KE", dhGroup: this.#group, data: this.#keyPair.publicValue },
      { kind: "Nonce", nonce: this.#Ni },
      ...this.#natDetection,
      fragmentationSupported,
      ...(offersAdditional(this.#peer) ? [intermediateSupported] : []),
      ...(this.#peer.ppk ? [usePpk] : []),
      vendorId,
    ];
  }

  onResponse(sa: IkeSa, now: Instant, message: Received): "done" | "wait" {
    const { payloads } = message;
    const error = payloads.find((p): p is NotifyPayload => p.kind === "N" && isErrorNotify(p.type));
    const cookie = findNotify(payloads, NotifyType.code.COOKIE);
    if (cookie && !findPayload(payloads, "SA")) return this.#onCookie(sa, now, cookie);
    if (error) return this.#onError(sa, now, error);
    return this.#onAnswer(sa, now, message);
  }

  #onCookie(sa: IkeSa, now: Instant, cookie: NotifyPayload): "wait" {
    // §2.6: 1 to 64 octets.
    if (cookie.data.length < 1 || cookie.data.length > 64 || this.#cookies === maxCookies) {
      sa.host.count("payloads");
      return "wait";
    }
    // A second copy of the answer must not become a second variant of the request: AUTH covers only one of them.
    if (this.#cookie && compareBytes(this.#cookie, cookie.data) === 0) return "wait";
    this.#cookies++;
    this.#cookie = Uint8Array.from(cookie.data);
    sa.rebuild(now);
    return "wait";
  }

  #onError(sa: IkeSa, now: Instant, error: NotifyPayload): "wait" {
    if (error.type === NotifyType.code.INVALID_KE_PAYLOAD) return this.#onInvalidKe(sa, now, error);
    if (error.type === NotifyType.code.NO_PROPOSAL_CHOSEN)
      return this.#doubt(
        sa,
        now,
        failureOf(sa, "NO_PROPOSAL_CHOSEN_IKE", {
          ...this.#ours(),
          theirs: [NotifyType.nameOf(error.type)],
        }),
      );
    const theirs = [NotifyType.nameOf(error.type)];
    const details = { ...this.#ours(), theirs, difference: `IKE_SA_INIT: the peer answers ${theirs}` };
    return this.#doubt(sa, now, failureOf(sa, codeOfNotify(error.type, "OTHER_NOTIFY"), details));
  }

  /** §1.2: once per group, and only to a group that we offered: else an attacker could choose the weakest. */
  #onInvalidKe(sa: IkeSa, now: Instant, { data }: NotifyPayload): "wait" {
    const group = data.length === 2 ? (data[0]! << 8) | data[1]! : undefined;
    if (
      group !== undefined &&
      groupsOf(this.#peer.ikeProposals).includes(group) &&
      !this.#triedGroups.has(group)
    ) {
      this.#group = group;
      sa.rebuild(now);
      return "wait";
    }
    const theirs = group === undefined ? [] : [groupKeyword(group)];
    const ours = groupsOf(this.#peer.ikeProposals).map(groupKeyword);
    const difference = `DH group: ours ${ours.join(" or ")}, theirs ${theirs[0] ?? "not said"}`;
    return this.#doubt(sa, now, failureOf(sa, "INVALID_KE", { ...this.#ours(), ours, theirs, difference }));
  }

  #onAnswer(sa: IkeSa, now: Instant, message: Received): "done" | "wait" {
    const { header, payloads } = message;
    const refuse = (difference: string) =>
      this.#doubt(
        sa,
        now,
        failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `IKE_SA_INIT: ${difference}` }),
      );
    const problem = header.spiResponder === 0n ? "no responder SPI" : violation(rules, payloads);
    if (problem !== undefined) return refuse(problem);
    const answered = findPayload(payloads, "SA")!.proposals;
    const suite = checkAnswer(firstIkeSa, this.#proposals, answered);
    if (!suite.ok) return refuse(suite.error);
    const ke = findPayload(payloads, "KE")!;
    if (suite.value.group !== this.#group || ke.dhGroup !== this.#group)
      return refuse(`KE is for ${groupKeyword(ke.dhGroup)}, chosen was ${groupKeyword(suite.value.group)}`);
    if (suite.value.additional && !supportsIntermediate(payloads))
      return refuse("additional key exchanges without INTERMEDIATE_EXCHANGE_SUPPORTED");
    sa.usesPpk = this.#peer.ppk !== undefined && saysUsePpk(payloads);
    if (this.#peer.ppk?.required && !sa.usesPpk) {
      const details = ppkDetails(this.#peer, "the peer does not use postquantum preshared keys");
      return this.#doubt(sa, now, failureOf(sa, "PPK_MISMATCH", details));
    }
    if (this.#peer.childless === "force" && !findNotify(payloads, NotifyType.code.CHILDLESS_IKEV2_SUPPORTED))
      return this.#doubt(sa, now, failureOf(sa, "CHILDLESS_UNSUPPORTED"));
    const shared = sharedSecret(this.#keyPair!, ke.data);
    if (!shared) {
      sa.host.count("key_exchange");
      return refuse("the key exchange data is not a valid public value");
    }

    const Nr = Uint8Array.from(findPayload(payloads, "Nonce")!.nonce);
    sa.spiRemote = header.spiResponder;
    sa.secured = secure(sa.host.random, sa, suite.value, { Ni: this.#Ni!, Nr, shared });
    exportIkeKeys(sa);
    const path = {
      spiInitiator: sa.spiLocal,
      spiResponder: sa.spiRemote,
      local: message.local,
      remote: message.remote,
    };
    sa.nat = detectNat(payloads, path, this.#peer.natTraversal);
    sa.fragmentation = supportsFragmentation(payloads);
    const signed = { request: Uint8Array.from(sa.requestBytes), response: Uint8Array.from(message.datagram) };
    const moves = encapsulates(sa.nat) || (this.#peer.mobike && sa.nat.supported);
    // One that takes the place of another began on that port, and on what a NAT made of it.
    if (moves && sa.local.port !== sa.host.nattPort) {
      // §2.23: from here on everything goes over the NAT traversal port; with MOBIKE always (RFC 4555 §3.3).
      sa.local = { address: sa.local.address, port: sa.host.nattPort };
      sa.remote = { address: sa.remote.address, port: sa.host.nattPort };
    }
    this.#keyPair?.wipe();
    continueSetup(sa, now, signed);
    return "done";
  }

  /** §2.21.1: anybody could have sent this; a genuine answer may follow, and then nothing has failed. */
  #doubt(sa: IkeSa, now: Instant, record: FailureRecord): "wait" {
    this.#hint ??= record;
    sa.waitUntil(now + sa.host.limits.graceAfterErrorMs);
    return "wait";
  }

  onTimeout(sa: IkeSa, now: Instant): void {
    this.#keyPair?.wipe();
    const record = this.#hint ?? failureOf(sa, "PEER_UNREACHABLE", this.#ours());
    sa.host.emit({ kind: "failure", sa, record });
    sa.end(now, this.#hint ? "failed" : "unreachable");
  }

  onAbandon(): void {
    this.#keyPair?.wipe();
  }

  #ours() {
    const ours = this.#peer.ikeProposals.map((p) => p.text);
    return { ours, offered: { ike: ours } };
  }
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

export type InitOutcome =
  | { readonly kind: "accepted"; readonly sa: IkeSa; readonly response: Uint8Array }
  /** An answer that leaves no state behind. */
  | { readonly kind: "refused"; readonly notify: NotifyPayload; readonly record?: FailureRecord }
  | { readonly kind: "dropped" };

/**
 * Answers a first message. `candidates`: the peers that may call from this address, preferred first. Requires that
 * the rules of the exchange hold.
 */
export function onIkeSaInitRequest(
  host: Host,
  now: Instant,
  message: Received,
  candidates: readonly PeerSettings[],
): InitOutcome {
  const { header, payloads, local, remote, datagram } = message;
  const offered = findPayload(payloads, "SA")!.proposals;
  const intermediate = supportsIntermediate(payloads);
  const scope = intermediate ? firstIkeSa : plainFirstIkeSa;
  const among = chooseAmong(candidates, (proposals) => choose(scope, proposals, offered));
  if ("mismatch" in among) {
    const subject = { peer: undefined, candidates: candidates.slice(0, 1), remote };
    const record = failureOf(subject, "NO_PROPOSAL_CHOSEN_IKE", {
      ...mismatchDetails(among.mismatch),
      offered: { ike: among.mismatch.theirs },
    });
    return { kind: "refused", notify: notify(NotifyType.code.NO_PROPOSAL_CHOSEN), record };
  }
  const ke = findPayload(payloads, "KE")!;
  const { peers } = among;
  const { suite, proposal } = among.chosen;
  if (ke.dhGroup !== suite.group)
    return { kind: "refused", notify: notify(NotifyType.code.INVALID_KE_PAYLOAD, groupData(suite.group)) };
  const keyPair = host.keyPairs.take(suite.group);
  const shared = sharedSecret(keyPair, ke.data);
  if (!shared) {
    host.keyPairs.giveBack(keyPair);
    host.count("key_exchange");
    return { kind: "dropped" };
  }

  const spiLocal = host.newIkeSpi();
  const spiRemote = header.spiInitiator;
  const ids = { role: "responder", spiInitiator: spiRemote, spiResponder: spiLocal } as const;
  const Ni = new Uint8Array(findPayload(payloads, "Nonce")!.nonce);
  const Nr = host.random.bytes(nonceBytes);
  const path = { spiInitiator: spiRemote, spiResponder: spiLocal, local, remote };
  const { natTraversal } = peers[0]!;
  const usesPpk = saysUsePpk(payloads) && peers.some(({ ppk }) => ppk !== undefined);
  // The initiator hashed the SPIs that it knew: ours was still zero.
  const nat = detectNat(payloads, { spiInitiator: spiRemote, spiResponder: 0n, local, remote }, natTraversal);
  const fragmentation = supportsFragmentation(payloads);
  const answer: PlainPayload[] = [
    { kind: "SA", proposals: [proposal] },
    { kind: "KE", dhGroup: suite.group, data: keyPair.publicValue },
    { kind: "Nonce", nonce: Nr },
  ];
  // A peer that does not ask for NAT traversal is not offered it.
  if (nat.supported) answer.push(...natDetectionNotifies(host.random, path, natTraversal));
  if (fragmentation) answer.push(fragmentationSupported);
  if (intermediate) answer.push(intermediateSupported);
  if (usesPpk) answer.push(usePpk);
  // RFC 6023 §3: said by the responder only.
  if (peers.some((p) => p.childless !== "never")) answer.push(childlessSupported);
  answer.push(vendorId);
  const response = encodeMessage({
    header: {
      spiInitiator: spiRemote,
      spiResponder: spiLocal,
      exchangeType: ikeSaInit.type,
      initiator: false,
      response: true,
      messageId: 0,
    },
    payloads: answer,
  });
  keyPair.wipe();

  const signed = { request: new Uint8Array(datagram), response };
  const until = now + host.limits.halfOpenMs;
  const state: IkeSaState = suite.additional
    ? { name: "INTERMEDIATE", until, signed, exchanges: new IntermediateKeys(suite.additional) }
    : { name: "HALF_OPEN", until, signed };
  const origin = { role: "responder", now, spiLocal, spiRemote, local, remote, peer: undefined } as const;
  const sa = new IkeSa(host, origin, state);
  sa.candidates = peers;
  sa.usesPpk = usesPpk;
  sa.nat = nat;
  sa.fragmentation = fragmentation;
  sa.secured = secure(host.random, ids, suite, { Ni, Nr, shared });
  exportIkeKeys(sa);
  sa.rememberAnswer(signed.request, response);
  return { kind: "accepted", sa, response };
}

function supportsFragmentation(payloads: readonly PlainPayload[]): boolean {
  return findNotify(payloads, NotifyType.code.IKEV2_FRAGMENTATION_SUPPORTED) !== undefined;
}

/** IKE_INTERMEDIATE is for additional key exchanges; without them there is nothing to announce. */
function offersAdditional({ ikeProposals }: PeerSettings): boolean {
  return ikeProposals.some((p) => (p.additionalKeyExchanges?.length ?? 0) > 0);
}

function supportsIntermediate(payloads: readonly PlainPayload[]): boolean {
  return findNotify(payloads, NotifyType.code.INTERMEDIATE_EXCHANGE_SUPPORTED) !== undefined;
}

/** For an analyser; only when the operator asked for it. */
export function exportIkeKeys({ host, spiInitiator, spiResponder, secured }: IkeSa): void {
  if (!host.exportKeys || !secured) return;
  const { suite, keys } = secured;
  const copies = {
    SK_ai: keys.SK_ai.copy(),
    SK_ar: keys.SK_ar.copy(),
    SK_ei: keys.SK_ei.copy(),
    SK_er: keys.SK_er.copy(),
  };
  host.emit({ kind: "ikeKeys", keys: { spiInitiator, spiResponder, suite, ...copies } });
}
