import type { Random } from "./random.ts";

/**
 * Randomness drawn a few KiB at a time: asking the kernel costs a microsecond or more whatever the length, and a
 * handshake needs a dozen short pieces (SPIs, nonces, IVs, jitter). Each octet is handed out once and wiped here as it
 * goes, so that what was given before cannot be found in the pool.
 *
 * Not for what has to stay secret for years, like pre-shared keys: those are asked for where they are made.
 */
export class RandomPool implements Random {
  readonly #source: Random;
  #octets: Uint8Array = new Uint8Array(0);
  #used = 0;

  constructor(source: Random) {
    this.#source = source;
  }

  bytes(length: number): Uint8Array {
    if (length > LARGEST) return this.#source.bytes(length);
    if (this.#used + length > this.#octets.length) {
      this.#octets.fill(0);
      this.#octets = this.#source.bytes(POOL_BYTES);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += length;
    const bytes = this.#octets.slice(from, this.#used);
    this.#octets.fill(0, from, this.#used);
    return bytes;
  }
}

const POOL_BYTES = 4096;
/** Beyond it the kernel's own speed counts, not the call. */
const LARGEST = 256;
