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
import type { PacketFlow, SelectorPair, TrafficSelector } from "../../core/traffic-selector.ts";
import { IsakmpNotifyType } from "../../registry/index.ts";
import { carries, coverage, PairRecord, pairOf, refusalsInARow } from "../common/pair-record.ts";
import { sameSelectors } from "../common/selectors.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { PairState } from "../common/views.ts";
import { newIpsecSa } from "./exchanges/quick-mode.ts";
import { outboundOrder } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** What a quick mode for a new pair of IPsec SAs is about. */
export interface Ask extends SelectorPair {
  /** Index in the peer's pairs. */
  readonly pair: number;
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
  #refusals = 0;
  #pausedUntil: Instant = 0;

  constructor(peer: PeerSettings, own: boolean) {
    this.#peer = peer;
    this.#own = own;
    this.#round = own;
    this.#pairs = peer.pairs.length > 0 ? peer.pairs : anyPair(peer);
    this.#records = this.#pairs.map(() => new PairRecord());
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
    if (!this.#asking) this.#ask(sa, now, (sa.trigger && pairOf(this.#pairs, sa.trigger)) ?? 0);
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
      if (record.update(sa.host, now, covered.has(i))) more = true;
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
    const i = pairOf(this.#pairs, flow);
    if (i === undefined || this.#asking || !sa.established) return;
    const carrying = outboundOrder(sa);
    if (carrying.length === 0 || sa.children.size >= sa.host.limits.children) return;
    if (carrying.some((child) => carries(child, flow))) return;
    const record = this.#records[i]!;
    if (now < record.trafficAt || (record.failure && now < (record.retryAt ?? now))) return;
    record.trafficAt = now + record.backoff(sa.host);
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
      this.#records[ask.pair]!.refuse(sa.host, now, record);
    else {
      const covered = coverage(this.#pairs, outboundOrder(sa));
      for (const [i, other] of this.#records.entries())
        if (!covered.has(i)) other.refuse(sa.host, now, record);
    }
    this.onChange(sa, now);
  }

  /** It came to nothing, and nothing is wrong with it: it is asked for again after a while, or `atOnce`. */
  onPostponed(sa: IsakmpSa, now: Instant, ask: Ask, atOnce = false): void {
    this.#asking = undefined;
    const { random, limits } = sa.host;
    this.#records[ask.pair]!.retryAt =
      now + (atOnce ? 0 : Math.round(jittered(random, limits.rekeyRetryMs, 0.5)));
    // With nothing that carries packets, the owner starts again.
    if (outboundOrder(sa).length === 0) this.#round = false;
    this.onChange(sa, now);
  }

  // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────

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
}

/** Without a route nobody says which traffic there is to be: that of the family of the connection's first subnets. */
function anyPair({ localSelectors, remoteSelectors }: PeerSettings): SelectorPair[] {
  for (const local of localSelectors)
    for (const remote of remoteSelectors)
      if (local.startAddress.family === remote.startAddress.family) return [{ local, remote }];
  return [];
}

const sameEnd = (a: TrafficSelector, b: TrafficSelector): boolean => sameSelectors([a], [b]);

/** A pair that the peer narrowed is not asked for again by each packet of what is missing. */
const trafficPauseMs = 10_000;
