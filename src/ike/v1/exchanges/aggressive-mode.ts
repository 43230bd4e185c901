/**
 * Aggressive mode with a pre-shared key (RFC 2409 §5.4): three messages, the identities in the clear. The responder finds
 * the pre-shared key by the initiator's identity, and shows in HASH_R something that can be tried against guesses of it
 * offline: only a connection whose mode this is answers.
 *
 *   HDR, SA, KE, Ni, IDii            -->
 *                                    <-- HDR, SA, KE, Nr, IDir, HASH_R
 *   HDR*, HASH_I                     -->
 *
 * DEVIATION: §5.4 has message 3 in the clear. Encrypted is how RFC 3947 §3.2 draws it and how everybody sends it; either
 * is taken.
 */
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import type { IkeSuite } from "../../../registry/index.ts";
import {
  findIsakmpPayload,
  type IsakmpIdPayload,
  type IsakmpPayload,
  type IsakmpProposal,
  isakmpBody,
  type ReceivedPayload,
} from "../../../wire/v1/index.ts";
import { failureOf } from "../../common/failures.ts";
import { formatIdPayload, ownIdentity } from "../../common/identity.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import type { PeerSettings } from "../../common/settings.ts";
import { Doubts, refusedRecord } from "../doubts.ts";
import type { IsakmpSa } from "../isakmp-sa.ts";
import { inTheClear, openPhase1, secure } from "../key-material.ts";
import { detectNat, floatPorts, natDPayloads } from "../nat.ts";
import type { Datagram, InitiatedPhase1, Phase1, Phase1Reply } from "../phase1.ts";
import { type Choice, checkPhase1Answer, offerPhase1, phase1Groups } from "../proposals.ts";
import { vendorPayloads } from "../vendor.ts";
import {
  drop,
  establish,
  exportIsakmpKeys,
  hashI,
  hashR,
  idPayload,
  initialContact,
  isExpected,
  isHash,
  missing,
  nonceBytes,
  refuseIdentity,
  saPayload,
  saysInitialContact,
  type Transcript,
  takeAbilities,
} from "./phase1-common.ts";

// ── Initiator ──────────────────────────────────────────────────────────────────────────────────────────────────

export class AggressiveModeInitiator implements InitiatedPhase1 {
  readonly #peer: PeerSettings;
  readonly #doubts = new Doubts();
  readonly #keyPair: KeyPair;
  readonly #Ni: Uint8Array;
  readonly #offer: IsakmpProposal;
  readonly #id: IsakmpIdPayload;

  /** One group for all proposals, because message 1 holds the key exchange: the first that is configured. */
  constructor(sa: IsakmpSa, peer: PeerSettings) {
    this.#peer = peer;
    const group = phase1Groups(peer.ikeProposals)[0]!;
    this.#keyPair = sa.host.keyPairs.take(group);
    this.#Ni = sa.host.random.bytes(nonceBytes);
    this.#offer = offerPhase1(peer.ikeProposals, peer.ikeLifetimeMs / 1000, group);
    this.#id = idPayload(ownIdentity(peer, sa.local.address));
    sa.localId = formatIdPayload(this.#id);
  }

  begin(): readonly IsakmpPayload[] {
    return [
      saPayload(this.#offer),
      { kind: "KE", data: this.#keyPair.publicValue },
      { kind: "NONCE", nonce: this.#Ni },
      this.#id,
      ...vendorPayloads(this.#peer),
    ];
  }

  /** `HDR, SA, KE, Nr, IDir, HASH_R` */
  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    const payloads = inTheClear(message);
    if (!payloads) return drop("malformed");
    const { spiResponder } = message.header;
    const problem =
      spiResponder === 0n ? "no responder SPI" : missing(payloads, ["SA", "KE", "NONCE", "ID", "HASH"]);
    if (problem !== undefined) return this.#doubt(problem);
    const agreed = checkPhase1Answer(this.#offer, findIsakmpPayload(payloads, "SA")!.proposals);
    if (!agreed.ok) return this.#doubt(agreed.error);
    const { suite, life } = agreed.value;
    const gxi = this.#keyPair.publicValue;
    const gxr = Uint8Array.from(findIsakmpPayload(payloads, "KE")!.data);
    const gxy = sharedSecret(this.#keyPair, gxr);
    if (!gxy) {
      // In a group with small subgroups the private key is gone by now: there is no second try.
      sa.host.count("key_exchange");
      const difference = "message 2: the key exchange data is not a valid public value";
      sa.fail(now, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
      return { kind: "ended" };
    }
    const Nr = Uint8Array.from(findIsakmpPayload(payloads, "NONCE")!.nonce);
    const { spiInitiator } = sa;
    const spis = { spiInitiator, spiResponder };
    const secured = secure({ suite, gxi, gxr, gxy, Ni: this.#Ni, Nr, ...spis }, this.#peer.psk);
    gxy.wipe();
    const transcript = { gxi, gxr, SAi_b: isakmpBody(saPayload(this.#offer)) };
    const id = findIsakmpPayload(payloads, "ID")!;
    if (!isHash(hashR(secured, spis, transcript, id), findIsakmpPayload(payloads, "HASH")!.data)) {
      secured.wipe();
      return this.#onWrongHash(sa, now, formatIdPayload(id));
    }
    sa.secured = secured;
    sa.spiRemote = spiResponder;
    exportIsakmpKeys(sa);
    takeAbilities(sa, payloads, this.#peer.natTraversal);
    sa.remoteId = formatIdPayload(id);
    if (!isExpected(sa, this.#peer, id)) return refuseIdentity(sa, now, this.#peer, id);
    sa.nat = detectNat(sa, payloads, suite.prf, message, this.#peer.natTraversal);
    floatPorts(sa);
    // Hashed for the ports that this message has (RFC 3947 §3.2).
    const natD = sa.nat.supported ? natDPayloads(sa, suite.prf, this.#peer.natTraversal) : [];
    return {
      kind: "send",
      payloads: [
        { kind: "HASH", data: hashI(secured, sa, transcript, this.#id) },
        ...natD,
        ...initialContact(sa),
      ],
      encrypted: true,
      last: true,
      afterwards: () => establish(sa, now, life.seconds, saysInitialContact(payloads)),
    };
  }

  /** HASH_R proves that somebody else sent it, or that the keys differ: nothing better will come from this peer. */
  #onWrongHash(sa: IsakmpSa, now: Instant, theirId: string): Phase1Reply {
    sa.host.count("not_authentic");
    const difference = `message 2: HASH_R of ${theirId} is not made with our pre-shared key: the keys differ`;
    sa.fail(now, failureOf(sa, "AUTHENTICATION_FAILED", { theirs: [theirId], difference }));
    return { kind: "ended" };
  }

  #doubt(problem: string): Phase1Reply {
    this.#doubts.onProblem(`message 2: ${problem}`);
    return drop("payloads");
  }

  onHint(notifyType: number | undefined): void {
    this.#doubts.onHint(notifyType);
  }

  onRefusal(sa: IsakmpSa, now: Instant, notifyType: number): void {
    sa.fail(now, refusedRecord(sa, notifyType));
  }

  onTimeout(sa: IsakmpSa, now: Instant): void {
    const { record, silent } = this.#doubts.record(sa);
    sa.fail(now, record, silent ? "unreachable" : "failed");
  }

  discard(): void {
    this.#keyPair.wipe();
  }
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

/** What message 1 holds, when it holds what it must. */
export interface AggressiveOffer {
  readonly SAi_b: Uint8Array;
  readonly gxi: Uint8Array;
  readonly Ni: Uint8Array;
  readonly id: ReceivedPayload & { readonly kind: "ID" };
}

export function aggressiveOffer(payloads: readonly ReceivedPayload[]): AggressiveOffer | undefined {
  if (missing(payloads, ["SA", "KE", "NONCE", "ID"]) !== undefined) return undefined;
  return {
    SAi_b: Uint8Array.from(findIsakmpPayload(payloads, "SA")!.body),
    gxi: Uint8Array.from(findIsakmpPayload(payloads, "KE")!.data),
    Ni: Uint8Array.from(findIsakmpPayload(payloads, "NONCE")!.nonce),
    id: findIsakmpPayload(payloads, "ID")!,
  };
}

export class AggressiveModeResponder implements Phase1 {
  readonly #chosen: Choice<IkeSuite>;
  readonly #id: IsakmpIdPayload;
  readonly #transcript: Transcript;
  #wrong = 0;
  #reported = false;
  #unreadable = false;

  private constructor(chosen: Choice<IkeSuite>, id: IsakmpIdPayload, transcript: Transcript) {
    this.#chosen = chosen;
    this.#id = id;
    this.#transcript = transcript;
  }

  /**
   * Message 2, `HDR, SA, KE, Nr, IDir, HASH_R`, to message 1; undefined when its key exchange is worthless. `sa.peer` is
   * who it says it is, of which nothing is proven; what it can do is known.
   */
  static begin(
    sa: IsakmpSa,
    offer: AggressiveOffer,
    chosen: Choice<IkeSuite>,
  ): { readonly phase1: Phase1; readonly answer: readonly IsakmpPayload[] } | undefined {
    const { suite, proposal } = chosen;
    const { gxi, SAi_b, Ni, id } = offer;
    const peer = sa.candidates[0]!;
    const keyPair = sa.host.keyPairs.take(suite.group);
    const gxy: Secret | undefined = sharedSecret(keyPair, gxi);
    if (!gxy) {
      sa.host.keyPairs.giveBack(keyPair);
      return undefined;
    }
    const gxr = keyPair.publicValue;
    const Nr = sa.host.random.bytes(nonceBytes);
    const { spiInitiator, spiResponder } = sa;
    sa.secured = secure({ suite, gxi, gxr, gxy, Ni, Nr, spiInitiator, spiResponder }, peer.psk);
    gxy.wipe();
    keyPair.wipe();
    const transcript = { gxi, gxr, SAi_b };
    const own = idPayload(ownIdentity(peer, sa.local.address));
    sa.localId = formatIdPayload(own);
    sa.remoteId = formatIdPayload(id);
    const abilities = { dpd: sa.liveness.supported, fragmentation: sa.fragmentation, nat: sa.natDialect };
    const answer: IsakmpPayload[] = [
      saPayload(proposal),
      { kind: "KE", data: gxr },
      { kind: "NONCE", nonce: Nr },
      own,
      { kind: "HASH", data: hashR(sa.secured, sa, transcript, own) },
      ...vendorPayloads(peer, abilities),
      ...natDPayloads(sa, suite.prf, peer.natTraversal),
    ];
    // What outlives message 1 must not be a view of it.
    const kept = { ...id, data: Uint8Array.from(id.data), body: Uint8Array.from(id.body) };
    return { phase1: new AggressiveModeResponder(chosen, kept, transcript), answer };
  }

  /** `HDR*, HASH_I` */
  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    const secured = sa.secured!;
    const { header, datagram, local, remote } = message;
    const opened = header.encrypted ? openPhase1(secured, header, datagram) : undefined;
    const payloads = header.encrypted ? opened?.payloads : inTheClear(message);
    const hash = payloads && findIsakmpPayload(payloads, "HASH");
    if (!hash || !isHash(hashI(secured, sa, this.#transcript, this.#id), hash.data))
      return this.#onWrongHash(sa, now);
    if (opened) secured.iv = opened.nextIv;
    const peer = sa.candidates[0]!;
    sa.peer = peer;
    sa.candidates = [];
    sa.local = local;
    sa.remote = remote;
    sa.provenAt ??= now;
    sa.nat = detectNat(sa, payloads, secured.suite.prf, message, peer.natTraversal);
    exportIsakmpKeys(sa);
    const initial = saysInitialContact(payloads);
    return { kind: "done", afterwards: () => establish(sa, now, this.#chosen.life.seconds, initial) };
  }

  /**
   * The initiator does not like message 2, mostly because of HASH_R, and may say so under its own key. Or message 3 was
   * lost, whose last block every later message hangs on: then it comes again, because message 2 does.
   */
  onComplaint(sa: IsakmpSa, now: Instant, notifyType: number | undefined): void {
    if (notifyType === undefined) this.#unreadable = true;
    else sa.fail(now, refusedRecord(sa, notifyType));
  }

  onExpired(sa: IsakmpSa): void {
    if (this.#unreadable)
      this.#report(
        sa,
        "in the place of message 3 the peer says what our pre-shared key does not open: mostly the keys differ",
      );
  }

  /** Anybody who saw message 2 can send this: the genuine one may still come. */
  #onWrongHash(sa: IsakmpSa, now: Instant): Phase1Reply {
    this.#report(sa, "message 3: HASH_I is not made with our pre-shared key: the keys differ");
    if (++this.#wrong < mostWrong) return drop("not_authentic");
    sa.host.count("not_authentic");
    sa.end(now, "failed");
    return { kind: "ended" };
  }

  /** Once: what follows says the same. */
  #report(sa: IsakmpSa, difference: string): void {
    if (!this.#reported)
      sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "AUTHENTICATION_FAILED", { difference }) });
    this.#reported = true;
  }

  discard(): void {}
}

const mostWrong = 4;
