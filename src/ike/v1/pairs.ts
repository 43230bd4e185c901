/**
 * Which (local, remote) selector pairs of a connection have IPsec SAs, and asking for those that have none: one quick mode
 * for each, because IKEv1 has no other way (RFC 2409 §5.5). Every pair is kept up for itself: one that is lost or refused
 * is asked for again, with backoff, and the others never notice.
 *
 * A pair counts as covered when IPsec SAs carry some of it: a peer that asked for less, or answered with less, will not
 * permit more when asked again.
 *
 * Invariants: at most one quick mode of ours for a new pair at a time; while nothing carries packets, and none of a round
 * is due, the next step is the owner's (`start`). The next ISAKMP SA takes this object over as it is.
 */
import type { FailureRecord } from "../../core/failure.ts";
import { jittered } from "../../core/random.ts";
import { earlier, type Instant } from "../../core/time.ts";
import {
  intersectSelectors,
  type PacketFlow,
  type SelectorPair,
  selectorsMatch,
  type TrafficSelector,
} from "../../core/traffic-selector.ts";
import { IsakmpNotifyType } from "../../registry/index.ts";
import { sameSelectors } from "../common/selectors.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { PairState } from "../common/views.ts";
import { newIpsecSa } from "./exchanges/quick-mode.ts";
import { type IpsecSa, outboundOrder } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** What a quick mode for a new pair of IPsec SAs is about. */
export interface Ask extends SelectorPair {
  /** Index in the peer's pairs. */
  readonly pair: number;
}

interface PairRecord {
  upSince: Instant | undefined;
  /** Asked for or up at least once. */
  settled: boolean;
  failure: FailureRecord | undefined;
  /** Consecutive losses and refusals. */
  attempts: number;
  retryAt: Instant | undefined;
  /** A packet does not ask before this. */
  trafficAt: Instant;
}

export class Pairs {
  /** When `handleTimeout` has something to do. */
  at: Instant | undefined;
  readonly #pairs: readonly SelectorPair[];
  /** We began the first of these ISAKMP SAs, and so we began to ask. */
  readonly #own: boolean;
  readonly #peer: PeerSettings;
  readonly #records: PairRecord[];
  /** Set while a quick mode of ours waits or is under way. */
  #asking: Ask | undefined;
  /** From a start until something carries packets, or everything was refused. */
  #round: boolean;
  #everUp = false;
  /** In a row. A peer that refuses many pairs is asked for the others slowly, and not at all while nothing is up. */
  #refusals = 0;
  #pausedUntil: Instant = 0;

  constructor(peer: PeerSettings, own: boolean) {
    this.#peer = peer;
    this.#own = own;
    this.#round = own;
    this.#pairs = peer.pairs.length > 0 ? peer.pairs : anyPair(peer);
    this.#records = this.#pairs.map(() => ({
      upSince: undefined,
      settled: false,
      failure: undefined,
      attempts: 0,
      retryAt: undefined,
      trafficAt: 0,
    }));
  }

  /** One for each of the peer's pairs. */
  states(sa: IsakmpSa): PairState[] {
    const covered = coverage(this.#peer.pairs, outboundOrder(sa));
    return this.#peer.pairs.map((_, i) => {
      const { failure } = this.#records[i]!;
      if (covered.has(i)) return { name: "up" };
      return failure ? { name: "refused", record: failure } : { name: "missing" };
    });
  }

  // ── What happened ────────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing carries packets and something should: asks for the first pair, and goes on until something does. */
  start(sa: IsakmpSa, now: Instant): void {
    this.#round = true;
    this.#refusals = 0;
    for (const record of this.#records) record.failure = undefined;
    if (!this.#asking) this.#ask(sa, now, (sa.trigger && this.#pairFor(sa.trigger)) ?? 0);
  }

  /** IPsec SAs came, went or have another ISAKMP SA. Asks for nothing itself: it may run in the middle of an answer. */
  onChange(sa: IsakmpSa, now: Instant): void {
    this.at = undefined;
    if (!sa.established) return;
    const carrying = outboundOrder(sa);
    const covered = coverage(this.#pairs, carrying);
    if (carrying.length > 0) {
      this.#round = false;
      this.#everUp = true;
    }
    let more = false;
    for (const [i, record] of this.#records.entries())
      if (this.#update(sa, now, record, covered.has(i))) more = true;
    if (carrying.length === 0 && !this.#round) return;
    for (const [i, record] of this.#records.entries()) {
      if (covered.has(i) || !this.#isWanted(sa, record)) continue;
      if (!this.#round && this.#own) record.retryAt ??= now;
      // The peer is at work: its next quick mode may be for this one.
      else if (!this.#round && !record.settled && (more || record.retryAt === undefined))
        record.retryAt = now + sa.host.limits.pairGraceMs;
      const at = this.#round ? (record.failure ? undefined : now) : record.retryAt;
      this.at = earlier(this.at, at);
    }
    if (this.#round && this.#refusals >= refusalsInARow) this.at = undefined;
    else if (this.at !== undefined) this.at = Math.max(this.at, this.#pausedUntil);
    if (this.#asking) this.at = undefined;
    else if (this.#round && this.at === undefined) this.#exhausted(sa, now);
    sa.host.touch(sa);
  }

  handleTimeout(sa: IsakmpSa, now: Instant): void {
    if (this.at === undefined || this.at > now) return;
    this.at = undefined;
    if (this.#asking || !sa.established || sa.children.size >= sa.host.limits.children) return;
    const covered = coverage(this.#pairs, outboundOrder(sa));
    const next = this.#records.findIndex(
      (record, i) =>
        !covered.has(i) &&
        this.#isWanted(sa, record) &&
        (this.#round ? !record.failure : (record.retryAt ?? now) <= now),
    );
    if (next >= 0) this.#ask(sa, now, next);
  }

  /** A packet found no SA: asks for its pair, unless that was refused a moment ago. */
  onTraffic(sa: IsakmpSa, now: Instant, flow: PacketFlow): void {
    const i = this.#pairFor(flow);
    if (i === undefined || this.#asking || !sa.established) return;
    const carrying = outboundOrder(sa);
    if (carrying.length === 0 || sa.children.size >= sa.host.limits.children) return;
    if (carrying.some((child) => selectorsMatch(child.localSelectors, child.remoteSelectors, flow))) return;
    const record = this.#records[i]!;
    if (now < record.trafficAt || (record.failure && now < (record.retryAt ?? now))) return;
    record.trafficAt = now + this.#backoff(sa, record);
    this.#ask(sa, now, i);
  }

  /** A quick mode that waited has become needless; the next one may go. */
  isMet(sa: IsakmpSa, now: Instant, ask: Ask): boolean {
    const whole = outboundOrder(sa).some(
      (child) =>
        child.localSelectors.some((ts) => sameEnd(ts, ask.local)) &&
        child.remoteSelectors.some((ts) => sameEnd(ts, ask.remote)),
    );
    if (!whole) return false;
    this.#asking = undefined;
    this.onChange(sa, now);
    return true;
  }

  /** The peer agreed to `ask`. */
  onAccepted(sa: IsakmpSa, now: Instant, ask: Ask): void {
    this.#asking = undefined;
    this.#refusals = 0;
    this.#records[ask.pair]!.trafficAt = now + trafficPauseMs;
    this.onChange(sa, now);
  }

  /** The peer did not agree to `ask`; `record` says what that means. `error`: its notification, 0 for none. */
  onRefused(sa: IsakmpSa, now: Instant, ask: Ask, error: number, record: FailureRecord): void {
    this.#asking = undefined;
    sa.host.emit({ kind: "failure", sa, record });
    if (record.code === "PEER_DELETED" && outboundOrder(sa).length > 0) {
      this.onPostponed(sa, now, ask);
      return;
    }
    if (++this.#refusals >= refusalsInARow) this.#pausedUntil = now + sa.host.limits.refusedRetryMs;
    // What is wrong with the selectors is this pair's; whatever else is wrong would be so with any.
    if (error === IsakmpNotifyType.code.INVALID_ID_INFORMATION)
      this.#refuse(sa, now, this.#records[ask.pair]!, record);
    else {
      const covered = coverage(this.#pairs, outboundOrder(sa));
      for (const [i, other] of this.#records.entries())
        if (!covered.has(i)) this.#refuse(sa, now, other, record);
    }
    this.onChange(sa, now);
  }

  /** It came to nothing, and nothing is wrong with it. */
  onPostponed(sa: IsakmpSa, now: Instant, ask: Ask): void {
    this.#asking = undefined;
    this.#records[ask.pair]!.retryAt =
      now + Math.round(jittered(sa.host.random, sa.host.limits.rekeyRetryMs, 0.5));
    // With nothing that carries packets, the owner starts again.
    if (outboundOrder(sa).length === 0) this.#round = false;
    this.onChange(sa, now);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** True when it has come up. */
  #update(sa: IsakmpSa, now: Instant, record: PairRecord, up: boolean): boolean {
    if (up === (record.upSince !== undefined)) return false;
    if (up) {
      record.upSince = now;
      record.settled = true;
      record.failure = undefined;
      record.retryAt = undefined;
      return true;
    }
    // One that stood for a while has shown that it works; one that is closed at once must not be asked for in a loop.
    if (now - record.upSince! >= provenMs) record.attempts = 0;
    record.upSince = undefined;
    record.retryAt = now + this.#backoff(sa, record);
    return false;
  }

  #refuse(sa: IsakmpSa, now: Instant, record: PairRecord, failure: FailureRecord): void {
    record.failure = failure;
    record.settled = true;
    const delay = sa.host.limits.refusedRetryMs * 2 ** Math.min(record.attempts, 6);
    record.attempts++;
    record.retryAt = now + Math.round(jittered(sa.host.random, delay, 0.25));
    record.trafficAt = record.retryAt;
  }

  #backoff(sa: IsakmpSa, record: PairRecord): number {
    const delay = Math.min(longestLossMs, firstLossMs * 2 ** Math.min(record.attempts, 10));
    record.attempts++;
    return Math.round(jittered(sa.host.random, delay, 0.5));
  }

  /** A side that waits for its peer, or for packets, asks for nothing. */
  #isWanted(sa: IsakmpSa, record: PairRecord): boolean {
    return this.#round || sa.host.keepsUp(this.#peer.id) || (this.#own && !record.settled);
  }

  #ask(sa: IsakmpSa, now: Instant, pair: number): void {
    const { local, remote } = this.#pairs[pair]!;
    this.#asking = { pair, local, remote };
    sa.initiate(now, newIpsecSa(this.#asking));
  }

  /** Everything was refused. An ISAKMP SA that never had a use goes; one that lost it is closed as childless. */
  #exhausted(sa: IsakmpSa, now: Instant): void {
    this.#round = false;
    if (!this.#everUp && this.#own) sa.requestDelete(now, "failed");
  }

  #pairFor({ source, destination }: PacketFlow): number | undefined {
    const i = this.#pairs.findIndex(
      ({ local, remote }) => holds(local, source) && holds(remote, destination),
    );
    return i < 0 ? undefined : i;
  }
}

/** Without a route nobody says which traffic there is to be: that of the family of the connection's first subnets. */
function anyPair({ localSelectors, remoteSelectors }: PeerSettings): SelectorPair[] {
  for (const local of localSelectors)
    for (const remote of remoteSelectors)
      if (local.startAddress.family === remote.startAddress.family) return [{ local, remote }];
  return [];
}

const holds = (ts: TrafficSelector, address: PacketFlow["source"]): boolean =>
  intersectSelectors(ts, {
    protocol: 0,
    startPort: 0,
    endPort: 65535,
    startAddress: address,
    endAddress: address,
  }) !== undefined;

const sameEnd = (a: TrafficSelector, b: TrafficSelector): boolean => sameSelectors([a], [b]);

/** The pairs of which `children` carry some. */
function coverage(pairs: readonly SelectorPair[], children: readonly IpsecSa[]): Set<number> {
  const covered = new Set<number>();
  for (const { localSelectors, remoteSelectors } of children)
    for (const [i, { local, remote }] of pairs.entries())
      if (!covered.has(i) && shares(local, localSelectors) && shares(remote, remoteSelectors)) covered.add(i);
  return covered;
}

const shares = (end: TrafficSelector, others: readonly TrafficSelector[]): boolean =>
  others.some((ts) => intersectSelectors(end, ts) !== undefined);

const provenMs = 10_000;
const refusalsInARow = 16;
const firstLossMs = 1_000;
const longestLossMs = 120_000;
/** A pair that the peer narrowed is not asked for again by each packet of what is missing. */
const trafficPauseMs = 10_000;
