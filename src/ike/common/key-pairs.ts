/** Where fresh key pairs for key exchanges come from. */
import type { KeyPair } from "../../crypto/index.ts";

/** Generated ahead of need by the daemon, from a seed by the simulator. */
export interface KeyPairs {
  /** A key pair that nobody else gets. The taker wipes it. */
  take(group: number): KeyPair;
}

/**
 * Takes back pairs whose public value nobody has seen, because the peer's was worthless: else whoever sends rubbish
 * would have us generate a key pair for each.
 */
export class ReturnableKeyPairs implements KeyPairs {
  readonly #source: KeyPairs;
  readonly #unused = new Map<number, KeyPair>();

  constructor(source: KeyPairs) {
    this.#source = source;
  }

  take(group: number): KeyPair {
    const pair = this.#unused.get(group) ?? this.#source.take(group);
    this.#unused.delete(group);
    return pair;
  }

  giveBack(pair: KeyPair): void {
    if (pair.spent || this.#unused.has(pair.group)) pair.wipe();
    else this.#unused.set(pair.group, pair);
  }
}
