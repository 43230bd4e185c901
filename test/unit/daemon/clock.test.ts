import { MessageChannel } from "node:worker_threads";
import { expect, it } from "vitest";
import { systemClock } from "../../../src/daemon/clock.ts";

/** Holds the loop up until `delayMs` have passed, as a gateway that is overloaded does. */
function beLate(delayMs: number): void {
  const until = systemClock.now() + delayMs;
  while (systemClock.now() < until);
}

it("a timer that is late comes after what has arrived meanwhile", async () => {
  const { port1, port2 } = new MessageChannel();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    port1.on("message", () => order.push("message"));
    // From within a turn of the loop, as everything in the daemon happens.
    setImmediate(() => {
      systemClock.arm(1, () => {
        order.push("timer");
        resolve();
      });
      port2.postMessage("");
      beLate(5);
    });
  });
  port1.close();
  expect(order).toEqual(["message", "timer"]);
});

it("a timer that is disarmed does not come, not even when it was due", async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    const disarm = systemClock.arm(1, () => order.push("disarmed"));
    // Runs between the timer and what it leads to.
    setTimeout(disarm, 1);
    beLate(5);
    systemClock.arm(10, resolve);
  });
  expect(order).toEqual([]);
});
