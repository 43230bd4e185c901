/**
 * Paces the starts of many tunnels, so that a gateway with thousands of them does not trip its peers' defences against
 * floods: of the attempts with one peer address, and of all together, only so many are under way at once. An attempt
 * gives its place up when it is settled, or after a while, so that peers that do not answer hold nobody up for long.
 * A peer that takes longer than that is overloaded, or gone: more attempts would only make it slower, so that those with
 * its address keep their places longer and longer, until it is fast enough again.
 */

import type { IpAddress } from "../core/address.ts";
import { Queue } from "../core/queue.ts";
import { earlier, type Instant } from "../core/time.ts";
import { Deadlines } from "../ike/common/deadlines.ts";

export interface PacerLimits {
  /** Attempts under way at once. */
  readonly total: number;
  readonly perAddress: number;
  /** How long an attempt keeps its place among all at most, and that among those of its address at first. */
  readonly holdMs: number;
  /** How long the latter at most. */
  readonly maxHoldMs: number;
}

/**
 * Responders ask for cookies, ours at 64 half-open IKE SAs, and refuse more than some from one address, ours at 32: we
 * stay below. Silent peers let 128 attempts a second pass.
 */
export const defaultPacerLimits: PacerLimits = { total: 128, perAddress: 24, holdMs: 1000, maxHoldMs: 8000 };

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
  /** Those with a place among all, the oldest first, and until when. */
  readonly #underWay = new Map<Item, Instant>();
  /** Those with a place among those of their address, and until when. */
  readonly #places = new Map<Item, { readonly address: string; readonly holdMs: number }>();
  readonly #ends = new Deadlines<Item>();
  readonly #count = new Map<string, number>();
  /** How long such a place is kept, of addresses where that is longer than at first. */
  readonly #holdMs = new Map<string, number>();

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
    this.#underWay.delete(item);
    const place = this.#places.get(item);
    if (!place) return;
    const { address } = place;
    const holdMs = this.#holdOf(address) / 2;
    if (holdMs > this.#limits.holdMs) this.#holdMs.set(address, holdMs);
    else this.#holdMs.delete(address);
    this.#leave(item, address);
  }

  /** The next one that may start, now. */
  next(now: Instant): Start<Item> | undefined {
    for (const [item, until] of this.#underWay) {
      if (until > now) break;
      this.#underWay.delete(item);
    }
    for (const item of this.#ends.takeDue(now)) this.#expire(item);
    for (const address of this.#ready) {
      if (this.#underWay.size >= this.#limits.total) return undefined;
      this.#ready.delete(address);
      const start = this.#take(address);
      if (!start) continue;
      const { item } = start;
      this.#waiting.delete(item);
      const holdMs = this.#holdOf(address);
      this.#underWay.set(item, now + this.#limits.holdMs);
      this.#places.set(item, { address, holdMs });
      this.#ends.set(item, now + holdMs);
      this.#count.set(address, this.#countOf(address) + 1);
      this.#makeReady(address);
      return start;
    }
    return undefined;
  }

  /** When a place becomes free, if somebody waits for one. */
  get deadline(): Instant | undefined {
    if (this.#waiting.size === 0) return undefined;
    const [oldest] = this.#underWay.values();
    return earlier(oldest, this.#ends.next());
  }

  #expire(item: Item): void {
    const { address, holdMs } = this.#places.get(item)!;
    // Of many that took longer than they had, one counts.
    if (holdMs === this.#holdOf(address))
      this.#holdMs.set(address, Math.min(2 * holdMs, this.#limits.maxHoldMs));
    this.#leave(item, address);
  }

  #leave(item: Item, address: string): void {
    this.#places.delete(item);
    this.#ends.set(item, undefined);
    const left = this.#count.get(address)! - 1;
    if (left > 0) this.#count.set(address, left);
    else this.#count.delete(address);
    this.#makeReady(address);
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

  #holdOf(address: string): number {
    return this.#holdMs.get(address) ?? this.#limits.holdMs;
  }

  #countOf(address: string): number {
    return this.#count.get(address) ?? 0;
  }
}
