/** What both versions of IKE know of a (local, remote) selector pair of a connection: is it up, and when is it asked for? */
import type { FailureRecord } from "../../core/failure.ts";
import { jittered, type Random } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import {
  intersectSelectors,
  type PacketFlow,
  type SelectorPair,
  selectorsMatch,
  type TrafficSelector,
} from "../../core/traffic-selector.ts";
import type { EndpointLimits } from "./settings.ts";

interface Clockwork {
  readonly random: Random;
  readonly limits: EndpointLimits;
}

export class PairRecord {
  upSince: Instant | undefined;
  /** Asked for or up at least once. */
  settled = false;
  failure: FailureRecord | undefined;
  retryAt: Instant | undefined;
  /** A packet does not ask before this. */
  trafficAt: Instant = 0;
  /** Consecutive losses and refusals. */
  #attempts = 0;

  /** `up`: IPsec SAs carry some of it. True when it has come up. */
  update(host: Clockwork, now: Instant, up: boolean): boolean {
    if (up === (this.upSince !== undefined)) return false;
    if (up) {
      this.upSince = now;
      this.settled = true;
      this.failure = undefined;
      this.retryAt = undefined;
      return true;
    }
    // One that stood for a while has shown that it works; one that is closed at once must not be asked for in a loop.
    if (now - this.upSince! >= provenMs) this.#attempts = 0;
    this.upSince = undefined;
    this.retryAt = now + this.backoff(host);
    return false;
  }

  /** The peer refused it: it is asked for again, ever more rarely. */
  refuse({ random, limits }: Clockwork, now: Instant, failure: FailureRecord): void {
    this.failure = failure;
    this.settled = true;
    const delay = limits.refusedRetryMs * 2 ** Math.min(this.#attempts, 6);
    this.#attempts++;
    this.retryAt = now + Math.round(jittered(random, delay, 0.25));
    this.trafficAt = this.retryAt;
  }

  /** How many ms it is not asked for again now. Each time it is longer, until the pair stands for a while. */
  backoff({ random }: Clockwork): number {
    const delay = Math.min(longestLossMs, firstLossMs * 2 ** Math.min(this.#attempts, 10));
    this.#attempts++;
    return Math.round(jittered(random, delay, 0.5));
  }
}

interface Carrier {
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
}

/** The indices of the pairs of which `carriers` carry some. */
export function coverage(pairs: readonly SelectorPair[], carriers: readonly Carrier[]): Set<number> {
  const covered = new Set<number>();
  for (const { localSelectors, remoteSelectors } of carriers) {
    // Of many pairs few ends are different: each is looked at once.
    const known = new Map<TrafficSelector, boolean>();
    const shares = (end: TrafficSelector, others: readonly TrafficSelector[]) => {
      let is = known.get(end);
      if (is === undefined) {
        is = others.some((ts) => intersectSelectors(end, ts) !== undefined);
        known.set(end, is);
      }
      return is;
    };
    for (const [i, { local, remote }] of pairs.entries())
      if (!covered.has(i) && shares(local, localSelectors) && shares(remote, remoteSelectors)) covered.add(i);
  }
  return covered;
}

/** True when a packet of `flow` may leave on `carrier`. */
export function carries(carrier: Carrier, flow: PacketFlow): boolean {
  return selectorsMatch(carrier.localSelectors, carrier.remoteSelectors, flow);
}

/** The index of the first pair whose addresses are those of `flow`. */
export function pairOf(
  pairs: readonly SelectorPair[],
  { source, destination }: PacketFlow,
): number | undefined {
  const i = pairs.findIndex(({ local, remote }) => holds(local, source) && holds(remote, destination));
  return i < 0 ? undefined : i;
}

const holds = (ts: TrafficSelector, address: PacketFlow["source"]): boolean =>
  intersectSelectors(ts, {
    protocol: 0,
    startPort: 0,
    endPort: 65535,
    startAddress: address,
    endAddress: address,
  }) !== undefined;

/** In a row. A peer that refuses many pairs is asked for the others slowly, and not at all while nothing is up. */
export const refusalsInARow = 16;
const provenMs = 10_000;
const firstLossMs = 1_000;
const longestLossMs = 120_000;
