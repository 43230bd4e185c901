/**
 * Which (local, remote) selector pairs of a connection an IKE SA covers, and asking for those that are missing
 * (RFC 7296 §2.9). One CHILD_SA may carry all of them, or one each: some peers take only a single pair, and say so
 * (SINGLE_PAIR_REQUIRED), or narrow the answer without a word. Every pair is kept up for itself: one that is lost or
 * refused is asked for again, with backoff, and the others never notice.
 *
 * A pair counts as covered when a CHILD_SA carries some of it: a peer that permits less than we do will not permit
 * more when asked again. What traffic is missing is asked for when a packet of it comes (`onTraffic`).
 *
 * Invariants: at most one request for a new CHILD_SA of ours at a time; while no CHILD_SA is left, and none of a round
 * is due, the next step is the owner's (`start`). A successor of the IKE SA takes this object over as it is.
 */

import type { FailureRecord } from "../../core/failure.ts";
import { jittered } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { flowSelectors, type PacketFlow, type TrafficSelector } from "../../core/traffic-selector.ts";
import { NotifyType } from "../../registry/index.ts";
import { carries, coverage, PairRecord, pairOf, refusalsInARow } from "../common/pair-record.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { PairState } from "../common/views.ts";
import { type ChildSa, outboundOrder } from "./child-sa.ts";
import type { IkeSa } from "./ike-sa.ts";

/** What a request for a new CHILD_SA is about. */
export interface Ask {
  /** Index in the peer's pairs; undefined: all of them at once. */
  readonly pair: number | undefined;
  /** The packet that wants to go through. */
  readonly flow: PacketFlow | undefined;
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
}

export class Pairs {
  /** When `handleTimeout` has something to do. */
  at: Instant | undefined;
  /** Set while a request of ours waits or is under way. */
  asking: Ask | undefined;
  readonly #peer: PeerSettings;
  /** We began the first of these IKE SAs, and so we began to ask. */
  readonly #own: boolean;
  readonly #records: PairRecord[];
  /** From a start until something carries packets, or everything was refused. */
  #round: boolean;
  /** In this round the peer refused all pairs in one: each by itself, then. */
  #each = false;
  #everUp = false;
  #refusals = 0;
  #pausedUntil: Instant = 0;
  /** A refusal of all pairs at once, when there was nothing else to try. */
  #refusal: FailureRecord | undefined;

  constructor(peer: PeerSettings, own: boolean) {
    this.#peer = peer;
    this.#own = own;
    this.#round = own;
    this.#records = peer.pairs.map(() => new PairRecord());
  }

  /** One for each of the peer's pairs. */
  states(sa: IkeSa): PairState[] {
    const covered = coverage(this.#peer.pairs, outboundOrder(sa));
    return this.#records.map(({ failure }, i) => {
      if (covered.has(i)) return { name: "up" };
      const record = failure ?? this.#refusal;
      return record ? { name: "refused", record } : { name: "missing" };
    });
  }

  // ── What happened ────────────────────────────────────────────────────────────────────────────────────────────

  /** The IKE SA has no CHILD_SA and should have: asks for the first, and goes on until something carries packets. */
  start(sa: IkeSa, now: Instant): void {
    this.#round = true;
    this.#refusals = 0;
    this.#refusal = undefined;
    for (const record of this.#records) record.failure = undefined;
    if (!this.asking) this.#ask(sa, now, firstAsk(sa, this.#peer));
  }

  /** CHILD_SAs came, went or moved to a successor. Asks for nothing itself: it may run in the middle of an answer. */
  onChange(sa: IkeSa, now: Instant): void {
    this.at = undefined;
    if (!sa.established) return;
    const carrying = outboundOrder(sa);
    const covered = coverage(this.#peer.pairs, carrying);
    if (carrying.length > 0) {
      this.#round = false;
      this.#refusal = undefined;
      this.#everUp = true;
    }
    let more = false;
    for (const [i, record] of this.#records.entries())
      if (record.update(sa.host, now, covered.has(i))) more = true;
    if (carrying.length === 0 && !this.#round) return;
    for (const [i, record] of this.#records.entries()) {
      if (covered.has(i) || !this.#isWanted(sa, record)) continue;
      if (!this.#round && this.#own) record.retryAt ??= now;
      // The peer is at work: its next request may be for this one.
      else if (!this.#round && !record.settled && (more || record.retryAt === undefined))
        record.retryAt = now + sa.host.limits.pairGraceMs;
      const at = this.#round ? (record.failure ? undefined : now) : record.retryAt;
      this.at = earlier(this.at, at);
    }
    if (this.#round && this.#refusals >= refusalsInARow) this.at = undefined;
    else if (this.at !== undefined) this.at = Math.max(this.at, this.#pausedUntil);
    if (this.asking) this.at = undefined;
    else if (this.#round && this.at === undefined) this.#exhausted(sa, now);
    sa.host.touch(sa);
  }

  handleTimeout(sa: IkeSa, now: Instant): void {
    if (this.at === undefined || this.at > now) return;
    this.at = undefined;
    if (this.asking || !sa.established || sa.children.size >= sa.host.limits.children) return;
    const covered = coverage(this.#peer.pairs, outboundOrder(sa));
    const next = this.#records.findIndex(
      (record, i) =>
        !covered.has(i) &&
        this.#isWanted(sa, record) &&
        (this.#round ? !record.failure : (record.retryAt ?? now) <= now),
    );
    if (next < 0) return;
    // A CHILD_SA was lost, or the first answer left this pair out: never all of them again beside what stands.
    this.#ask(
      sa,
      now,
      this.#round && !isEach(sa, this.#peer, this.#each) ? allPairs(this.#peer) : this.#pair(next),
    );
  }

  /** A packet found no SA: asks for one that carries it, unless that was refused a moment ago. */
  onTraffic(sa: IkeSa, now: Instant, flow: PacketFlow): void {
    const i = pairOf(this.#peer.pairs, flow);
    if (i === undefined || this.asking || this.#peer.perSubnetPair === false || !sa.established) return;
    const carrying = outboundOrder(sa);
    if (carrying.length === 0 || carrying.length >= sa.host.limits.children) return;
    if (carrying.some((child) => carries(child, flow))) return;
    const record = this.#records[i]!;
    const partly = coverage([this.#peer.pairs[i]!], carrying).size > 0;
    if (now < record.trafficAt || (record.failure && now < (record.retryAt ?? now))) return;
    record.trafficAt = now + record.backoff(sa.host);
    this.#ask(sa, now, partly ? withFlow(this.#pair(i), flow) : this.#pair(i));
  }

  /** A request that waited has become needless; the next one may go. */
  isMet(sa: IkeSa, now: Instant, ask: Ask): boolean {
    const carrying = outboundOrder(sa);
    const { pairs } = this.#peer;
    const met = ask.flow
      ? carrying.some((child) => carries(child, ask.flow!))
      : ask.pair === undefined
        ? carrying.length > 0
        : coverage(pairs, carrying).has(ask.pair);
    if (!met) return false;
    this.onAnswered();
    this.onChange(sa, now);
    return true;
  }

  /** The request is answered, withdrawn or refused; `onChange` follows. */
  onAnswered(): void {
    this.asking = undefined;
  }

  /** The peer agreed to `child`, as an answer to `ask`. */
  onAccepted(sa: IkeSa, now: Instant, ask: Ask, child: ChildSa): void {
    this.onAnswered();
    this.#refusals = 0;
    if (this.#peer.perSubnetPair === "auto" && this.#peer.pairs.length > 1) {
      const single = ask.pair === undefined && coverage(this.#peer.pairs, [child]).size === 1;
      if (single || this.#each) sa.host.pairings.set(this.#peer.id, "each");
    }
    if (ask.pair !== undefined) this.#records[ask.pair]!.trafficAt = now;
    this.onChange(sa, now);
  }

  /** The peer did not agree to `ask`; `record` says what that means, and is reported unless another way is open. */
  onRefused(sa: IkeSa, now: Instant, ask: Ask, error: number, record: FailureRecord): void {
    this.onAnswered();
    const { SINGLE_PAIR_REQUIRED, TS_UNACCEPTABLE } = NotifyType.code;
    const several = ask.pair === undefined && this.#peer.pairs.length > 1;
    const single = error === SINGLE_PAIR_REQUIRED;
    if (several && this.#peer.perSubnetPair === "auto" && (single || error === TS_UNACCEPTABLE)) {
      this.#each = true;
      this.#round = true;
      if (single) sa.host.pairings.set(this.#peer.id, "each");
      else sa.host.emit({ kind: "failure", sa, record });
      this.onChange(sa, now);
      return;
    }
    sa.host.emit({ kind: "failure", sa, record });
    if (record.code === "PEER_DELETED" && outboundOrder(sa).length > 0) {
      this.onPostponed(sa, now, ask);
      return;
    }
    // What is wrong with the selectors is this pair's; whatever else is wrong would be so with any.
    if (++this.#refusals >= refusalsInARow) this.#pausedUntil = now + sa.host.limits.refusedRetryMs;
    const ownFault = ask.pair !== undefined && (single || error === TS_UNACCEPTABLE);
    if (ownFault) this.#records[ask.pair!]!.refuse(sa.host, now, record);
    else {
      this.#refusal = record;
      const covered = coverage(this.#peer.pairs, outboundOrder(sa));
      for (const [i, other] of this.#records.entries())
        if (!covered.has(i)) other.refuse(sa.host, now, record);
    }
    this.onChange(sa, now);
  }

  /** Not now (TEMPORARY_FAILURE): nothing is wrong with it. */
  onPostponed(sa: IkeSa, now: Instant, ask: Ask): void {
    this.onAnswered();
    const at = now + Math.round(jittered(sa.host.random, sa.host.limits.rekeyRetryMs, 0.5));
    for (const [i, record] of this.#records.entries())
      if (ask.pair === undefined || ask.pair === i) record.retryAt = at;
    // With nothing that carries packets, the owner starts again.
    if (outboundOrder(sa).length === 0) this.#round = false;
    this.onChange(sa, now);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** `false` is one CHILD_SA, whatever came of it. A side that waits for its peer, or for packets, asks for nothing. */
  #isWanted(sa: IkeSa, record: PairRecord): boolean {
    if (this.#round) return true;
    if (this.#peer.perSubnetPair === false) return false;
    return sa.host.keepsUp(this.#peer.id) || (this.#own && !record.settled);
  }

  #pair(i: number): Ask {
    return onePair(this.#peer, i);
  }

  #ask(sa: IkeSa, now: Instant, ask: Ask): void {
    this.asking = ask;
    sa.host.askChild(sa, ask, now);
  }

  /** Everything was refused. An IKE SA that never had a use goes; one that lost it is closed as childless. */
  #exhausted(sa: IkeSa, now: Instant): void {
    this.#round = false;
    if (!this.#everUp && this.#own) sa.requestDelete(now, "failed");
  }
}

/** What IKE_AUTH, or the first request of an IKE SA that lost its CHILD_SAs, asks for. */
export function firstAsk(sa: IkeSa, peer: PeerSettings): Ask {
  const flow = sa.trigger;
  if (!isEach(sa, peer, false)) return flow ? withFlow(allPairs(peer), flow) : allPairs(peer);
  return onePair(peer, (flow && pairOf(peer.pairs, flow)) ?? 0);
}

function isEach(sa: IkeSa, peer: PeerSettings, found: boolean): boolean {
  if (peer.pairs.length < 2 || peer.perSubnetPair === false) return false;
  return found || peer.perSubnetPair === true || sa.host.pairings.get(peer.id) === "each";
}

function allPairs(peer: PeerSettings): Ask {
  const { localSelectors, remoteSelectors } = peer;
  return { pair: undefined, flow: undefined, localSelectors, remoteSelectors };
}

function onePair(peer: PeerSettings, i: number): Ask {
  const { local, remote } = peer.pairs[i]!;
  return { pair: i, flow: undefined, localSelectors: [local], remoteSelectors: [remote] };
}

/** §2.9: the selectors of the packet come first, so that a responder that narrows knows what must be in its answer. */
function withFlow(ask: Ask, flow: PacketFlow): Ask {
  const { local, remote } = flowSelectors(flow);
  const room = maxSelectors - 1;
  return {
    ...ask,
    flow,
    localSelectors: [local, ...ask.localSelectors.slice(0, room)],
    remoteSelectors: [remote, ...ask.remoteSelectors.slice(0, room)],
  };
}

/** Number of TSs is one octet (RFC 7296 §3.13). */
const maxSelectors = 255;
