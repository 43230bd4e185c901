/**
 * The last log records, kept for `culvert log`: a bounded ring of JSON lines, and whoever follows them.
 * Thread: JavaScript's.
 */
export class LogRing {
  readonly #lines: Line[] = [];
  readonly #capacity: number;
  readonly #followers = new Set<(line: string) => void>();
  #next = 0;

  /** `capacity`: how many records are kept, at least 1. */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) throw new RangeError(`capacity ${capacity} is below 1`);
    this.#capacity = capacity;
  }

  /**
   * `line`: one JSON object without a line end, or what makes it when somebody reads it: most records nobody ever does.
   * Longer lines than `maxLineBytes` are replaced by a note.
   */
  push(line: Line): void {
    const kept = typeof line === "string" ? bounded(line) : line;
    if (this.#lines.length < this.#capacity) this.#lines.push(kept);
    else this.#lines[this.#next] = kept;
    this.#next = (this.#next + 1) % this.#capacity;
    if (this.#followers.size === 0) return;
    const text = finished(kept);
    for (const follow of this.#followers) follow(text);
  }

  /** The newest `count` records, oldest first. */
  recent(count: number): string[] {
    const ordered =
      this.#lines.length < this.#capacity
        ? this.#lines.slice()
        : [...this.#lines.slice(this.#next), ...this.#lines.slice(0, this.#next)];
    return count <= 0 ? [] : ordered.slice(-count).map(finished);
  }

  /** Calls `follow` with every record from now on, until the returned function is called. */
  follow(follow: (line: string) => void): () => void {
    this.#followers.add(follow);
    return () => this.#followers.delete(follow);
  }
}

type Line = string | (() => string);

const finished = (line: Line): string => (typeof line === "string" ? line : bounded(line()));

function bounded(line: string): string {
  if (line.length <= maxLineBytes) return line;
  return JSON.stringify({ level: "warn", msg: "log record too long to keep", characters: line.length });
}

/** A record is a few hundred bytes; this bounds the ring to a few megabytes whatever is logged. */
const maxLineBytes = 8192;
