import { describe, expect, it } from "vitest";
import { ikev1, modes } from "./ikev1.ts";
import { impair } from "./network.ts";
import { endpoint, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectUp, twoSites } from "./two-sites.ts";

type Mode = (typeof modes)[number];

/** `count` first messages that look like A's, each with an SPI of its own, and what B sent in answer to each. */
function flood(mode: Mode, count: number, sourceOf: (i: number) => string, limits = {}) {
  const sites = twoSites({ both: ikev1(mode), b: { peers: ["any"] }, sim: { limits } });
  const { sim, a, b } = sites;
  let template: Uint8Array | undefined;
  const answers: number[] = [];
  sim.network.observe = ({ from, datagram }) => {
    if (from === "A") template ??= Uint8Array.from(datagram);
    else if (from === "B") answers.push(datagram.length);
  };
  const silence = impair.blackout();
  sim.network.faults.push(silence);
  sim.start(a);
  sim.network.faults.length = 0;
  sim.command(a, "down");
  sim.run(1_000);
  sim.start(b);
  const first = template!;
  for (let i = 0; i < count; i++) {
    const copy = Uint8Array.from(first);
    new DataView(copy.buffer).setBigUint64(0, 0x1234_0000_0000_0000n + BigInt(i));
    sim.deliver(endpoint(sourceOf(i), 500), endpoint(addressB, 500), copy);
  }
  return { ...sites, first, answers };
}

const scattered = (i: number) => `203.0.${i >> 8}.${i & 255}`;
const halfOpen = { halfOpenTotal: 40, halfOpenPerAddress: 8, cookieThreshold: 20 };

describe.each(modes)("first messages of IKEv1 from everywhere, in %s mode", (mode) => {
  it("make us keep no more than the limits say, and a peer gets in all the same when they stop", () => {
    const sites = flood(mode, 500, scattered, halfOpen);
    const { sim, a, b } = sites;
    // Aggressive mode costs a key exchange at once: it stops where IKEv2 would ask for cookies.
    const most = mode === "main" ? halfOpen.halfOpenTotal : halfOpen.cookieThreshold;
    expect(b.gateway.status(sim.now).ike).toMatchObject({ halfOpen: most, sas: most });
    expect(b.gateway.status(sim.now).ike.drops["half_open_limit"]).toBe(500 - most);
    expect(b.failures.length).toBeLessThanOrEqual(6);
    sim.run(31_000);
    expect(b.gateway.status(sim.now).ike).toMatchObject({ halfOpen: 0, sas: 0 });
    expect(b.gateway.ike.kept).toEqual({ sas: 0, requests: 0, deadlines: 0, offers: 0 });
    sim.command(a, "up");
    sim.run(2_000);
    expectUp(sites);
  });

  it("from one address are stopped before they hinder others", () => {
    const sites = flood(mode, 100, () => "203.0.113.77", halfOpen);
    const { sim, a, b } = sites;
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(halfOpen.halfOpenPerAddress);
    expect(b.gateway.status(sim.now).ike.drops["half_open_limit_address"]).toBe(92);
    sim.command(a, "up");
    sim.run(2_000);
    expectUp(sites);
  });

  it("are answered once each, again when they are repeated, so often and no more, and never by ourselves", () => {
    const { sim, b, first, answers } = flood(mode, 1, () => addressA);
    expect(answers).toHaveLength(1);
    expect(answers[0]).toBeLessThanOrEqual(3 * first.length);
    sim.run(10_000);
    expect(answers).toHaveLength(1);
    const copy = Uint8Array.from(first);
    new DataView(copy.buffer).setBigUint64(0, 0x1234_0000_0000_0000n);
    for (let i = 0; i < 100; i++) sim.deliver(endpoint(addressA, 500), endpoint(addressB, 500), copy);
    expect(answers.length).toBeLessThanOrEqual(13);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBe(1);
    sim.run(31_000);
    expect(b.gateway.status(sim.now).ike).toMatchObject({ halfOpen: 0, sas: 0 });
  });
});

describe("main mode under a flood that does not stop", () => {
  it("lets a peer in that answers sooner than it is forgotten: the oldest unseen makes room", () => {
    const sites = flood("main", 100, scattered, halfOpen);
    const { sim, a, b, first } = sites;
    let i = 1_000;
    // 400 first messages a second: each is forgotten after a tenth of a second.
    const more = () => {
      const copy = Uint8Array.from(first);
      new DataView(copy.buffer).setBigUint64(0, 0x1234_0000_0000_0000n + BigInt(i));
      sim.deliver(endpoint(scattered(i), 500), endpoint(addressB, 500), copy);
      if (++i < 5_000) sim.at(2.5, more);
    };
    more();
    sim.command(a, "up");
    sim.run(5_000);
    expect([a, b].map((node) => tunnelStatus(sim, node).state)).toEqual(["up", "up"]);
    expect(b.gateway.status(sim.now).ike.halfOpen).toBeLessThanOrEqual(halfOpen.halfOpenTotal);
  });
});
