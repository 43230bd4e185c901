import type { Clock } from "./shell.ts";

/** CLOCK_MONOTONIC, as the data plane reads it, so that both planes' times compare. */
export const systemClock: Clock = {
  now: () => Number(process.hrtime.bigint() / 1000n) / 1000,
  arm(delayMs, callback) {
    const timer = setTimeout(callback, Math.ceil(delayMs));
    return () => clearTimeout(timer);
  },
};
