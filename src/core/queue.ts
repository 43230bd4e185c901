/** First in, first out, at a constant cost per element: an array's own `shift` moves all that is left. */
export class Queue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  #tail = 0;

  get size(): number {
    return this.#tail - this.#head;
  }

  push(item: T): void {
    this.#items[this.#tail++] = item;
  }

  shift(): T | undefined {
    if (this.#head === this.#tail) return undefined;
    const item = this.#items[this.#head];
    // What was handed out must not be kept from the garbage collector.
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#tail) {
      // It fills and empties all the time: the array is kept, unless a burst has made it long.
      if (this.#items.length > compactAt) this.#items = [];
      this.#head = 0;
      this.#tail = 0;
    } else if (this.#head >= compactAt && 2 * this.#head >= this.#tail) {
      this.#items = this.#items.slice(this.#head, this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    return item;
  }
}

const compactAt = 1024;
