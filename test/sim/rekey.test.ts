import { describe, expect, it } from "vitest";
import { impair } from "./network.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { expectCarrying, expectNothingLeft, expectUp, type Sites, sitesUp, twoSites } from "./two-sites.ts";

function runWatched(sites: Sites, ms: number, stepMs = 10): void {
  for (let t = 0; t < ms; t += stepMs) {
    sites.sim.run(stepMs);
    expectCarrying(sites);
  }
}

const soft = (sites: Sites, node: Node) =>
  sites.sim.event(node, {
    kind: "softLifetime",
    spi: node.outbound[0]!.spi,
    direction: "outbound",
    remote: node.outbound[0]!.remote,
  });

describe("rekey CHILD_SA (RFC 7296 §2.8)", () => {
  it("HDR, SK {N(REKEY_SA), SA, Ni, TSi, TSr} --> <-- HDR, SK {SA, Nr, TSi, TSr}; HDR, SK {D} --> <-- HDR, SK {D}", () => {
    const sites = sitesUp();
    const { sim, a } = sites;
    const old = a.inbound[0]!.spi;
    soft(sites, a);
    runWatched(sites, 8000);
    expect(sim.network.trace.slice(0, 4)).toEqual([
      "A: CREATE_CHILD_SA request 2",
      "B: CREATE_CHILD_SA response 2",
      "A: INFORMATIONAL request 3",
      "B: INFORMATIONAL response 3",
    ]);
    expectUp(sites);
    expect(a.inbound[0]!.spi).not.toBe(old);
    expect(tunnelStatus(sim, a).children).toHaveLength(1);
  });

  it("the responder sends on the old SA until a packet on the new one shows that the initiator has it", () => {
    const sites = sitesUp();
    const { sim, a, b } = sites;
    const preferred = (node: Node) => node.plan?.connections[0]?.outbound[0]?.spi;
    const [oldOfA, oldOfB] = [preferred(a), preferred(b)];
    // Only evidence can tell: the Delete is held up.
    sim.network.faults.push(impair.drop("INFORMATIONAL request 3"));
    soft(sites, a);
    sim.run(100);
    expect(sim.network.trace.slice(0, 2)).toEqual([
      "A: CREATE_CHILD_SA request 2",
      "B: CREATE_CHILD_SA response 2",
    ]);
    // The initiator knows that the responder has installed the new pair: it answered.
    expect(preferred(a)).not.toBe(oldOfA);
    expect(preferred(b)).toBe(oldOfB);
    // What is still on its way on the old SA says nothing.
    sim.event(b, { kind: "saInUse", spi: oldOfA! });
    expect(preferred(b)).toBe(oldOfB);
    sim.packet(a, b);
    sim.run(10);
    expect(preferred(b)).not.toBe(oldOfB);
    expect(b.plan?.connections[0]?.outbound.map((o) => o.spi)).toContain(oldOfB);
    sim.network.faults.length = 0;
    runWatched(sites, 10_000);
    expectUp(sites);
  });

  it("without a packet and without a Delete, the responder switches after a bounded time and deletes the old one", () => {
    const sites = sitesUp({ sim: { limits: { rekeyedMs: 5_000, establishedMs: 60_000 } } });
    const { sim, a, b } = sites;
    const old = b.outbound[0]!.spi;
    sim.network.faults.push(impair.drop("INFORMATIONAL request", Number.POSITIVE_INFINITY, "A"));
    soft(sites, a);
    runWatched(sites, 4_900);
    expect(b.plan?.connections[0]?.outbound[0]?.spi).toBe(old);
    runWatched(sites, 500);
    expect(b.plan?.connections[0]?.outbound[0]?.spi).not.toBe(old);
    sim.network.faults.length = 0;
    runWatched(sites, 20_000);
    expectUp(sites);
  });

  it.each([
    ["without PFS", "aes128gcm16"],
    ["with PFS over x25519", "aes128gcm16-x25519"],
    ["with PFS over modp2048", "aes128gcm16-modp2048"],
  ])("%s, from the responder's side too", (_, suite) => {
    const sites = sitesUp({ both: { esp: [suite] } });
    for (const node of [sites.a, sites.b, sites.a]) {
      const old = node.inbound[0]!.spi;
      soft(sites, node);
      runWatched(sites, 8000);
      expectUp(sites);
      expect(node.inbound[0]!.spi).not.toBe(old);
    }
    const words = suite.split("-").slice(1).join("-");
    expect(tunnelStatus(sites.sim, sites.a).children[0]!.suite).toBe(
      `aes128gcm16${words && `-${words}`}-esn`,
    );
  });

  it("INVALID_KE_PAYLOAD: repeated with the group that the peer wants", () => {
    const sites = sitesUp({ a: { esp: ["aes128gcm16-x25519-ecp256"] }, b: { esp: ["aes128gcm16-ecp256"] } });
    soft(sites, sites.a);
    runWatched(sites, 8000);
    expectUp(sites);
    expect(tunnelStatus(sites.sim, sites.a).children[0]!.suite).toContain("ecp256");
  });

  it("PFS on one side only: the rekey fails with a record, the old SA stays, and at its end the tunnel starts anew", () => {
    const sites = sitesUp({
      a: { esp: ["aes128gcm16-x25519"], lifetimeSeconds: 100 },
      b: { esp: ["aes128gcm16"] },
    });
    const { sim, a, b } = sites;
    sim.run(95_000);
    expectUp(sites);
    expect(b.failures[0]).toMatchObject({
      code: "NO_PROPOSAL_CHOSEN_ESP",
      difference: "DH group: ours none, theirs x25519",
    });
    expect(a.failures[0]).toMatchObject({ code: "NO_PROPOSAL_CHOSEN_ESP" });
    sim.run(60_000);
    expectUp(sites);
  });

  it.each([
    "CREATE_CHILD_SA request",
    "CREATE_CHILD_SA response",
    "INFORMATIONAL request 3",
    "INFORMATIONAL response 3",
  ])("with one %s lost no packet is", (message) => {
    const sites = sitesUp();
    sites.sim.network.faults.push(impair.drop(message, 1));
    soft(sites, sites.a);
    runWatched(sites, 10_000);
    expectUp(sites);
  });

  it("uses the negotiated selectors, never the configured ones", () => {
    const flows = { routing: "protected-data-flows" } as const;
    const sites = sitesUp({
      a: { ...flows, localSubnets: ["10.1.0.0/16"], remoteSubnets: ["10.2.0.0/16"] },
      b: { ...flows, localSubnets: ["10.2.5.0/24"], remoteSubnets: ["10.1.0.0/16"] },
    });
    soft(sites, sites.a);
    sites.sim.run(8000);
    soft(sites, sites.b);
    sites.sim.run(8000);
    expectUp(sites);
    expect(tunnelStatus(sites.sim, sites.a).children[0]).toMatchObject({
      localSelectors: ["10.1.0.0/16"],
      remoteSelectors: ["10.2.5.0/24"],
    });
  });

  it("both sides at once: both succeed, and one pair stays", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const sites = sitesUp({ sim: { seed } });
      const old = sites.a.inbound[0]!.spi;
      soft(sites, sites.a);
      soft(sites, sites.b);
      runWatched(sites, 40_000, 50);
      expectUp(sites);
      expect(sites.a.inbound[0]!.spi).not.toBe(old);
    }
  });

  it("hard lifetime: the SA goes, and another takes its place", () => {
    const sites = sitesUp();
    const { sim, a } = sites;
    const old = a.outbound[0]!;
    sim.event(a, { kind: "hardLifetime", spi: old.spi, direction: "outbound", remote: old.remote });
    sim.run(5000);
    expectUp(sites);
    expect(a.outbound[0]!.spi).not.toBe(old.spi);
  });

  it("a day of hourly lifetimes: always one pair, never a gap", () => {
    const sites = sitesUp({
      both: { lifetimeSeconds: 3600, ikeLifetimeSeconds: 4 * 3600, dpd: { enabled: false } },
    });
    runWatched(sites, 24 * 3600_000, 5_000);
    expectUp(sites);
    const rekeys = sites.a.logs.filter((l) => l.message === "CHILD_SA rekeyed").length;
    expect(rekeys).toBeGreaterThanOrEqual(24);
    expect(rekeys).toBeLessThan(60);
    expect(sites.a.failures).toEqual([]);
    expect(sites.b.failures).toEqual([]);
    expect(sites.a.logs.filter((l) => l.message === "IKE SA rekeyed").length).toBeGreaterThanOrEqual(6);
  });
});

describe("a CHILD_SA that the peer may not know yet", () => {
  it("is not rekeyed before the peer has shown that it has the answer: it would say CHILD_SA_NOT_FOUND", () => {
    const sites = sitesUp();
    const { sim, a, b } = sites;
    const old = b.outbound[0]!.spi;
    sim.network.faults.push(impair.drop("CREATE_CHILD_SA response", 1));
    sim.rekey(a);
    sim.run(200);
    const made = b.outbound.find((sa) => sa.spi !== old)!.spi;
    sim.rekey(b);
    runWatched(sites, 200);
    expect(sim.network.trace).not.toContainEqual(expect.stringMatching(/^B: CREATE_CHILD_SA request/));
    // A repeats its request, gets the answer, and deletes the old one: then B's turn comes.
    runWatched(sites, 10_000);
    expectUp(sites);
    expect(sim.network.trace).toContainEqual(expect.stringMatching(/^B: CREATE_CHILD_SA request/));
    expect([old, made]).not.toContain(b.outbound[0]!.spi);
    for (const node of [a, b]) expect(node.failures).toEqual([]);
  });
});

describe("culvert rekey", () => {
  it("replaces the CHILD_SA, or the IKE SA, once however often it is asked, and does nothing where nothing is up", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    sim.start(b);
    sim.rekey(b);
    sim.rekey(b, { ike: true });
    sim.run(1_000);
    expect(sim.network.trace).toEqual([]);
    sim.start(a);
    sim.run(1_000);
    expectUp(sites);
    for (const [node, ike, message] of [
      [a, false, "CHILD_SA rekeyed"],
      [b, false, "CHILD_SA rekeyed"],
      [a, true, "IKE SA rekeyed"],
      [b, true, "IKE SA rekeyed"],
    ] as const) {
      const made = () => node.logs.filter((l) => l.message === message).length;
      const before = made();
      for (let i = 0; i < 3; i++) sim.rekey(node, { ike });
      runWatched(sites, 10_000);
      expectUp(sites);
      expect(made()).toBe(before + 1);
    }
    expect(a.failures).toEqual([]);
    expect(b.failures).toEqual([]);
  });
});

describe("rekey IKE SA (RFC 7296 §2.18)", () => {
  const short = { both: { ikeLifetimeSeconds: 100, dpd: { enabled: false } } } as const;

  it("HDR, SK {SA, Ni, KEi} --> <-- HDR, SK {SA, Nr, KEr}; the CHILD_SAs move untouched", () => {
    const sites = sitesUp(short);
    const { sim, a, b } = sites;
    const spi = tunnelStatus(sim, a).ike!.spiInitiator;
    const child = a.inbound[0]!.spi;
    runWatched(sites, 90_000, 100);
    expect(sim.network.trace.slice(0, 4)).toEqual([
      "A: CREATE_CHILD_SA request 2",
      "B: CREATE_CHILD_SA response 2",
      "A: INFORMATIONAL request 3",
      "B: INFORMATIONAL response 3",
    ]);
    expectUp(sites);
    expect(tunnelStatus(sim, a).ike!.spiInitiator).not.toBe(spi);
    expect(tunnelStatus(sim, b).ike!.spiInitiator).toBe(tunnelStatus(sim, a).ike!.spiInitiator);
    expect(a.inbound[0]!.spi).toBe(child);
    sim.run(20_000);
    expectUp(sites);
  });

  it.each([
    "CREATE_CHILD_SA request",
    "CREATE_CHILD_SA response",
    "INFORMATIONAL request 3",
    "INFORMATIONAL response 3",
  ])("with one %s lost", (message) => {
    const sites = sitesUp(short);
    sites.sim.network.faults.push(impair.drop(message, 1));
    runWatched(sites, 300_000, 100);
    expectUp(sites);
  });

  it("the successor carries on: it rekeys its CHILD_SA, is deleted, is rekeyed again", () => {
    const sites = sitesUp(short);
    const { sim, a, b } = sites;
    runWatched(sites, 90_000, 100);
    soft(sites, b);
    runWatched(sites, 10_000, 100);
    soft(sites, a);
    runWatched(sites, 10_000, 100);
    runWatched(sites, 200_000, 100);
    expectUp(sites);
    sim.command(a, "down");
    sim.run(10_000);
    expectNothingLeft(a);
    expectNothingLeft(b);
  });

  it("refused for good: at its end the IKE SA is deleted and the tunnel starts anew", () => {
    const sites = sitesUp(short);
    const { sim, a } = sites;
    sim.network.faults.push(impair.drop("CREATE_CHILD_SA"));
    sim.run(150_000);
    sim.network.faults.length = 0;
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
    sim.run(60_000);
    expectUp(sites);
  });

  it("while a CHILD_SA is rekeyed by the peer: TEMPORARY_FAILURE, later done", () => {
    for (let seed = 1; seed <= 10; seed++) {
      const sites = sitesUp({ ...short, sim: { seed } });
      const { sim, a, b } = sites;
      const asked = () => sim.network.trace.some((t) => t.startsWith("A: CREATE_CHILD_SA request"));
      sim.runUntil(asked, 100_000);
      soft(sites, b);
      const old = b.inbound[0]!.spi;
      runWatched(sites, 40_000, 100);
      expectUp(sites);
      expect(b.inbound[0]!.spi).not.toBe(old);
      expect(a.installed).toHaveLength(2);
    }
  });

  it("what the old IKE SA had still to do about its CHILD_SAs, the successor does", () => {
    const sites = sitesUp(short);
    const { sim, a } = sites;
    sim.network.faults.push(impair.delay("CREATE_CHILD_SA response", 300));
    sim.runUntil(() => sim.network.trace.some((t) => t.startsWith("A: CREATE_CHILD_SA request")), 100_000);
    // While A waits for its new IKE SA, its only CHILD_SA reaches its end.
    const old = a.outbound[0]!;
    sim.event(a, { kind: "hardLifetime", spi: old.spi, direction: "outbound", remote: old.remote });
    sim.run(10_000);
    expectUp(sites);
    expect(a.outbound[0]!.spi).not.toBe(old.spi);
  });

  it("a soft lifetime that passes meanwhile is not forgotten", () => {
    const sites = sitesUp(short);
    const { sim, a } = sites;
    sim.network.faults.push(impair.delay("CREATE_CHILD_SA response", 300));
    sim.runUntil(() => sim.network.trace.some((t) => t.startsWith("A: CREATE_CHILD_SA request")), 100_000);
    const old = a.outbound[0]!.spi;
    soft(sites, a);
    runWatched(sites, 30_000, 100);
    expectUp(sites);
    expect(a.outbound[0]!.spi).not.toBe(old);
  });
});
