import { jittered, type Random } from "../core/random.ts";

const firstMs = 1_000;
const longestMs = 60_000;

/**
 * Waiting between attempts to bring a tunnel up: 1 s, doubling to 1 minute, each moved by ±25 % so that many tunnels
 * that failed together do not come back together. It never gives up.
 */
export class Backoff {
  readonly #random: Random;
  #failures = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Delay before the next attempt, ms. */
  next(): number {
    const delay = Math.min(longestMs, firstMs * 2 ** Math.min(this.#failures, 10));
    this.#failures++;
    return Math.round(jittered(this.#random, delay, 0.25));
  }

  reset(): void {
    this.#failures = 0;
  }
}
