/**
 * The message IDs that one side gives to its exchanges (RFC 2408 §3.1). They look random, never repeat, and can be told
 * from the peer's for as long as the ISAKMP SA lives, without a list: they are the numbers 0, 1, 2, … under a secret
 * permutation of 32 bits.
 *
 * IKEv1 has one key for both directions. What we send decrypts with us, and its HASH(1) is right: without this, whoever
 * sends our own messages back to us would speak in the peer's name.
 */
import type { Random } from "../../core/random.ts";

export class MessageIds {
  readonly #keys: readonly number[];
  #count = 0;

  constructor(random: Random) {
    const bytes = random.bytes(4 * rounds);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    this.#keys = Array.from({ length: rounds }, (_, i) => view.getUint32(4 * i));
  }

  /** Never 0, which is phase 1's, and none that `isTaken`. */
  next(isTaken: (id: number) => boolean): number {
    for (;;) {
      const id = this.#permute(this.#count++);
      if (id !== 0 && !isTaken(id)) return id;
    }
  }

  /** Whether `next` has given this one. */
  isOurs(id: number): boolean {
    return this.#invert(id) < this.#count;
  }

  /** A Feistel network of two halves of 16 bits. */
  #permute(number: number): number {
    let [left, right] = [number >>> 16, number & 0xffff];
    for (const key of this.#keys) [left, right] = [right, left ^ mix(right, key)];
    return ((left << 16) | right) >>> 0;
  }

  #invert(id: number): number {
    let [left, right] = [id >>> 16, id & 0xffff];
    for (let i = rounds - 1; i >= 0; i--) [left, right] = [right ^ mix(left, this.#keys[i]!), left];
    return ((left << 16) | right) >>> 0;
  }
}

const rounds = 6;

/** 16 bits of the half and the key, well mixed. */
function mix(half: number, key: number): number {
  let x = Math.imul(half ^ key, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 15), 0x85ebca6b) ^ (key >>> 7);
  return (x ^ (x >>> 13)) & 0xffff;
}
