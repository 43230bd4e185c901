/**
 * Finds prefixes, and (local, remote) pairs of them, that share addresses. Prefixes nest or are disjoint, so to overlap
 * is to contain or to be contained, and a few look-ups answer it: their number is that of the prefix lengths in use,
 * not that of the prefixes.
 */
import { Prefix } from "../core/address.ts";

/** Ascending, each once. */
export type PrefixLengths = readonly number[];

export function lengthsOf(prefixes: readonly Prefix[]): PrefixLengths {
  return [...new Set(prefixes.map((prefix) => prefix.length))].sort((a, b) => a - b);
}

/** Values by prefix, asked for any that overlaps another prefix. */
export class PrefixIndex<T> {
  readonly #lengths: PrefixLengths;
  readonly #exact = new Map<string, T>();
  /** For each prefix of a length in use: the first value that lies in it. */
  readonly #inside = new Map<string, T>();

  /** `lengths`: of all prefixes that will be added or asked for. */
  constructor(lengths: PrefixLengths) {
    this.#lengths = lengths;
  }

  /** The first value of a prefix stays. */
  add(prefix: Prefix, value: T): void {
    const key = prefix.toString();
    if (!this.#exact.has(key)) this.#exact.set(key, value);
    for (const around of this.#upTo(prefix)) if (!this.#inside.has(around)) this.#inside.set(around, value);
  }

  get(prefix: Prefix): T | undefined {
    return this.#exact.get(prefix.toString());
  }

  /** The values of `prefix` itself and of all that contain it, the widest first. */
  *around(prefix: Prefix): Generator<T> {
    for (const key of this.#upTo(prefix)) {
      const value = this.#exact.get(key);
      if (value !== undefined) yield value;
    }
  }

  /** A value whose prefix overlaps `prefix`: inside it, equal, or around it. */
  overlapping(prefix: Prefix): T | undefined {
    return this.#inside.get(prefix.toString()) ?? this.around(prefix).next().value ?? undefined;
  }

  #upTo(prefix: Prefix): string[] {
    const lengths = this.#lengths.filter((length) => length <= prefix.length);
    return lengths.map((length) => new Prefix(prefix.address, length).toString());
  }
}

export interface FlowPair {
  readonly local: Prefix;
  readonly remote: Prefix;
}

/** Each pair that overlaps one with a remote as wide or wider, together with one that it overlaps. */
export function overlappingPairs<P extends FlowPair>(pairs: readonly P[]): readonly (readonly [P, P])[] {
  const localLengths = lengthsOf(pairs.map((pair) => pair.local));
  const byRemote = new PrefixIndex<PrefixIndex<P>>(lengthsOf(pairs.map((pair) => pair.remote)));
  const found: [P, P][] = [];
  // Widest remote first: one that was seen is around the next, or has nothing to do with it.
  for (const pair of [...pairs].sort((a, b) => a.remote.length - b.remote.length)) {
    for (const index of byRemote.around(pair.remote)) {
      const other = index.overlapping(pair.local);
      if (other !== undefined) found.push([other, pair]);
    }
    let index = byRemote.get(pair.remote);
    if (index === undefined) {
      index = new PrefixIndex<P>(localLengths);
      byRemote.add(pair.remote, index);
    }
    index.add(pair.local, pair);
  }
  return found;
}
