import type { Clock } from "./shell.ts";

/** CLOCK_MONOTONIC at the process's start, which is where `performance.now` begins. */
const originMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** CLOCK_MONOTONIC, as the data plane reads it, so that both planes' times compare. */
export const systemClock: Clock = {
  now: () => originMs + performance.now(),
  arm(delayMs, callback) {
    let immediate: NodeJS.Immediate | undefined;
    // A loop that comes late runs its timers before it reads what has arrived. The answers that wait there come first,
    // or a gateway that is overloaded would take its own lateness for the silence of its peers.
    const timer = setTimeout(() => {
      immediate = setImmediate(callback);
    }, Math.ceil(delayMs));
    return () => {
      clearTimeout(timer);
      clearImmediate(immediate);
    };
  },
};
