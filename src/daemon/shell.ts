/**
 * The I/O shell's loop around a sans-I/O machine, by the one rule: mutate once, drain `pollOutput` to empty, arm
 * `pollTimeout`, wait. Everything that happens in the daemon reaches the machine through `feed`, in arrival order.
 *
 * Performing an output may feed again (a data plane that refuses an SA): such inputs queue behind the drain.
 * Thread: JavaScript's.
 */
import type { Instant } from "../core/time.ts";
import type { GatewayInput, GatewayMachine, GatewayOutput } from "../gateway/contract.ts";

export interface Clock {
  /** Monotonic milliseconds. */
  now(): Instant;
  /** Calls `callback` once, no earlier than after `delayMs`; the returned function forgets it. */
  arm(delayMs: number, callback: () => void): () => void;
}

export interface ShellOptions {
  readonly machine: GatewayMachine;
  readonly clock: Clock;
  /** Performs one output. What it throws is reported, and the next output is performed. */
  readonly perform: (output: GatewayOutput) => void;
  /** A throw out of the machine or `perform`: a bug of ours, never the end of the other tunnels. */
  readonly onError: (error: unknown, during: string) => void;
}

export class Shell {
  readonly #machine: GatewayMachine;
  readonly #clock: Clock;
  readonly #perform: (output: GatewayOutput) => void;
  readonly #onError: (error: unknown, during: string) => void;
  readonly #queue: GatewayInput[] = [];
  #turning = false;
  /** The timer that runs, and what it was armed for. */
  #timer: { readonly at: Instant; readonly disarm: () => void } | undefined;
  /** No timeout before this: set when a timeout threw, so that a bug cannot spin the CPU. */
  #notBefore: Instant = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: ShellOptions) {
    this.#machine = options.machine;
    this.#clock = options.clock;
    this.#perform = options.perform;
    this.#onError = options.onError;
  }

  /** Gives the machine one input and carries out everything that follows from it. */
  feed(input: GatewayInput): void {
    if (this.#closed) return;
    this.#queue.push(input);
    this.#turn();
  }

  /** Stops the timer; inputs from now on are ignored. */
  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    this.#disarm();
  }

  #turn(): void {
    if (this.#turning) return;
    this.#turning = true;
    try {
      for (let input = this.#queue.shift(); input !== undefined; input = this.#queue.shift()) {
        this.#mutate(input.kind, (now) => this.#machine.handle(now, input!));
      }
    } finally {
      this.#turning = false;
    }
    this.#arm();
  }

  #onTimeout(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    this.#turning = true;
    try {
      const fine = this.#mutate("timeout", (now) => this.#machine.handleTimeout(now));
      this.#notBefore = fine ? Number.NEGATIVE_INFINITY : this.#clock.now() + backoffMs;
    } finally {
      this.#turning = false;
    }
    this.#turn();
  }

  /** One mutation and its drain; false when the machine threw. */
  #mutate(during: string, mutation: (now: Instant) => void): boolean {
    let fine = true;
    try {
      mutation(this.#clock.now());
    } catch (error) {
      fine = false;
      this.#onError(error, during);
    }
    for (let output = this.#machine.pollOutput(); output !== undefined; output = this.#machine.pollOutput()) {
      try {
        this.#perform(output);
      } catch (error) {
        this.#onError(error, output.kind);
      }
    }
    return fine;
  }

  /**
   * A timer that fires a little early stays: the machine finds nothing due, and that costs less than a new timer for
   * every message. One that would fire a second too early does not: a daemon with nothing to do sleeps.
   */
  #arm(): void {
    if (this.#closed) return;
    const deadline = this.#machine.pollTimeout();
    if (deadline === undefined) {
      this.#disarm();
      return;
    }
    const at = Math.max(deadline, this.#notBefore);
    if (this.#timer && this.#timer.at <= at && at - this.#timer.at < earlyMs) return;
    this.#disarm();
    const delayMs = Math.min(Math.max(at - this.#clock.now(), 0), maxTimerMs);
    this.#timer = { at, disarm: this.#clock.arm(delayMs, () => this.#onTimeout()) };
  }

  #disarm(): void {
    this.#timer?.disarm();
    this.#timer = undefined;
  }
}

const earlyMs = 1000;
const backoffMs = 1000;
/** setTimeout takes 31 bits; waking early is harmless, the machine finds nothing due. */
const maxTimerMs = 2 ** 31 - 1;
