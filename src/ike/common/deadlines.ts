import type { Instant } from "../../core/time.ts";

/**
 * The next deadline of many owners: a binary heap. A moved or removed deadline leaves its old entry behind, which is
 * recognised and dropped when it comes to the top, so `set` and `delete` need no search.
 */
export class Deadlines<Owner> {
  readonly #current = new Map<Owner, Instant>();
  #heap: { readonly at: Instant; readonly owner: Owner }[] = [];

  /** Sets, moves or (with undefined) removes the deadline of `owner`. */
  set(owner: Owner, at: Instant | undefined): void {
    if (at === undefined) {
      this.#current.delete(owner);
      return;
    }
    if (this.#current.get(owner) === at) return;
    this.#current.set(owner, at);
    this.#push({ at, owner });
    // Stale entries must not outgrow live ones: the heap stays bounded by what it serves.
    if (this.#heap.length > 64 && this.#heap.length > 4 * this.#current.size) this.#rebuild();
  }

  /** Entries, live and stale. */
  get size(): number {
    return this.#heap.length;
  }

  /** The earliest deadline. */
  next(): Instant | undefined {
    return this.#top()?.at;
  }

  /** Takes the owners whose deadlines are `now` or earlier, each once: their deadlines are gone until set again. */
  takeDue(now: Instant): Owner[] {
    const due: Owner[] = [];
    for (let top = this.#top(); top && top.at <= now; top = this.#top()) {
      this.#pop();
      this.#current.delete(top.owner);
      due.push(top.owner);
    }
    return due;
  }

  /** The earliest entry that is not stale. */
  #top(): { readonly at: Instant; readonly owner: Owner } | undefined {
    for (let top = this.#heap[0]; top && this.#current.get(top.owner) !== top.at; top = this.#heap[0])
      this.#pop();
    return this.#heap[0];
  }

  #rebuild(): void {
    this.#heap = [];
    for (const [owner, at] of this.#current) this.#push({ at, owner });
  }

  #push(entry: { readonly at: Instant; readonly owner: Owner }): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent]!.at <= entry.at) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
      if (heap[child]!.at >= last.at) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}
