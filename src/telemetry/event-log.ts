/** The event stream's memory: the last events, with a number and a time, and who follows them. */
import type { GatewayEvent } from "../gateway/gateway-events.ts";
import { LogRing } from "./log-ring.ts";

export class EventLog {
  readonly ring = new LogRing(keptEvents);
  readonly #clock: () => Date;
  #seq = 0;

  /** `clock`: the time of day, for the records. */
  constructor(clock: () => Date) {
    this.#clock = clock;
  }

  push(event: GatewayEvent): void {
    const [time, seq] = [this.#clock(), ++this.#seq];
    this.ring.push(() => JSON.stringify({ time: time.toISOString(), seq, ...event }));
  }
}

const keptEvents = 1000;
