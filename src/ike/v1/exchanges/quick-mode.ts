/**
 * Quick mode (RFC 2409 §5.5): a pair of IPsec SAs for one pair of selectors, new or in the place of another.
 *
 *   HDR*, HASH(1), SA, Ni [, KE ] [, IDci, IDcr ] -->
 *                                  <-- HDR*, HASH(2), SA, Nr [, KE ] [, IDci, IDcr ]
 *   HDR*, HASH(3)                 -->
 *
 * The transport computes and checks the hashes, repeats message 2 until message 3 comes, and message 3 when message 2 is
 * repeated. A refusal is an informational message of its own, if there is one at all.
 */

import { compareBytes } from "../../../core/address.ts";
import type { FailureRecord } from "../../../core/failure.ts";
import type { Instant } from "../../../core/time.ts";
import type { SelectorPair } from "../../../core/traffic-selector.ts";
import type { KeyPair } from "../../../crypto/index.ts";
import { IsakmpExchangeType, IsakmpNotifyType } from "../../../registry/index.ts";
import { espSpiBytes, espSpiFrom } from "../../../wire/index.ts";
import { findIsakmpPayload, isakmpPayloadsOf, type ReceivedPayload } from "../../../wire/v1/index.ts";
import { failureOf } from "../../common/failures.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import {
  type AnsweredExchange,
  type Exchange,
  type InitiatedExchange,
  type Message,
  priorities,
  type Received,
  type Refusal,
} from "../exchange.ts";
import {
  childByOutboundSpi,
  confirm,
  type IpsecSa,
  informDelete,
  install,
  isTwin,
  owns,
  twinsOf,
  uninstall,
} from "../ipsec-sa.ts";
import type { IsakmpSa } from "../isakmp-sa.ts";
import type { Ask } from "../pairs.ts";
import { quickGroups } from "../proposals.ts";
import {
  decideQuick,
  decisionPayloads,
  noOffer,
  notifyEsp,
  offerPayloads,
  offerQuick,
  type QuickDecision,
  type QuickOffer,
  quickKeys,
  type Refused,
  readAnswer,
  refusalOf,
  silenceOf,
} from "../quick-negotiation.ts";
import { rekeyChildNow, retryDelay } from "../rekey.ts";
import { maxRepeated } from "../sending.ts";

const type = IsakmpExchangeType.code.QUICK_MODE;

/** Another pair for the traffic of `child`; on failure `child` stays, and it is tried again until it expires. */
export function rekeyIpsecSa(child: IpsecSa): InitiatedExchange {
  return new QuickMode(child, undefined, undefined);
}

/** A pair for the selectors of `ask`; `sa.pairs` learns how it went. */
export function newIpsecSa(ask: Ask): InitiatedExchange {
  return new QuickMode(undefined, ask, undefined);
}

class QuickMode implements InitiatedExchange {
  readonly name: string;
  readonly type = type;
  readonly priority: number;
  readonly #replaced: IpsecSa | undefined;
  /** Set when nothing is replaced. */
  readonly #ask: Ask | undefined;
  /** The peer refused the groups before it. */
  readonly #group: number | undefined;
  #since: Instant = 0;
  /** Whoever asked knows how it went. */
  #over = false;
  #Ni: Uint8Array | undefined;
  #offer: QuickOffer | undefined;
  #keyPair: KeyPair | undefined;
  #spiIn = 0;
  /** Answers that came after it was given up. */
  #late = 0;

  constructor(replaced: IpsecSa | undefined, ask: Ask | undefined, group: number | undefined) {
    this.name = replaced ? `rekey IPsec SA ${replaced.spiIn}` : `new IPsec SA ${ask!.pair}`;
    this.priority = replaced ? priorities.rekeyChild : priorities.newChild;
    this.#replaced = replaced;
    this.#ask = ask;
    this.#group = group;
  }

  begin(sa: IsakmpSa, now: Instant): Message | undefined {
    const old = this.#replaced;
    const owner = sa.holder;
    if (old ? !isReplaceable(owner, old) : owner.pairs!.isMet(owner, now, this.#ask!)) {
      this.#conclude();
      // What the peer makes meanwhile may come to nothing.
      if (old) retryLater(owner, now, old);
      return undefined;
    }
    this.#since = now;
    const group = this.#group ?? firstGroup(owner, old);
    this.#offer = offerQuick(sa, old ? pairOfSa(old) : this.#ask!, group);
    if (!this.#offer) {
      this.#failed(owner, now, 0, noOffer(sa));
      return undefined;
    }
    this.#spiIn = this.#offer.spiIn;
    this.#Ni = sa.host.random.bytes(nonceBytes);
    if (group !== 0) this.#keyPair = sa.host.keyPairs.take(group);
    return { payloads: offerPayloads(this.#offer, this.#Ni, this.#keyPair), awaits: true };
  }

  onMessage(sa: IsakmpSa, now: Instant, { payloads }: Received): Message | "wait" | undefined {
    const owner = sa.holder;
    if (!this.#offer) {
      // Given up in the meantime. The peer, which has installed what it answers with, learns that there is no such pair.
      if (++this.#late <= maxRepeated && !owner.children.has(this.#spiIn))
        informDelete(sa, now, [this.#spiIn]);
      return "wait";
    }
    const refuse = ({ notify, record }: Refused) => {
      sa.inform(now, [notifyEsp(notify, answeredSpi(payloads))]);
      this.#release(sa);
      this.#failed(owner, now, 0, record);
      return undefined;
    };
    const answer = readAnswer(sa, this.#offer, payloads);
    if (!answer.ok) return refuse(answer.error);
    const Nr = nonceIn(payloads);
    const ke = findIsakmpPayload(payloads, "KE");
    const shared = ke && this.#keyPair && sharedSecret(this.#keyPair, ke.data);
    if (!Nr || (this.#keyPair && !shared)) {
      const problem = Nr ? "the key exchange data is not a valid public value" : "no nonce, or several";
      const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference: `quick mode: ${problem}` });
      return refuse({ notify: IsakmpNotifyType.code.INVALID_KEY_INFORMATION, record });
    }
    const { spiOut, pair } = answer.value;
    const [Ni, { spiIn }] = [this.#Ni!, this.#offer!];
    if (owner.deletedEarly.delete(spiOut)) {
      shared?.wipe();
      this.#release(sa);
      const difference = "the peer deleted the IPsec SA before its answer arrived";
      this.#failed(owner, now, 0, failureOf(sa, "PEER_DELETED", { difference }));
      return undefined;
    }
    const keys = quickKeys(sa.secured!, answer.value, spiIn, { Ni, Nr, shared });
    shared?.wipe();
    this.#keyPair?.wipe();
    this.#keyPair = undefined;
    this.#offer = undefined;
    this.#conclude();
    const terms = {
      madeOn: sa.spiLocal,
      role: "initiator",
      begunAt: this.#since,
      lowestNonce: lower(Ni, Nr),
      spiIn,
      keys,
    } as const;
    const child = install(owner, now, { ...answer.value, ...terms, local: pair.local, remote: pair.remote });
    // It was narrowed: the old one has more, and is replaced by this one nevertheless, or it would be again and again.
    const old = this.#replaced;
    if (old && owns(owner, old) && old.state.name === "INSTALLED" && !isTwin(old, child))
      retryLater(owner, now, old);
    if (this.#ask) owner.pairs!.onAccepted(owner, now, this.#ask);
    return { payloads: [], awaits: false, beforeRepeat: (at) => sayAgain(sa, at, child) };
  }

  onRefusal(sa: IsakmpSa, now: Instant, error: Refusal): boolean {
    const offer = this.#offer;
    if (!offer || !isAbout(sa.holder, error, offer.spiIn)) return false;
    const owner = sa.holder;
    this.#release(sa);
    const groups = quickGroups(sa.peer!.espProposals);
    const next = groups[groups.indexOf(offer.group) + 1];
    const { NO_PROPOSAL_CHOSEN, INVALID_KEY_INFORMATION, ATTRIBUTES_NOT_SUPPORTED } = IsakmpNotifyType.code;
    const mayHelp = [NO_PROPOSAL_CHOSEN, INVALID_KEY_INFORMATION, ATTRIBUTES_NOT_SUPPORTED].some(
      (t) => t === error.type,
    );
    // All transforms of one quick mode have one group (RFC 2409 §5.5): the others are for the next.
    if (mayHelp && next !== undefined && owner.usable)
      owner.initiate(now, new QuickMode(this.#replaced, this.#ask, next));
    else this.#failed(owner, now, error.type, refusalOf(sa, offer, error.type, this.#replaced));
    return true;
  }

  /** `error`: the peer's notification, 0 when its answer was of no use. */
  #failed(owner: IsakmpSa, now: Instant, error: number, record: FailureRecord): void {
    this.#conclude();
    const old = this.#replaced;
    if (!old) {
      owner.pairs!.onRefused(owner, now, this.#ask!, error, record);
      return;
    }
    // The peer has replaced it, or closed it, while we asked: there is nothing left to do and nothing to report.
    if (!owns(owner, old) || old.state.name !== "INSTALLED") return;
    owner.host.emit({ kind: "failure", sa: owner, record });
    if (error === 0) retryLater(owner, now, old);
    else if (old.doubted) uninstall(owner, now, old, "superseded");
    else retryRefused(owner, now, old);
  }

  onTimeout(sa: IsakmpSa, now: Instant): void {
    const offer = this.#offer!;
    const owner = sa.holder;
    this.#release(sa);
    // Whoever has just authenticated, and says nothing to what comes next, rather refuses than is dead.
    const fresh = this.#ask !== undefined && this.#since - sa.establishedAt < sa.host.limits.setupMs;
    if (fresh || isAlive(sa, owner, this.#since))
      this.#failed(owner, now, 0, silenceOf(sa, offer, this.#replaced));
    else {
      this.#abandoned(sa, now);
      if (sa === owner) sa.endDead(now);
    }
  }

  onAbandon(sa: IsakmpSa, now: Instant): void {
    // It is begun again on another one: the peer, which may have answered this one, shall not wait for message 3.
    if (this.#offer && sa.holder !== sa) informDelete(sa, now, [this.#spiIn]);
    this.#release(sa);
    if (!this.#over) this.#abandoned(sa, now);
  }

  #conclude(): void {
    this.#over = true;
    if (this.#replaced) this.#replaced.rekeying = false;
  }

  #abandoned(sa: IsakmpSa, now: Instant): void {
    this.#conclude();
    const owner = sa.holder;
    // It was only on the wrong ISAKMP SA.
    const atOnce = owner !== sa && owner.established && !owner.closing;
    if (this.#ask) owner.pairs?.onPostponed(owner, now, this.#ask, atOnce);
    else if (atOnce && owns(owner, this.#replaced!)) rekeyChildNow(owner, now, this.#replaced!);
    else retryLater(owner, now, this.#replaced!);
  }

  #release(sa: IsakmpSa): void {
    if (this.#offer) sa.host.releaseSpi(this.#offer.spiIn);
    this.#offer = undefined;
    this.#keyPair?.wipe();
    this.#keyPair = undefined;
  }
}

/** The peer's quick mode. */
export const quickMode: AnsweredExchange = {
  type,
  onFirstMessage(sa, now, { payloads }) {
    const refuse = ({ notify, record }: Refused) => {
      sa.host.emit({ kind: "failure", sa, record });
      sa.inform(now, [notifyEsp(notify, answeredSpi(payloads))]);
      return undefined;
    };
    const decision = decideQuick(sa, payloads);
    if (!decision.ok) return refuse(decision.error);
    const owner = sa.holder;
    if (isFull(owner, decision.value)) {
      const difference = `the peer asks for another IPsec SA, and there are ${owner.children.size}`;
      const record = failureOf(sa, "CHILD_SA_LIMIT", { difference });
      return refuse({ notify: IsakmpNotifyType.code.NO_PROPOSAL_CHOSEN, record });
    }
    const ke = findIsakmpPayload(payloads, "KE");
    const keyPair = ke && sa.host.keyPairs.take(decision.value.suite.group);
    const shared = keyPair && sharedSecret(keyPair, ke.data);
    const KEr = keyPair && Uint8Array.from(keyPair.publicValue);
    keyPair?.wipe();
    if (ke && !shared) {
      sa.host.count("key_exchange");
      const difference = "quick mode: the key exchange data is not a valid public value";
      const record = failureOf(sa, "PEER_PROTOCOL_ERROR", { difference });
      return refuse({ notify: IsakmpNotifyType.code.INVALID_KEY_INFORMATION, record });
    }
    const Ni = nonceIn(payloads)!;
    const Nr = sa.host.random.bytes(nonceBytes);
    const spiIn = sa.host.allocateSpi();
    const keys = quickKeys(sa.secured!, decision.value, spiIn, { Ni, Nr, shared });
    shared?.wipe();
    const { pair } = decision.value;
    const child = install(owner, now, {
      ...decision.value,
      madeOn: sa.spiLocal,
      role: "responder",
      begunAt: now,
      lowestNonce: lower(Ni, Nr),
      spiIn,
      keys,
      local: pair.local,
      remote: pair.remote,
    });
    const answer = {
      payloads: decisionPayloads(sa.peer!, decision.value, spiIn, Nr, KEr),
      awaits: true,
      beforeRepeat: () => !child.unwanted,
    };
    return { answer, exchange: new AwaitedQuickMode(child) };
  },
};

/** Message 2 is out. Whatever ends this exchange without message 3, the clock of `child` ends that one. */
class AwaitedQuickMode implements Exchange {
  readonly name: string;
  readonly type = type;
  readonly #child: IpsecSa;

  constructor(child: IpsecSa) {
    this.name = `answer quick mode ${child.spiIn}`;
    this.#child = child;
  }

  onRepeated(now: Instant): void {
    this.#child.askedAt = now;
  }

  /** Message 3. */
  onMessage(sa: IsakmpSa, now: Instant): undefined {
    confirm(sa.holder, now, this.#child);
  }

  /** The peer does not like our answer. */
  onRefusal(sa: IsakmpSa, now: Instant, error: Refusal): boolean {
    const child = this.#child;
    if (child.state.name !== "AWAITED" || !isAbout(sa.holder, error, child.spiIn)) return false;
    const theirs = [IsakmpNotifyType.nameOf(error.type)];
    const difference = `the peer refuses our answer to its quick mode: ${theirs}`;
    sa.host.emit({
      kind: "failure",
      sa,
      record: failureOf(sa, "PEER_REFUSED_CHILD", { theirs, difference }),
    });
    uninstall(sa.holder, now, child, "failed");
    return true;
  }

  onTimeout(sa: IsakmpSa, now: Instant): void {
    if (this.#child.state.name === "AWAITED") uninstall(sa.holder, now, this.#child, "unreachable", true);
  }
}

/** Bounds what an authenticated peer can make us keep. */
function isFull(owner: IsakmpSa, { pair }: QuickDecision): boolean {
  const { children } = owner.host.limits;
  const ends = { localSelectors: [pair.local], remoteSelectors: [pair.remote] };
  const replaces = [...owner.children.values()].some(
    (child) => child.state.name === "INSTALLED" && isTwin(child, { ...child, ...ends }),
  );
  return owner.children.size >= (replaces ? 2 * children : children);
}

/**
 * RFC 2408 has no rule for what an error is about. The SPI of our offer says so; otherwise it is about the only exchange
 * that it can be about, unless its SPI is that of something else.
 */
function isAbout(owner: IsakmpSa, { spi, onlyCandidate }: Refusal, spiIn: number): boolean {
  if (compareBytes(spi, espSpiBytes(spiIn)) === 0) return true;
  const number = espSpiFrom(spi);
  const known =
    number !== undefined && (owner.children.has(number) || childByOutboundSpi(owner, number) !== undefined);
  return onlyCandidate && !known;
}

/** The group of what is replaced has been agreed on; else one that the peer took for other traffic. */
function firstGroup(owner: IsakmpSa, old: IpsecSa | undefined): number {
  const groups = quickGroups(owner.peer!.espProposals);
  const known = old ?? [...owner.children.values()].at(-1);
  return known && groups.includes(known.suite.group) ? known.suite.group : (groups[0] ?? 0);
}

/** Whether message 3 is to be said again. Else the peer, which waits for it, has not heard that `child` is gone: once more. */
function sayAgain(sa: IsakmpSa, now: Instant, child: IpsecSa): boolean {
  const owner = sa.holder;
  if (isThere(owner, child)) return true;
  const heir = owner.children.get(child.spiIn);
  if (!heir || heir === child) informDelete(sa, now, [child.spiIn]);
  return false;
}

const isThere = (owner: IsakmpSa, child: IpsecSa): boolean =>
  owns(owner, child) && child.state.name !== "LINGERING";

/** Something of the peer came since then. */
function isAlive(sa: IsakmpSa, owner: IsakmpSa, since: Instant): boolean {
  if (sa.lastHeardAt > since) return true;
  return [...owner.children.values()].some(
    ({ spiIn, remote }) => (sa.host.lastInbound(spiIn, remote) ?? since) > since,
  );
}

/** The peer's own replacement comes first. */
function isReplaceable(owner: IsakmpSa, old: IpsecSa): boolean {
  if (!owns(owner, old) || old.state.name !== "INSTALLED") return false;
  return !twinsOf(owner, old).some(({ state }) => state.name === "AWAITED");
}

const pairOfSa = ({ localSelectors, remoteSelectors }: IpsecSa): SelectorPair => ({
  local: localSelectors[0]!,
  remote: remoteSelectors[0]!,
});

/** The old pair is as good as it was: try again later, and not in step with the peer. */
function retryLater(owner: IsakmpSa, now: Instant, old: IpsecSa): void {
  if (old.state.name !== "INSTALLED" || !owns(owner, old)) return;
  old.rekeyAt = now + retryDelay(owner, owner.host.limits.rekeyRetryMs);
  owner.host.touch(owner);
}

/** Two configurations that disagree: an operator may repair them, so it is tried again, but rarely. */
function retryRefused(owner: IsakmpSa, now: Instant, old: IpsecSa): void {
  const leftMs = old.expiresAt - now;
  old.rekeyAt = now + retryDelay(owner, Math.max(owner.host.limits.refusedRetryMs, leftMs / 8));
  owner.host.touch(owner);
}

function nonceIn(payloads: readonly ReceivedPayload[]): Uint8Array | undefined {
  const [only, ...more] = isakmpPayloadsOf(payloads, "NONCE");
  return more.length === 0 ? only && Uint8Array.from(only.nonce) : undefined;
}

/** The peer's SPI in its SA payload, by which it knows what our notification is about. */
function answeredSpi(payloads: readonly ReceivedPayload[]): Uint8Array {
  return isakmpPayloadsOf(payloads, "SA")[0]?.proposals[0]?.spi ?? new Uint8Array(0);
}

const lower = (a: Uint8Array, b: Uint8Array): Uint8Array => (compareBytes(a, b) <= 0 ? a : b);

/** Octets of Ni and Nr. */
const nonceBytes = 32;
