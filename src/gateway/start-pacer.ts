/**
 * Paces the starts of many tunnels, so that a gateway with thousands of them does not trip its peers' defences against
 * floods: of the attempts with one peer address, and of all together, only so many are under way at once. An attempt
 * gives its place up when it is settled, or after a while, so that peers that do not answer hold nobody up for long.
 */
import type { IpAddress } from "../core/address.ts";
import { Queue } from "../core/queue.ts";
import type { Instant } from "../core/time.ts";

export interface PacerLimits {
  /** Attempts under way at once. */
  readonly total: number;
  readonly perAddress: number;
  /** How long an attempt keeps its place at most. */
  readonly holdMs: number;
}

/**
 * Responders ask for cookies, ours at 64 half-open IKE SAs, and refuse more than some from one address, ours at 32: we
 * stay below. Silent peers let 128 attempts a second pass.
 */
export const defaultPacerLimits: PacerLimits = { total: 128, perAddress: 24, holdMs: 1000 };

export interface Start<Item> {
  readonly item: Item;
  readonly remote: IpAddress;
}

export class StartPacer<Item> {
  readonly #limits: PacerLimits;
  /** Waiting, by address. What was dropped stays in its queue, and is passed over. */
  readonly #queues = new Map<string, Queue<Start<Item>>>();
  readonly #waiting = new Map<Item, Start<Item>>();
  /** Addresses with somebody waiting and a place left, in turn. */
  readonly #ready = new Set<string>();
  /** Under way, the oldest first. */
  readonly #underWay = new Map<Item, { readonly address: string; readonly until: Instant }>();
  readonly #count = new Map<string, number>();

  constructor(limits: PacerLimits = defaultPacerLimits) {
    this.#limits = limits;
  }

  /** `item` wants to start an attempt with the peer at `remote`. An attempt that it has under way counts no more. */
  add(item: Item, remote: IpAddress): void {
    this.drop(item);
    const address = remote.toString();
    const start = { item, remote };
    this.#waiting.set(item, start);
    let queue = this.#queues.get(address);
    if (!queue) {
      queue = new Queue();
      this.#queues.set(address, queue);
    }
    queue.push(start);
    this.#makeReady(address);
  }

  /** `item` waits no longer, or its attempt is settled. */
  drop(item: Item): void {
    this.#waiting.delete(item);
    const own = this.#underWay.get(item);
    if (!own) return;
    this.#underWay.delete(item);
    const left = this.#count.get(own.address)! - 1;
    if (left > 0) this.#count.set(own.address, left);
    else this.#count.delete(own.address);
    this.#makeReady(own.address);
  }

  /** The next one that may start, now. */
  next(now: Instant): Start<Item> | undefined {
    for (const [item, { until }] of this.#underWay) {
      if (until > now) break;
      this.drop(item);
    }
    for (const address of this.#ready) {
      if (this.#underWay.size >= this.#limits.total) return undefined;
      this.#ready.delete(address);
      const start = this.#take(address);
      if (!start) continue;
      const { item } = start;
      this.#waiting.delete(item);
      this.#underWay.set(item, { address, until: now + this.#limits.holdMs });
      this.#count.set(address, this.#countOf(address) + 1);
      this.#makeReady(address);
      return start;
    }
    return undefined;
  }

  /** When a place becomes free, if somebody waits for one. */
  get deadline(): Instant | undefined {
    if (this.#waiting.size === 0) return undefined;
    for (const { until } of this.#underWay.values()) return until;
    return undefined;
  }

  #take(address: string): Start<Item> | undefined {
    const queue = this.#queues.get(address)!;
    for (let start = queue.shift(); start; start = queue.shift())
      if (this.#waiting.get(start.item) === start) return start;
    this.#queues.delete(address);
    return undefined;
  }

  #makeReady(address: string): void {
    if (this.#queues.has(address) && this.#countOf(address) < this.#limits.perAddress)
      this.#ready.add(address);
  }

  #countOf(address: string): number {
    return this.#count.get(address) ?? 0;
  }
}
