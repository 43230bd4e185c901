/** Where fresh key pairs for key exchanges come from, and what comes of them. */
import { PeerMisbehaved } from "../../core/errors.ts";
import type { Secret } from "../../core/secret.ts";
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

/** The secret that both sides share, or undefined when what the peer sent is no public value of the group. */
export function sharedSecret(keyPair: KeyPair, peerPublic: Uint8Array): Secret | undefined {
  return unlessMisbehaved(() => keyPair.computeSharedSecret(peerPublic));
}

/** Undefined when `compute` finds what the peer sent to be of no use. */
export function unlessMisbehaved<T>(compute: () => T): T | undefined {
  try {
    return compute();
  } catch (error) {
    if (error instanceof PeerMisbehaved) return undefined;
    throw error;
  }
}
