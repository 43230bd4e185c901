/**
 * Diffie-Hellman key pairs made ahead of time, while nothing else is to be done: a handshake then starts without
 * waiting for a large group's exponentiation. Each pair is given out once.
 */
export interface Wipeable {
  /** Forgets the private key. */
  wipe(): void;
}

export interface KeyPoolOptions<K extends Wipeable> {
  readonly generate: (group: number) => K;
  /** The groups to keep pairs of: those that the configuration offers. */
  readonly groups: readonly number[];
  /** Pairs kept per group, at least 1. */
  readonly size: number;
  /** Runs `work` when the event loop has nothing else to do soon. */
  readonly whenIdle: (work: () => void) => void;
}

export class KeyPool<K extends Wipeable> {
  readonly #options: KeyPoolOptions<K>;
  readonly #pairs = new Map<number, K[]>();
  #filling = false;
  #closed = false;

  constructor(options: KeyPoolOptions<K>) {
    this.#options = options;
    for (const group of options.groups) this.#pairs.set(group, []);
    this.#fill();
  }

  /** A fresh pair: a kept one, or one made now. */
  take(group: number): K {
    const pair = this.#pairs.get(group)?.pop();
    this.#fill();
    return pair ?? this.#options.generate(group);
  }

  close(): void {
    this.#closed = true;
    for (const pairs of this.#pairs.values()) for (const pair of pairs.splice(0)) pair.wipe();
  }

  /** One pair per idle turn, so that no turn takes longer than one exponentiation. */
  #fill(): void {
    if (this.#filling || this.#closed || this.#lowest() === undefined) return;
    this.#filling = true;
    this.#options.whenIdle(() => {
      this.#filling = false;
      const group = this.#lowest();
      if (this.#closed || group === undefined) return;
      this.#pairs.get(group)!.push(this.#options.generate(group));
      this.#fill();
    });
  }

  /** The group with the fewest pairs that is not full. */
  #lowest(): number | undefined {
    const wanting = [...this.#pairs].filter(([, pairs]) => pairs.length < this.#options.size);
    return wanting.sort(([, a], [, b]) => a.length - b.length)[0]?.[0];
  }
}
