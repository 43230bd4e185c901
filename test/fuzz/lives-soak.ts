/** Long lives: `npm run soak -- --lives 100000`, or a share of the time of `npm run soak`. */
import { type LifeReport, live } from "../sim/life.ts";

/** Lives from `seed` upward for `seconds`, of both versions in turns; throws on the first finding, with its seed. */
export function run(seconds: number, seed: number): void {
  const end = Date.now() + seconds * 1000;
  const totals = new Totals();
  for (let round = seed; Date.now() < end; round++) {
    const version = round % 2 === 0 ? "ikev2" : "ikev1";
    try {
      totals.add(live(round, undefined, version));
    } catch (error) {
      throw new Error(`${replay(round, version)}: ${messageOf(error)}`, { cause: error });
    }
  }
  console.log(`${totals}`);
}

/** The seeds from `first` to below `end`, every `step`-th; reports on the way. Returns an exit code. */
export function runLives(first: number, end: number, step: number, trace: number, ikev1: number): number {
  const version = ikev1 ? "ikev1" : "ikev2";
  const totals = new Totals();
  let failed = 0;
  let reportAt = Date.now() + reportMs;
  for (let seed = first; seed < end && failed < mostFailures; seed += step) {
    try {
      totals.add(live(seed, trace ? (line) => console.log(line) : undefined, version));
    } catch (error) {
      failed++;
      console.log(`FAILED, see it with ${replay(seed, version)}: ${messageOf(error)}`);
    }
    if (Date.now() < reportAt) continue;
    reportAt = Date.now() + reportMs;
    console.log(`${Math.floor((100 * (seed - first)) / (end - first))} %: ${totals}`);
  }
  console.log(`${totals}, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

class Totals {
  readonly #since = Date.now();
  #lives = 0;
  #calm = 0;
  #children = 0;
  #ikeSas = 0;
  #steps = 0;
  #packets = 0;
  #interruptions = 0;
  #slowestMs = 0;

  add({ choices, children, ikeSas, steps, packets, interruptions, convergedMs }: LifeReport): void {
    this.#lives++;
    if (choices.calm) this.#calm++;
    this.#children += children;
    this.#ikeSas += ikeSas;
    this.#steps += steps;
    this.#packets += packets;
    this.#interruptions += interruptions;
    this.#slowestMs = Math.max(this.#slowestMs, convergedMs);
  }

  toString(): string {
    const each = ((Date.now() - this.#since) / Math.max(1, this.#lives)).toFixed(1);
    return (
      `${this.#lives} lives (${each} ms each), ${this.#children} CHILD_SAs and ${this.#ikeSas} IKE SAs rekeyed, ` +
      `${this.#steps} steps, ${this.#packets} packets; ` +
      `0 interruptions in ${this.#calm} calm lives, ${this.#interruptions} in ${this.#lives - this.#calm} rough ones; ` +
      `agreed within ${(this.#slowestMs / 1000).toFixed(1)} s`
    );
  }
}

const reportMs = 10_000;
const mostFailures = 20;
const replay = (seed: number, version: string): string =>
  `npm run soak -- --seed ${seed} --lives 1 --trace${version === "ikev1" ? " --ikev1" : ""}`;
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : `${error}`);
