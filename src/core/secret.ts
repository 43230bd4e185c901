const inspect = Symbol.for("nodejs.util.inspect.custom");

/**
 * Zeroed memory for a secret, outside the heap of JavaScript, where the garbage collector leaves copies of a short array
 * behind when it moves it. It costs a microsecond: derive what belongs together into one piece.
 */
export function secretMemory(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(length));
}

/** Bytes that must never be printed, logged or serialised. The owner wipes them when they die. */
export class Secret {
  #bytes: Uint8Array;

  /** Takes ownership of `bytes`: `wipe` zeroes that very array. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  static fromText(text: string): Secret {
    return new Secret(new TextEncoder().encode(text));
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** The key material itself, for a cipher or prf call only. A view, not a copy. */
  reveal(): Uint8Array {
    return this.#bytes;
  }

  /** A second owner of the same bytes, in memory of its own. */
  copy(): Secret {
    return new Secret(Uint8Array.from(this.#bytes));
  }

  wipe(): void {
    this.#bytes.fill(0);
    this.#bytes = new Uint8Array(0);
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }

  [inspect](): string {
    return "[secret]";
  }
}
