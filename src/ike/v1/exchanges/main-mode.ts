/**
 * Main mode with a pre-shared key (RFC 2409 §5.4): the identities are encrypted under a key that only both can make, so
 * the responder has to find the pre-shared key by the peer's address.
 *
 *   HDR, SA             -->
 *                       <-- HDR, SA
 *   HDR, KE, Ni         -->
 *                       <-- HDR, KE, Nr
 *   HDR*, IDii, HASH_I  -->
 *                       <-- HDR*, IDir, HASH_R
 */
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import { constantTimeEqual, type KeyPair } from "../../../crypto/index.ts";
import type { IkeSuite } from "../../../registry/index.ts";
import {
  findIsakmpPayload,
  type IsakmpIdPayload,
  type IsakmpPayload,
  type IsakmpProposal,
  isakmpBody,
  type Received,
  type ReceivedPayload,
} from "../../../wire/v1/index.ts";
import { failureOf } from "../../common/failures.ts";
import { formatIdPayload, ownIdentity } from "../../common/identity.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import { mayExpect } from "../../common/peer-table.ts";
import type { PeerSettings } from "../../common/settings.ts";
import { Doubts, refusedRecord } from "../doubts.ts";
import type { IsakmpSa } from "../isakmp-sa.ts";
import { inTheClear, type KeySeed, openPhase1, type Secured, secure } from "../key-material.ts";
import { detectNat, floatPorts, natDPayloads } from "../nat.ts";
import type { Datagram, InitiatedPhase1, Phase1, Phase1Reply } from "../phase1.ts";
import { type Agreed, type Choice, checkPhase1Answer, offerPhase1 } from "../proposals.ts";
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

export class MainModeInitiator implements InitiatedPhase1 {
  readonly #peer: PeerSettings;
  readonly #offer: IsakmpProposal;
  readonly #SAi_b: Uint8Array;
  readonly #doubts = new Doubts();
  #agreed: Agreed<IkeSuite> | undefined;
  #keyPair: KeyPair | undefined;
  #Ni: Uint8Array | undefined;
  #transcript: Transcript | undefined;

  constructor(peer: PeerSettings) {
    this.#peer = peer;
    this.#offer = offerPhase1(peer.ikeProposals, peer.ikeLifetimeMs / 1000);
    this.#SAi_b = isakmpBody(saPayload(this.#offer));
  }

  begin(): readonly IsakmpPayload[] {
    return [saPayload(this.#offer), ...vendorPayloads(this.#peer)];
  }

  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    switch (sa.state.name) {
      case "INIT_SENT":
        return this.#onMessage2(sa, message);
      case "KEY_SENT":
        return this.#onMessage4(sa, now, message);
      default:
        return this.#onMessage6(sa, now, message);
    }
  }

  /** `HDR, SA` */
  #onMessage2(sa: IsakmpSa, message: Datagram): Phase1Reply {
    const payloads = inTheClear(message);
    if (!payloads) return drop("malformed");
    const { spiResponder } = message.header;
    const problem = spiResponder === 0n ? "no responder SPI" : missing(payloads, ["SA"]);
    if (problem !== undefined) return this.#doubt(`message 2: ${problem}`);
    const agreed = checkPhase1Answer(this.#offer, findIsakmpPayload(payloads, "SA")!.proposals);
    if (!agreed.ok) return this.#doubt(`message 2: ${agreed.error}`);
    this.#agreed = agreed.value;
    const { suite } = agreed.value;
    this.#keyPair = sa.host.keyPairs.take(suite.group);
    this.#Ni = sa.host.random.bytes(nonceBytes);
    sa.spiRemote = spiResponder;
    takeAbilities(sa, payloads, this.#peer.natTraversal);
    sa.transition({ name: "KEY_SENT" }, "message 2 agrees to a proposal");
    const answer: IsakmpPayload[] = [
      { kind: "KE", data: this.#keyPair.publicValue },
      { kind: "NONCE", nonce: this.#Ni },
      ...natDPayloads(sa, suite.prf, this.#peer.natTraversal),
    ];
    return { kind: "send", payloads: answer, encrypted: false };
  }

  /** `HDR, KE, Nr` */
  #onMessage4(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    const payloads = inTheClear(message);
    if (!payloads) return drop("malformed");
    const problem = missing(payloads, ["KE", "NONCE"]);
    if (problem !== undefined) return this.#doubt(`message 4: ${problem}`);
    const { suite } = this.#agreed!;
    const gxi = this.#keyPair!.publicValue;
    const gxr = Uint8Array.from(findIsakmpPayload(payloads, "KE")!.data);
    const gxy = sharedSecret(this.#keyPair!, gxr);
    if (!gxy) {
      // In a group with small subgroups the private key is gone by now: there is no second try.
      sa.host.count("key_exchange");
      const difference = "message 4: the key exchange data is not a valid public value";
      sa.fail(now, failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }));
      return { kind: "ended" };
    }
    const Nr = Uint8Array.from(findIsakmpPayload(payloads, "NONCE")!.nonce);
    const { spiInitiator, spiResponder } = sa;
    const seed = { suite, gxi, gxr, gxy, Ni: this.#Ni!, Nr, spiInitiator, spiResponder };
    sa.secured = secure(seed, this.#peer.psk);
    gxy.wipe();
    exportIsakmpKeys(sa);
    this.#transcript = { gxi, gxr, SAi_b: this.#SAi_b };
    sa.nat = detectNat(sa, payloads, suite.prf, message, this.#peer.natTraversal);
    floatPorts(sa);
    const id = idPayload(ownIdentity(this.#peer, sa.local.address));
    sa.localId = formatIdPayload(id);
    const hash = hashI(sa.secured, sa, this.#transcript, id);
    sa.transition({ name: "AUTH_SENT" }, "message 4 has the peer's key exchange");
    return {
      kind: "send",
      payloads: [id, { kind: "HASH", data: hash }, ...initialContact(sa)],
      encrypted: true,
    };
  }

  /** `HDR*, IDir, HASH_R` */
  #onMessage6(sa: IsakmpSa, now: Instant, { header, datagram, local, remote }: Datagram): Phase1Reply {
    const secured = sa.secured!;
    const opened = header.encrypted ? openPhase1(secured, header, datagram) : undefined;
    const id = opened && findIsakmpPayload(opened.payloads, "ID");
    const hash = opened && findIsakmpPayload(opened.payloads, "HASH");
    if (!opened || !id || !hash || !isHash(hashR(secured, sa, this.#transcript!, id), hash.data)) {
      this.#doubts.onHint(undefined);
      return drop("not_authentic");
    }
    secured.iv = opened.nextIv;
    sa.local = local;
    sa.remote = remote;
    sa.remoteId = formatIdPayload(id);
    sa.provenAt ??= now;
    if (!isExpected(sa, this.#peer, id)) return refuseIdentity(sa, now, this.#peer, id);
    const { seconds } = this.#agreed!.life;
    const initial = saysInitialContact(opened.payloads);
    return { kind: "done", afterwards: () => establish(sa, now, seconds, initial) };
  }

  #doubt(problem: string): Phase1Reply {
    this.#doubts.onProblem(problem);
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
    this.#keyPair?.wipe();
  }
}

// ── Responder ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The peer offers this. `chosen`: what is agreed on. Requires that `sa.candidates` can agree to it. */
export class MainModeResponder implements Phase1 {
  readonly #chosen: Choice<IkeSuite>;
  readonly #SAi_b: Uint8Array;
  #seed: KeySeed | undefined;
  /** Copies of message 5 that did not open with any of our keys. */
  #wrong = 0;

  /** `SAi_b`: of message 1. */
  constructor(chosen: Choice<IkeSuite>, SAi_b: Uint8Array) {
    this.#chosen = chosen;
    this.#SAi_b = Uint8Array.from(SAi_b);
  }

  onMessage(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    return this.#seed ? this.#onMessage5(sa, now, message, this.#seed) : this.#onMessage3(sa, now, message);
  }

  /** `HDR, KE, Ni` */
  #onMessage3(sa: IsakmpSa, now: Instant, message: Datagram): Phase1Reply {
    const payloads = inTheClear(message);
    if (!payloads) return drop("malformed");
    if (missing(payloads, ["KE", "NONCE"]) !== undefined) return drop("payloads");
    const { suite } = this.#chosen;
    const gxi = Uint8Array.from(findIsakmpPayload(payloads, "KE")!.data);
    const keyPair = sa.host.keyPairs.take(suite.group);
    const gxy = sharedSecret(keyPair, gxi);
    if (!gxy) {
      sa.host.keyPairs.giveBack(keyPair);
      return drop("key_exchange");
    }
    const gxr = keyPair.publicValue;
    const Ni = Uint8Array.from(findIsakmpPayload(payloads, "NONCE")!.nonce);
    const Nr = sa.host.random.bytes(nonceBytes);
    const { spiInitiator, spiResponder } = sa;
    this.#seed = { suite, gxi, gxr, gxy, Ni, Nr, spiInitiator, spiResponder };
    keyPair.wipe();
    // It knows our SPI: somebody is at that address.
    sa.local = message.local;
    sa.remote = message.remote;
    const { natTraversal } = sa.candidates[0]!;
    sa.nat = detectNat(sa, payloads, suite.prf, message, natTraversal);
    sa.transition({ name: "HALF_OPEN", until: now + sa.host.limits.halfOpenMs }, "message 3");
    const answer: IsakmpPayload[] = [
      { kind: "KE", data: gxr },
      { kind: "NONCE", nonce: Nr },
      // A peer that does not look for NATs is not told how to.
      ...(sa.nat.supported ? natDPayloads(sa, suite.prf, natTraversal) : []),
    ];
    return { kind: "send", payloads: answer, encrypted: false };
  }

  /** `HDR*, IDii, HASH_I` */
  #onMessage5(sa: IsakmpSa, now: Instant, message: Datagram, seed: KeySeed): Phase1Reply {
    if (!message.header.encrypted) return drop("not_authentic");
    const transcript = { gxi: seed.gxi, gxr: seed.gxr, SAi_b: this.#SAi_b };
    const keys = distinctKeys(sa.candidates);
    const proof = firstOf(keys, (psk) => prove(sa, message, seed, psk, transcript));
    if (!proof) return this.#onWrongKey(sa, now, keys.length);
    const { secured, payloads, id, nextIv, psk } = proof;
    secured.iv = nextIv;
    sa.secured = secured;
    exportIsakmpKeys(sa);
    sa.local = message.local;
    sa.remote = message.remote;
    sa.remoteId = formatIdPayload(id);
    const keyed = sa.candidates.filter((peer) => sameKey(peer.psk, psk));
    const peer = mayExpect(keyed, id).find((candidate) => isExpected(sa, candidate, id));
    if (!peer) {
      sa.candidates = keyed.slice(0, 1);
      return refuseIdentity(sa, now, keyed[0]!, id);
    }
    sa.peer = peer;
    sa.candidates = [];
    const own = idPayload(ownIdentity(peer, sa.local.address));
    sa.localId = formatIdPayload(own);
    const hash = hashR(secured, sa, transcript, own);
    const initial = saysInitialContact(payloads);
    return {
      kind: "send",
      payloads: [own, { kind: "HASH", data: hash }],
      encrypted: true,
      last: true,
      afterwards: () => establish(sa, now, this.#chosen.life.seconds, initial),
    };
  }

  /**
   * Without the right key nothing in the message can be read: it is not even certain that the peer sent it, so the
   * genuine one may still come.
   */
  #onWrongKey(sa: IsakmpSa, now: Instant, keys: number): Phase1Reply {
    if (this.#wrong === 0) sa.host.emit({ kind: "failure", sa, record: wrongKeyRecord(sa, keys) });
    if (++this.#wrong < mostWrong) return drop("not_authentic");
    sa.host.count("not_authentic");
    sa.end(now, "failed");
    return { kind: "ended" };
  }

  discard(): void {
    this.#seed?.gxy.wipe();
  }
}

interface Proof {
  readonly psk: Secret;
  readonly secured: Secured;
  readonly payloads: readonly ReceivedPayload[];
  readonly id: Received<IsakmpIdPayload>;
  readonly nextIv: Uint8Array;
}

/** What message 5 says if its sender has `psk`. */
function prove(
  sa: IsakmpSa,
  { header, datagram }: Datagram,
  seed: KeySeed,
  psk: Secret,
  transcript: Transcript,
): Proof | undefined {
  const secured = secure(seed, psk);
  const opened = openPhase1(secured, header, datagram);
  const id = opened && findIsakmpPayload(opened.payloads, "ID");
  const hash = opened && findIsakmpPayload(opened.payloads, "HASH");
  if (opened && id && hash && isHash(hashI(secured, sa, transcript, id), hash.data))
    return { psk, secured, payloads: opened.payloads, id, nextIv: opened.nextIv };
  secured.wipe();
  return undefined;
}

function wrongKeyRecord(sa: IsakmpSa, keys: number) {
  const tried = keys === 1 ? "our pre-shared key" : `any of ${keys} pre-shared keys that may be meant`;
  const difference = `message 5, the first encrypted one, does not decrypt with ${tried}: the keys differ`;
  return failureOf(sa, "AUTHENTICATION_FAILED", { difference });
}

/** The pre-shared keys of the candidates, in their order, each once: the address alone has to tell them apart. */
function distinctKeys(candidates: readonly PeerSettings[]): readonly Secret[] {
  let keys = keysOf.get(candidates);
  if (!keys) {
    keys = [];
    for (const { psk } of candidates) {
      if (keys.length === mostKeys) break;
      if (!keys.some((key) => sameKey(key, psk))) keys.push(psk);
    }
    keysOf.set(candidates, keys);
  }
  return keys;
}

const sameKey = (a: Secret, b: Secret): boolean =>
  a.length === b.length && constantTimeEqual(a.reveal(), b.reveal());

function firstOf<T, R>(list: readonly T[], find: (each: T) => R | undefined): R | undefined {
  for (const each of list) {
    const found = find(each);
    if (found !== undefined) return found;
  }
  return undefined;
}

const keysOf = new WeakMap<readonly PeerSettings[], Secret[]>();
/** Each costs a key schedule for whoever sends a message 5. */
const mostKeys = 32;
const mostWrong = 4;
