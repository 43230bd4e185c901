import { describe, expect, it } from "vitest";
import { Shell } from "../../../src/daemon/shell.ts";
import type { GatewayOutput } from "../../../src/gateway/contract.ts";
import { FakeClock, FakeMachine } from "./fakes.ts";

const debug = (message: string): GatewayOutput => ({ kind: "log", level: "debug", message, fields: {} });

function open(perform: (output: GatewayOutput, shell: Shell) => void = () => {}) {
  const machine = new FakeMachine();
  const clock = new FakeClock();
  const errors: string[] = [];
  const shell: Shell = new Shell({
    machine,
    clock,
    perform: (output) => perform(output, shell),
    onError: (error, during) => errors.push(`${during}: ${(error as Error).message}`),
  });
  return { machine, clock, errors, shell };
}

describe("shell: mutate once, drain, arm, wait", () => {
  it("performs every output of an input before the next input is handled", () => {
    const order: string[] = [];
    const { machine, shell } = open((output) => {
      if (output.kind === "log") order.push(output.message);
    });
    machine.onInput = (input) => {
      order.push(input.kind);
      machine.emit(debug(`${input.kind} 1`), debug(`${input.kind} 2`));
    };
    shell.feed({ kind: "start" });
    shell.feed({ kind: "shutdown" });
    expect(order).toEqual(["start", "start 1", "start 2", "shutdown", "shutdown 1", "shutdown 2"]);
  });

  it("queues an input that performing an output causes behind the drain", () => {
    const order: string[] = [];
    const { machine, shell } = open((output, self) => {
      if (output.kind === "resolve") self.feed({ kind: "resolved", name: output.name, addresses: [] });
      if (output.kind === "log") order.push(output.message);
    });
    machine.onInput = (input) => {
      order.push(input.kind);
      if (input.kind === "start") machine.emit({ kind: "resolve", name: "a.example" }, debug("after"));
    };
    shell.feed({ kind: "start" });
    expect(order).toEqual(["start", "after", "resolved"]);
  });

  it("arms the machine's deadline, and nothing when there is none", () => {
    const { machine, clock, shell } = open();
    shell.feed({ kind: "start" });
    expect(clock.armed).toBeUndefined();
    machine.deadline = 1500;
    shell.feed({ kind: "start" });
    expect(clock.armed?.at).toBe(1500);
    machine.deadline = 1200;
    shell.feed({ kind: "start" });
    expect(clock.armed?.at).toBe(1200);
  });

  it("leaves a timer that fires a little early, and replaces one that fires a second too early", () => {
    const { machine, clock, shell } = open();
    for (const [deadline, at] of [
      [1500, 1500],
      [2499, 1500],
      [2500, 2500],
    ] as const) {
      machine.deadline = deadline;
      shell.feed({ kind: "start" });
      expect(clock.armed?.at).toBe(at);
    }
    clock.fire();
    machine.deadline = 2600;
    shell.feed({ kind: "start" });
    expect([clock.armed?.at, machine.timeouts]).toEqual([2600, [2500]]);
  });

  it("fires the timeout at the deadline and arms the next one", () => {
    const { machine, clock, shell } = open();
    machine.deadline = 1500;
    machine.onTimeout = () => {
      machine.deadline = 4000;
    };
    shell.feed({ kind: "start" });
    clock.fire();
    expect(machine.timeouts).toEqual([1500]);
    expect(clock.armed?.at).toBe(4000);
  });

  it("takes a deadline that has passed as due now", () => {
    const { machine, clock, shell } = open();
    machine.deadline = 1;
    shell.feed({ kind: "start" });
    expect(clock.armed?.at).toBe(clock.time);
  });

  it("splits a deadline that is further away than a timer reaches", () => {
    const { machine, clock, shell } = open();
    machine.deadline = 2 ** 40;
    shell.feed({ kind: "start" });
    expect(clock.armed!.at - clock.time).toBe(2 ** 31 - 1);
  });

  it("reports a throwing machine, performs what it had put out, and goes on", () => {
    const performed: string[] = [];
    const { machine, errors, shell } = open((output) => performed.push(output.kind));
    machine.onInput = (input) => {
      machine.emit(debug("x"));
      if (input.kind === "start") throw new Error("bug");
    };
    shell.feed({ kind: "start" });
    shell.feed({ kind: "shutdown" });
    expect(errors).toEqual(["start: bug"]);
    expect(performed).toEqual(["log", "log"]);
  });

  it("reports a throwing output and performs the next one", () => {
    const performed: string[] = [];
    const { machine, errors, shell } = open((output) => {
      if (output.kind === "resolve") throw new Error("no resolver");
      performed.push(output.kind);
    });
    machine.onInput = () => machine.emit({ kind: "resolve", name: "a" }, debug("x"));
    shell.feed({ kind: "start" });
    expect(errors).toEqual(["resolve: no resolver"]);
    expect(performed).toEqual(["log"]);
  });

  it("does not spin when the timeout throws and stays due", () => {
    const { machine, clock, errors, shell } = open();
    machine.deadline = 1500;
    machine.onTimeout = () => {
      throw new Error("bug");
    };
    shell.feed({ kind: "start" });
    clock.fire();
    expect(errors).toEqual(["timeout: bug"]);
    expect(clock.armed?.at).toBe(2500);
    machine.onTimeout = () => {
      machine.deadline = 2600;
    };
    clock.fire();
    expect(clock.armed?.at).toBe(2600);
  });

  it("does nothing after close", () => {
    const { machine, clock, shell } = open();
    machine.deadline = 1500;
    shell.feed({ kind: "start" });
    shell.close();
    expect(clock.armed).toBeUndefined();
    shell.feed({ kind: "shutdown" });
    expect(machine.inputs).toEqual([{ kind: "start" }]);
  });
});
