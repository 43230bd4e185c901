/**
 * Mutation fuzzing of a decoder. One run is a function of its seed: valid messages (arbitrary ones and the captured ones
 * of test/vectors/pcap) are damaged in the ways that have hurt decoders, then decoded. Whatever comes out must be a
 * message that encodes and decodes again, or a WireError that names its field.
 */
import { WireError } from "../../src/core/errors.ts";

/** What is fuzzed. */
export interface FuzzTarget {
  /** Valid messages to begin with. */
  corpus(seed: number): Uint8Array[];
  /** Decodes, and throws a WireError when the bytes are no message; anything else that it throws is a finding. */
  check(input: Uint8Array): void;
  /** More that must bear what `check` has refused; WireErrors are fine. */
  checkRefused(input: Uint8Array): void;
}

export interface FuzzTotals {
  executions: number;
  decoded: number;
  refused: number;
  /** Octets decoded: what the time is to be compared with. */
  octets: number;
}

/** `captured`: real messages to damage besides the arbitrary ones. */
export class WireFuzzer {
  readonly totals: FuzzTotals = { executions: 0, decoded: 0, refused: 0, octets: 0 };
  readonly #next: () => number;
  readonly #corpus: Uint8Array[];

  readonly #target: FuzzTarget;

  constructor(target: FuzzTarget, seed: number, captured: readonly Uint8Array[] = []) {
    this.#target = target;
    this.#next = mulberry32(seed);
    this.#corpus = [...captured.map((datagram) => Uint8Array.from(datagram)), ...target.corpus(seed)];
  }

  /** Throws with the input in hexadecimal when the decoder does anything that it must not. */
  run(executions: number): void {
    for (let i = 0; i < executions; i++) {
      let input = this.#pick();
      for (let n = 1 + this.#below(4); n > 0; n--) input = this.#mutate(input);
      // Most inputs get past the header's Length, else nothing behind it would be tested.
      if (this.#below(16) !== 0) fixLength(input);
      try {
        this.#check(input);
      } catch (error) {
        const text = Buffer.from(input).toString("hex");
        throw new Error(`the decoder failed on ${text}`, { cause: error });
      }
    }
  }

  #check(input: Uint8Array): void {
    this.totals.executions++;
    this.totals.octets += input.length;
    const before = Buffer.from(input).toString("latin1");
    const decoded = tolerantly(() => this.#target.check(input));
    if (Buffer.from(input).toString("latin1") !== before)
      throw new Error("the decoder wrote to the datagram");
    if (!decoded) {
      this.totals.refused++;
      tolerantly(() => this.#target.checkRefused(input));
      return;
    }
    this.totals.decoded++;
    // A few that decode join the corpus, so that damage accumulates.
    if (this.#corpus.length < 2000 && this.#below(8) === 0) this.#corpus.push(Uint8Array.from(input));
  }

  #mutate(input: Uint8Array): Uint8Array {
    const at = this.#below(Math.max(1, input.length));
    const out = Uint8Array.from(input);
    switch (this.#below(9)) {
      case 0: // one bit
        out[at]! ^= 1 << this.#below(8);
        return out;
      case 1: // an octet of consequence
        out[at] = INTERESTING[this.#below(INTERESTING.length)]!;
        return out;
      case 2: // a 16-bit field: Payload Length, Transform Length, Attribute Length
        out[at] = INTERESTING[this.#below(INTERESTING.length)]!;
        if (at + 1 < out.length) out[at + 1] = INTERESTING[this.#below(INTERESTING.length)]!;
        return out;
      case 3: // a field that is off by a little
        out[at]! += this.#below(9) - 4;
        return out;
      case 4: // truncated
        return out.slice(0, at);
      case 5: // longer
        return concat(out, this.#octets(1 + this.#below(40)));
      case 6: // a piece removed
        return concat(out.subarray(0, at), out.subarray(Math.min(out.length, at + 1 + this.#below(16))));
      case 7: {
        // a piece repeated, up to a long chain of payloads
        const piece = out.subarray(at, Math.min(out.length, at + 1 + this.#below(64)));
        const times = this.#below(16) === 0 ? this.#below(300) : 1 + this.#below(4);
        return concat(
          out.subarray(0, at),
          ...new Array<Uint8Array>(times).fill(piece),
          out.subarray(at),
        ).slice(0, 65535);
      }
      default: {
        // spliced with another message
        const other = this.#pick();
        return concat(out.subarray(0, at), other.subarray(this.#below(Math.max(1, other.length))));
      }
    }
  }

  #pick(): Uint8Array {
    return this.#corpus[this.#below(this.#corpus.length)]!;
  }

  #octets(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#below(256));
  }

  #below(bound: number): number {
    return Math.floor(this.#next() * bound);
  }
}

const INTERESTING = [
  0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 13, 15, 16, 20, 21, 28, 33, 34, 41, 44, 45, 46, 53, 127, 128, 129, 130, 132,
  254, 255,
];

/** Whether it did not throw a WireError. */
function tolerantly(decode: () => void): boolean {
  try {
    decode();
    return true;
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    if (error.field === "") throw new Error("a WireError without a field");
    return false;
  }
}

function fixLength(datagram: Uint8Array): void {
  if (datagram.length >= 28) new DataView(datagram.buffer).setUint32(24, datagram.length);
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
