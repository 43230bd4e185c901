/**
 * How large may an outer packet be on a path? (RFC 8899, datagram packetization layer path MTU discovery.) A size is
 * believed when a probe of that size was answered, and disbelieved when several in a row were lost that a small message
 * got through after; ICMP is a reason to probe, and nothing more. Sans-I/O: whoever sends the probes asks `dueAt` and
 * `size`, and reports `onAcked` or `onLost`.
 *
 *   CHECKING ──acked──▶ SEARCHING ──nothing left to try──▶ COMPLETE ──raise timer──▶ SEARCHING
 *      ▲ │ lost: BASE, then smaller ones                       │
 *      └─┘                    ◀──the size in use was lost───────┘
 *
 * It begins with the largest size, unproven, because a path that carries it is the rule: a tunnel that had to begin
 * small would give every first connection a small MSS for life. RFC 8899 calls the smallest size that every path should
 * carry BASE_PLPMTU.
 */

import type { Instant } from "../../core/time.ts";
import type { PathMtuState } from "../common/views.ts";

/** What sizes a probe can have: `offset` plus a multiple of `unit`. */
export interface ProbeSizes {
  readonly offset: number;
  readonly unit: number;
}

export interface PathMtuOptions {
  readonly family: 4 | 6;
  /** No path is asked for more. */
  readonly ceiling: number;
  /** What the same path carried when it was last used. */
  readonly remembered?: number | undefined;
  /** Probe again without a reason, to notice a black hole and a path that has grown. */
  readonly watches: boolean;
}

export class PathMtuSearch {
  readonly #options: PathMtuOptions;
  #state: PathMtuState = "checking";
  #failed = false;
  #effective: number;
  /** The largest that was answered, and not lost since. */
  #low = 0;
  /** The smallest that is believed to be lost. */
  #high: number;
  #size: number;
  #losses = 0;
  #dueAt: Instant | undefined;
  #raiseAt: Instant | undefined;
  #hint: number | undefined;
  #hintedAt: Instant | undefined;
  #sizes: ProbeSizes = { offset: 0, unit: 1 };

  constructor(now: Instant, options: PathMtuOptions, sizes: ProbeSizes) {
    this.#options = options;
    this.#sizes = sizes;
    this.#high = options.ceiling + 1;
    this.#effective = this.#fit(options.remembered ?? options.ceiling);
    this.#size = this.#effective;
    this.#dueAt = now + firstProbeMs;
  }

  /** Bytes that an outer packet may have now. */
  get effective(): number {
    return this.#effective;
  }

  get state(): PathMtuState {
    return this.#state;
  }

  /** When the next probe should go; undefined: not without a reason. */
  get dueAt(): Instant | undefined {
    return this.#dueAt;
  }

  /** Bytes of IP datagram that the next probe should have. */
  get size(): number {
    return this.#size;
  }

  /** Probes of the present size that were lost in a row. */
  get losses(): number {
    return this.#losses;
  }

  /** The sizes that probes can have may change with the suite of their IKE SA. */
  use(sizes: ProbeSizes): void {
    if (sizes.offset === this.#sizes.offset && sizes.unit === this.#sizes.unit) return;
    this.#sizes = sizes;
    this.#size = this.#fit(this.#size);
  }

  /** A probe of `size` got through. */
  onAcked(now: Instant, size: number): void {
    if (size > this.#low) this.#low = size;
    if (this.#high <= size) this.#high = size + 1;
    if (size !== this.#size) return;
    this.#losses = 0;
    this.#effective = this.#low;
    if (this.#raiseAt !== undefined && this.#raiseAt <= now) {
      this.#raiseAt = undefined;
      this.#high = this.#options.ceiling + 1;
      this.#hint = undefined;
    }
    this.#goOn(now);
  }

  /** A probe of `size` was lost, and a small message after it was not. */
  onLost(now: Instant, size: number): void {
    if (size !== this.#size) return;
    this.#losses++;
    this.#dueAt = now;
    const inUse = size <= this.#effective;
    if (this.#losses < (inUse && this.#state !== "checking" ? maxLossesInUse : maxLosses)) return;
    this.#losses = 0;
    this.#high = Math.min(this.#high, size);
    if (!inUse) {
      this.#goOn(now);
      return;
    }
    this.#low = 0;
    const next = this.#floors.find((floor) => floor < size);
    this.#effective = next ?? size;
    this.#size = this.#effective;
    this.#state = "checking";
    this.#failed = next === undefined;
  }

  /** Not even what every path carries was answered: it is the peer that does not answer, and nothing is known. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Nothing can be said of the probe that was under way: it is sent once more. */
  onInconclusive(now: Instant): void {
    this.#dueAt = now + inconclusiveMs;
  }

  /** Somebody says that the path carries only `mtu`: the size in use is probed at once, but not at any rate. */
  onHint(now: Instant, mtu: number): void {
    const floor = this.#floors.at(-1)!;
    if (mtu >= this.#effective || mtu < floor) return;
    if (this.#hintedAt !== undefined && now - this.#hintedAt < hintsMs) return;
    this.#hintedAt = now;
    this.#hint = mtu;
    this.#losses = 0;
    this.#size = this.#effective;
    this.#dueAt = now;
  }

  /** Sizes to fall back to, the largest first; the last is what every host of the family must take. */
  get #floors(): readonly number[] {
    const all = this.#options.family === 6 ? floorsIpv6 : floorsIpv4;
    return all.map((floor) => this.#fit(floor));
  }

  #goOn(now: Instant): void {
    const next = this.#candidate();
    if (next === undefined) {
      this.#state = "complete";
      this.#size = this.#effective;
      this.#rest(now);
      return;
    }
    this.#state = "searching";
    this.#size = next;
    this.#dueAt = now;
  }

  /** Until the next time that the size in use is confirmed. */
  #rest(now: Instant): void {
    this.#dueAt = this.#options.watches ? now + confirmMs : undefined;
    if (this.#effective < this.#fit(this.#options.ceiling)) this.#raiseAt ??= now + raiseMs;
    else this.#raiseAt = undefined;
  }

  /** A size between what is proven and what is lost that tells the most; undefined when there is none. */
  #candidate(): number | undefined {
    const { unit } = this.#sizes;
    const [low, high] = [this.#low, this.#high];
    const next = low + unit;
    if (next >= high) return undefined;
    const largest = this.#fit(this.#options.ceiling);
    if (high > largest + 1 || high > this.#options.ceiling) return largest > low ? largest : undefined;
    const hint = this.#hint === undefined ? undefined : this.#fit(this.#hint);
    if (hint !== undefined && low < hint && hint < high) return hint;
    if (unit === 1) {
      // What is usual, or was claimed, and was answered is most often right: one lost probe proves it.
      if (low === hint || usualPathMtus.includes(low)) return next;
      const usual = usualPathMtus.filter((size) => size > low && size < high);
      if (usual.length > 0) return usual[usual.length >> 1];
    }
    return Math.max(next, this.#fit(Math.floor((low + high) / 2)));
  }

  #fit(size: number): number {
    const { offset, unit } = this.#sizes;
    return size - ((size - offset) % unit);
  }
}

/** BASE_PLPMTU: IPv6's minimum (RFC 8200 §5), which in practice every IPv4 path carries too. */
const basePathMtu = 1280;
/** RFC 791: every IPv4 host takes 576. */
const floorsIpv4 = [basePathMtu, 1200, 1024, 576];
const floorsIpv6 = [basePathMtu];
/** What links and tunnels make of Ethernet's 1500: other tunnels, PPPoE, GRE, VXLAN, MPLS, VLAN tags. */
const usualPathMtus = [
  1280, 1300, 1320, 1340, 1350, 1358, 1360, 1376, 1380, 1390, 1400, 1410, 1412, 1420, 1428, 1430, 1436, 1440,
  1446, 1450, 1452, 1454, 1456, 1458, 1460, 1462, 1464, 1468, 1470, 1472, 1476, 1480, 1484, 1488, 1492, 1496,
  1500,
];

/** After a set-up there is more to do than this. */
const firstProbeMs = 1_000;
/** RFC 8899 §5.1.2 MAX_PROBES is 3. What has carried packets is not given up as easily as what would be nice to have. */
const maxLosses = 3;
const maxLossesInUse = 4;
/** How long a black hole may last; a tunnel that is idle is asked more often, by its liveness checks. */
const confirmMs = 30_000;
/** RFC 8899 §5.1.1 PMTU_RAISE_TIMER. */
const raiseMs = 600_000;
const hintsMs = 10_000;
const inconclusiveMs = 1_000;
