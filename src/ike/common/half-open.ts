/** Accounts of what strangers can make us keep and say: half-open IKE SAs, and failure records about them. */
import type { IpAddress } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";

/** IKE SAs of ours as responder that nobody has authenticated, in all and by source address. */
export class HalfOpen<Sa extends object> {
  readonly #address = new Map<Sa, string>();
  readonly #count = new Map<string, number>();

  get size(): number {
    return this.#address.size;
  }

  from(address: IpAddress): number {
    return this.#count.get(address.toString()) ?? 0;
  }

  add(sa: Sa, address: IpAddress): void {
    const key = address.toString();
    this.#address.set(sa, key);
    this.#count.set(key, (this.#count.get(key) ?? 0) + 1);
  }

  /** `sa` is authenticated or forgotten; harmless when it never counted. */
  delete(sa: Sa): void {
    const key = this.#address.get(sa);
    if (key === undefined) return;
    this.#address.delete(sa);
    const left = this.#count.get(key)! - 1;
    if (left === 0) this.#count.delete(key);
    else this.#count.set(key, left);
  }
}

/** A few a minute: strangers may fill counters, but not the log. */
export class Allowance {
  readonly #perMinute: number;
  #since: Instant = Number.NEGATIVE_INFINITY;
  #used = 0;

  constructor(perMinute: number) {
    this.#perMinute = perMinute;
  }

  /** Starts a new minute when the last one has passed. */
  advance(now: Instant): void {
    if (now - this.#since < 60_000) return;
    this.#since = now;
    this.#used = 0;
  }

  /** True while there is something left. */
  take(): boolean {
    this.#used++;
    return this.#used <= this.#perMinute;
  }
}
