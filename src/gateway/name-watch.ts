/**
 * Peers that are known by a DNS name may move while a tunnel stands. Their names are asked for again about every minute;
 * when the answer no longer holds the address that a tunnel talks to, the peer is asked whether it still lives there
 * (RFC 7296 §2.4). If it does, nothing changes; if not, the tunnel starts anew, at the new address.
 */
import { jittered, type Random } from "../core/random.ts";
import { earlier, type Instant } from "../core/time.ts";

/** The host's resolver tells no TTL. A minute is what those who move their addresses set. */
const everyMs = 60_000;

export class NameWatch {
  readonly #random: Random;
  readonly #next = new Map<string, Instant>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** `names`: those of the tunnels that stand. A new one was resolved just now. */
  watch(now: Instant, names: ReadonlySet<string>): void {
    for (const name of this.#next.keys()) if (!names.has(name)) this.#next.delete(name);
    for (const name of names) if (!this.#next.has(name)) this.#schedule(now, name);
  }

  get deadline(): Instant | undefined {
    let at: Instant | undefined;
    for (const next of this.#next.values()) at = earlier(at, next);
    return at;
  }

  /** The names to resolve now; each has a new time afterwards. */
  takeDue(now: Instant): string[] {
    const due = [...this.#next].filter(([, at]) => at <= now).map(([name]) => name);
    for (const name of due) this.#schedule(now, name);
    return due;
  }

  #schedule(now: Instant, name: string): void {
    this.#next.set(name, now + Math.round(jittered(this.#random, everyMs, 0.1)));
  }
}
