import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { StartPacer } from "../../../src/gateway/start-pacer.ts";

const limits = { total: 5, perAddress: 2, holdMs: 1000, maxHoldMs: 8000 };
const a = (n: number) => ({ name: `a${n}`, address: "192.0.2.1" });
type Tunnel = ReturnType<typeof a>;

describe("paced starts", () => {
  it("let so many pass per address and in all, and addresses take turns", () => {
    const { add, passed } = pacer();
    for (let i = 0; i < 4; i++) add(a(i));
    for (let n = 2; n < 6; n++) add({ name: `b${n}`, address: `192.0.2.${n}` });
    expect(passed(0)).toEqual(["a0", "b2", "b3", "b4", "b5"]);
    expect(passed(999)).toEqual([]);
  });

  it("give a place to the next one when an attempt is settled, or after a second", () => {
    const { starts, add, passed } = pacer();
    const tunnels = [0, 1, 2, 3].map(a);
    for (const tunnel of tunnels) add(tunnel);
    expect([passed(0), starts.deadline]).toEqual([["a0", "a1"], 1000]);
    starts.drop(tunnels[1]!);
    expect(passed(500)).toEqual(["a2"]);
    expect([passed(1000), starts.deadline]).toEqual([["a3"], undefined]);
  });

  it("wait longer and longer for a peer that is slow, until it is faster again; others do not wait for it", () => {
    const { starts, add, passed } = pacer();
    const tunnels = Array.from({ length: 40 }, (_, i) => a(i));
    for (const tunnel of tunnels) add(tunnel);
    const times = [0, 1000, 2000, 3000, 5000, 7000, 11_000, 15_000, 23_000, 31_000];
    expect(times.map((now) => passed(now).length)).toEqual([2, 2, 0, 2, 0, 2, 0, 2, 2, 2]);
    for (let n = 2; n < 6; n++) add({ name: `b${n}`, address: `192.0.2.${n}` });
    expect(passed(32_000)).toEqual(["b2", "b3", "b4", "b5"]);
    // Each that is settled in time halves it, until a second is enough again.
    for (const i of [12, 13]) starts.drop(tunnels[i]!);
    expect(passed(32_000)).toEqual(["a14"]);
    expect(passed(33_000)).toEqual(["a15"]);
    starts.drop(tunnels[15]!);
    expect(passed(33_000)).toEqual(["a16"]);
    expect(passed(34_000)).toEqual(["a17", "a18"]);
  });

  it("pass over those that wait no longer", () => {
    const { starts, add, passed } = pacer();
    const tunnels = [0, 1, 2, 3].map(a);
    for (const tunnel of tunnels) add(tunnel);
    expect(passed(0)).toEqual(["a0", "a1"]);
    starts.drop(tunnels[2]!);
    expect(passed(1000)).toEqual(["a3"]);
    expect(starts.deadline).toBeUndefined();
  });

  it("take one that asks again once, at its latest address", () => {
    const { starts, add, passed } = pacer();
    const tunnel = a(0);
    add(tunnel);
    expect(passed(0)).toEqual(["a0"]);
    add(tunnel);
    starts.add(tunnel, IpAddress.parse("192.0.2.9"));
    expect(starts.next(0)?.remote.toString()).toBe("192.0.2.9");
    expect([passed(5000), starts.deadline]).toEqual([[], undefined]);
  });

  it("get ten thousand of one address through, whoever answers", () => {
    const { add, starts, passed } = pacer();
    const tunnels = Array.from({ length: 10_000 }, (_, i) => a(i));
    for (const tunnel of tunnels) add(tunnel);
    const started = new Set<string>();
    for (let now = 0; starts.deadline !== undefined || now === 0; now += 1000)
      for (const name of passed(now)) started.add(name);
    expect(started.size).toBe(10_000);
  });
});

function pacer() {
  const starts = new StartPacer<Tunnel>(limits);
  return {
    starts,
    add: (tunnel: Tunnel) => starts.add(tunnel, IpAddress.parse(tunnel.address)),
    passed: (now: number) => {
      const names: string[] = [];
      for (let t = starts.next(now); t; t = starts.next(now)) names.push(t.item.name);
      return names;
    },
  };
}
