/** Milliseconds on a monotonic clock chosen by the caller. Pure folders only add to it and compare it. */
export type Instant = number;

/** The earlier of two optional deadlines. */
export function earlier(a: Instant | undefined, b: Instant | undefined): Instant | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return Math.min(a, b);
}
