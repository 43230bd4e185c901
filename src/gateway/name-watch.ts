/**
 * Peers that are known by a DNS name may move while a tunnel stands. Their names are asked for again about every minute;
 * when the answer no longer holds the address that a tunnel talks to, the peer is asked whether it still lives there
 * (RFC 7296 §2.4). If it does, nothing changes; if not, the tunnel starts anew, at the new address.
 */

import { jittered, type Random } from "../core/random.ts";
import type { Instant } from "../core/time.ts";
import { Deadlines } from "../ike/common/deadlines.ts";

/** The host's resolver tells no TTL. A minute is what those who move their addresses set. */
const everyMs = 60_000;

export class NameWatch {
  readonly #random: Random;
  /** How many tunnels that stand have the name. */
  readonly #users = new Map<string, number>();
  readonly #next = new Deadlines<string>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** A tunnel whose peer has this name, which was resolved just now, stands. */
  use(now: Instant, name: string): void {
    const users = this.#users.get(name) ?? 0;
    this.#users.set(name, users + 1);
    if (users === 0) this.#schedule(now, name);
  }

  /** It stands no more. */
  release(name: string): void {
    const users = this.#users.get(name)! - 1;
    if (users > 0) {
      this.#users.set(name, users);
      return;
    }
    this.#users.delete(name);
    this.#next.set(name, undefined);
  }

  get deadline(): Instant | undefined {
    return this.#next.next();
  }

  /** The names to resolve now; each has a new time afterwards. */
  takeDue(now: Instant): string[] {
    const due = this.#next.takeDue(now);
    for (const name of due) this.#schedule(now, name);
    return due;
  }

  #schedule(now: Instant, name: string): void {
    this.#next.set(name, now + Math.round(jittered(this.#random, everyMs, 0.1)));
  }
}
