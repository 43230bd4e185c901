/**
 * What may be concluded from time that passed. When our own loop comes late, nobody has repeated the request and the
 * answer may wait unread: such time is no silence of the peer. An overloaded gateway that took it for that would end
 * tunnels that are well, start them anew, and have still more to do.
 */
import type { Instant } from "../../core/time.ts";

/** What a request that waits for its answer knows of its own time. */
export interface Patience {
  nextAt: Instant;
  delayMs: number;
  giveUpAt: Instant;
  /** How often time was taken back. */
  excused?: number;
}

/**
 * Takes time back in which we did not run: at `now`, what was due long ago leaves as much patience as there was then,
 * and at least the full delay of one more repetition, which is due at once. True when it did.
 */
export function excuseLateness(wait: Patience, now: Instant): boolean {
  const dueAt = Math.min(wait.nextAt, wait.giveUpAt);
  if (now - dueAt < lateMs) return false;
  const excused = wait.excused ?? 0;
  if (excused >= maxExcuses) return false;
  wait.excused = excused + 1;
  wait.giveUpAt = now + Math.max(wait.giveUpAt - dueAt, wait.delayMs);
  wait.nextAt = now;
  return true;
}

/**
 * Moments for questions that many want to ask at once: spread over time, so that ten thousand peers are not asked in
 * one breath, whose answers would find no room. They stay spread, because an answer sets the time of the next question.
 */
export class AskPacer {
  /** The first moment that is not taken, if it were not for `burst`. */
  #nextAt: Instant = Number.NEGATIVE_INFINITY;

  /** When to ask: now for the first few, and later for others. */
  take(now: Instant): Instant {
    const at = Math.max(this.#nextAt, now - burst * askEveryMs);
    this.#nextAt = at + askEveryMs;
    // In groups, each of which costs one turn of the loop.
    return at <= now ? now : Math.ceil(at / groupMs) * groupMs;
  }
}

/** A loop that runs is never so late; timers are exact to a few milliseconds. */
const lateMs = 1_000;
/** A loop that is late again and again must not keep a dead peer for ever. */
const maxExcuses = 5;
/** Two thousand questions a second: ten thousand peers, asked every ten seconds, need half of them. */
const askEveryMs = 0.5;
const burst = 64;
const groupMs = 10;
