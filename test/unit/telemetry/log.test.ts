import { describe, expect, it } from "vitest";
import { Secret } from "../../../src/core/secret.ts";
import { createLog, type LogLevel } from "../../../src/telemetry/log.ts";
import { LogRing } from "../../../src/telemetry/log-ring.ts";

describe("log", () => {
  function open(level: LogLevel) {
    const lines: string[] = [];
    const log = createLog(level, { write: (line) => lines.push(line), flush: () => {} });
    return { log, records: () => lines.map((line) => JSON.parse(line)) };
  }

  it("writes one JSON object of fields per record, and keeps the same in the ring", () => {
    const { log, records } = open("info");
    log.write("info", "SA up", { connection: "hq", spi: 7 });
    expect(records()).toEqual([
      { level: "info", time: expect.stringMatching(/^\d{4}-.*Z$/), connection: "hq", spi: 7, msg: "SA up" },
    ]);
    expect(log.ring.recent(10).map((line) => JSON.parse(line))).toEqual(records());
  });

  it("leaves out what is below its level, in the ring, too", () => {
    const { log, records } = open("warn");
    log.write("info", "quiet");
    log.write("error", "loud");
    expect(records().map((record) => record.msg)).toEqual(["loud"]);
    expect(log.ring.recent(10)).toHaveLength(1);
  });

  it("never prints a secret", () => {
    const { log, records } = open("debug");
    log.write("error", "oops", {
      psk: Secret.fromText("hunter2"),
      nested: { psk: Secret.fromText("hunter2") },
    });
    expect(JSON.stringify(records())).not.toContain("hunter2");
    expect(records()[0].psk).toBe("[secret]");
  });

  it("writes an error with its message and stack", () => {
    const { log, records } = open("debug");
    log.write("error", "oops", { err: new RangeError("too far") });
    expect(records()[0].err).toMatchObject({ type: "RangeError", message: "too far" });
  });
});

describe("log ring", () => {
  it("keeps the newest records, oldest first", () => {
    const ring = new LogRing(3);
    for (const line of ["1", "2", "3", "4", "5"]) ring.push(line);
    expect(ring.recent(10)).toEqual(["3", "4", "5"]);
    expect(ring.recent(2)).toEqual(["4", "5"]);
    expect(ring.recent(0)).toEqual([]);
  });

  it("gives a follower every later record until it unfollows", () => {
    const ring = new LogRing(3);
    const seen: string[] = [];
    ring.push("before");
    const unfollow = ring.follow((line) => seen.push(line));
    ring.push("during");
    unfollow();
    ring.push("after");
    expect(seen).toEqual(["during"]);
  });

  it("does not keep a record that is too long to be one", () => {
    const ring = new LogRing(3);
    ring.push(JSON.stringify({ msg: "x".repeat(100_000) }));
    expect(ring.recent(1)[0]!.length).toBeLessThan(200);
  });

  it("refuses a capacity below 1", () => {
    expect(() => new LogRing(0)).toThrow(RangeError);
  });
});
