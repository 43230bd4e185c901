import { describe, expect, it } from "vitest";
import { NotifyType } from "../../src/registry/index.ts";
import type { NotifyPayload } from "../../src/wire/index.ts";
import { CraftedPeer } from "./crafted-peer.ts";
import { impair, messageName, Nat } from "./network.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectCarrying, expectUp, type Sites, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const reauthenticate = { reauthenticate: true, ikeLifetimeSeconds: 100 } as const;

function up(options: Parameters<typeof twoSites>[0] = {}, prepare: (sites: Sites) => void = () => {}) {
  const sites = twoSites(options);
  prepare(sites);
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  expectUp(sites);
  sites.sim.network.trace.length = 0;
  return sites;
}

function runWatched(sites: Sites, ms: number): void {
  for (let t = 0; t < ms; t += stepMs) {
    sites.sim.run(stepMs);
    expectCarrying(sites);
  }
}

const stepMs = 10;

const ike = ({ sim }: Sites, node: Node) => tunnelStatus(sim, node).ike!.spiInitiator;
const handshakes = (node: Node) => node.logs.filter((l) => l.message === "IKE SA up").length;
const rekeys = (node: Node) => node.logs.filter((l) => l.message === "IKE SA rekeyed").length;

describe("reauthentication, make-before-break", () => {
  it("again and again, without keeping those that are gone", () => {
    const sites = up({ a: reauthenticate });
    const { sim, a } = sites;
    for (let i = 0; i < 5; i++) sim.run(90_000);
    expect(handshakes(a)).toBeGreaterThan(4);
    const [sa] = a.gateway.ike.sas();
    expect(sa!.replaces).toBeDefined();
    expect(sa!.replaces!.replaces).toBeUndefined();
  });

  it("sets up a new IKE SA in full beside the old one, without INITIAL_CONTACT, and closes the old one last", () => {
    const sites = up({ a: reauthenticate });
    const { sim, a, b } = sites;
    const old = ike(sites, a);
    runWatched(sites, 99_000);
    expect(ike(sites, a)).not.toBe(old);
    expectUp(sites);
    expect([handshakes(a), handshakes(b), rekeys(a), rekeys(b)]).toEqual([2, 2, 0, 0]);
    const messages = sim.network.trace.filter((t) => t.startsWith("A: ") && t.includes("request"));
    const at = messages.findIndex((t) => t.includes("IKE_SA_INIT"));
    expect(messages.slice(at, at + 4)).toEqual([
      "A: IKE_SA_INIT request 0",
      "A: IKE_AUTH request 1",
      expect.stringMatching(/^A: INFORMATIONAL request/),
      expect.stringMatching(/^A: INFORMATIONAL request/),
    ]);
    expect([a.failures, b.failures]).toEqual([[], []]);
    for (const node of [a, b]) {
      expect(node.logs.some((l) => l.message === "tunnel state" && l.fields["from"] === "UP")).toBe(false);
      expect(node.gateway.status(sim.now).connections[0]!.tunnels[0]!.children).toHaveLength(1);
    }
  });

  it("again and again, by either side or both, and nothing is left behind", () => {
    for (const who of ["a", "b", "both"] as const) {
      const sites = up({ [who]: reauthenticate });
      const { sim, a, b } = sites;
      runWatched(sites, 300_000);
      expect(handshakes(a), who).toBeGreaterThanOrEqual(3);
      sim.run(15_000);
      expectUp(sites);
      expect([a.failures, b.failures], who).toEqual([[], []]);
      const { sas, inboundSpis } = b.gateway.status(sim.now).ike;
      expect(sas).toBeLessThanOrEqual(3);
      expect(inboundSpis).toBe(1);
    }
  });

  it("takes the place of rekeying only when asked to", () => {
    const sites = up({ both: { ikeLifetimeSeconds: 100 } });
    runWatched(sites, 99_000);
    expect([handshakes(sites.a), rekeys(sites.a)]).toEqual([1, 1]);
  });

  it("is not put off by the peer's rekeys of the IKE SA", () => {
    const sites = up({
      a: { reauthenticate: true, ikeLifetimeSeconds: 300 },
      b: { ikeLifetimeSeconds: 100 },
    });
    runWatched(sites, 290_000);
    expect(rekeys(sites.a)).toBeGreaterThanOrEqual(2);
    expect(handshakes(sites.a)).toBe(2);
  });

  it.each([
    "IKE_SA_INIT request",
    "IKE_SA_INIT response",
    "IKE_AUTH request",
    "IKE_AUTH response",
    "INFORMATIONAL request",
    "INFORMATIONAL response",
  ])("with the first three of %s lost no packet is", (message) => {
    const sites = up({ a: { ...reauthenticate, dpd: { enabled: false } }, b: { dpd: { enabled: false } } });
    sites.sim.network.faults.push(impair.drop(message, 3));
    runWatched(sites, 130_000);
    expect(handshakes(sites.a)).toBe(2);
    expect([sites.a.failures, sites.b.failures]).toEqual([[], []]);
    sites.sim.run(10_000);
    expectUp(sites);
  });

  it("in bad weather", () => {
    for (let seed = 1; seed <= 4; seed++) {
      const sites = up({ both: reauthenticate, sim: { seed } });
      sites.sim.network.weather = { loss: 0.2, duplication: 0.1, delayMs: 20, jitterMs: 80 };
      runWatched(sites, 200_000);
      sites.sim.network.weather = { loss: 0, duplication: 0, delayMs: 10, jitterMs: 0 };
      const { sim, a, b } = sites;
      sim.run(30_000);
      // Not in the middle of the next one.
      const settled = () => [a, b].every((node) => node.inbound.length === 1 && node.outbound.length === 1);
      expect(sim.runUntil(settled, 60_000)).toBe(true);
      expectUp(sites);
    }
  });

  it("refused: a warning, the old IKE SA stays, and another attempt follows before its end", () => {
    const sites = up({ a: { reauthenticate: true, ikeLifetimeSeconds: 600 } });
    const { sim, a } = sites;
    const before = ike(sites, a);
    sim.run(470_000);
    sim.network.faults.push(impair.drop("IKE_AUTH", 8));
    const warnings = () => a.gateway.status(sim.now).connections[0]!.warnings.map((w) => w.code);
    for (let t = 0; warnings().length === 0 && t < 90_000; t += 1000) runWatched(sites, 1000);
    expect(warnings()).toEqual(["IKE_AUTH_UNANSWERED"]);
    expect(ike(sites, a)).toBe(before);
    runWatched(sites, 40_000);
    expect(ike(sites, a)).not.toBe(before);
    sim.run(10_000);
    expectUp(sites);
  });

  it("behind a NAT it takes the path that works", () => {
    const options = {
      a: { ...reauthenticate, peers: ["any"], start: "passive" },
      b: { start: "immediately" },
    } as const;
    const nat = new Nat(addressB, "203.0.113.5");
    const id = { kind: "fqdn", fqdn: "b.example" } as const;
    const sites = twoSites({ a: { ...options.a, remoteId: id }, b: { ...options.b, localId: id } });
    const { sim, a, b } = sites;
    sim.network.nats.push(nat);
    sim.start(a, b);
    sim.run(1000);
    // A cannot reach B at all but through the mapping that B made.
    expect(tunnelStatus(sim, a)).toMatchObject({ state: "up", ike: { role: "responder", nat: "remote" } });
    runWatched(sites, 100_000);
    expect(tunnelStatus(sim, a)).toMatchObject({ state: "up", ike: { role: "initiator", nat: "remote" } });
    expect(handshakes(b)).toBe(2);
  });

  it("a peer that authenticates anew and never closes the old IKE SA: we do, when it no longer matters", () => {
    const sites = up({ a: { dpd: { enabled: false } }, b: { dpd: { enabled: false } } });
    const { sim, b } = sites;
    const config = sites.configA;
    // The same peer, started twice, says nothing of INITIAL_CONTACT the second time: here, it is lost with the first.
    sim.crash(sites.a, config);
    sim.run(2000);
    expect(b.inbound).toHaveLength(1);
    expectUp(sites);
  });
});

describe("AUTH_LIFETIME (RFC 4478)", () => {
  const lifetime = (seconds: number, octets = 4): NotifyPayload => {
    const data = new Uint8Array(octets);
    if (octets >= 4) new DataView(data.buffer).setUint32(octets - 4, seconds);
    return { kind: "N", protocolId: 0, spi: new Uint8Array(0), type: N.AUTH_LIFETIME, data };
  };

  function upWith(notification: NotifyPayload) {
    const { sim, a } = twoSites({ a: { dpd: { enabled: false } } });
    const peer = new CraftedPeer(sim, a, { own: addressB, node: addressA });
    sim.start(a);
    peer.answerInit();
    peer.answerAuth((payloads) => [...payloads, notification]);
    expect(tunnelStatus(sim, a).state).toBe("up");
    peer.received.length = 0;
    const inits = () => peer.received.filter((d) => messageName(d).startsWith("IKE_SA_INIT request")).length;
    return { sim, a, inits };
  }

  it("authenticates anew before the time has passed, whatever our own lifetime is", () => {
    const { sim, a, inits } = upWith(lifetime(60));
    sim.run(45_000);
    expect(inits()).toBe(0);
    sim.run(10_000);
    expect(inits()).toBeGreaterThan(0);
    expect(a.installed).toHaveLength(2);
  });

  it("zero is not a reason to set up IKE SAs without end", () => {
    const { sim, inits } = upWith(lifetime(0));
    sim.run(7_000);
    expect(inits()).toBe(0);
    sim.run(3_000);
    expect(inits()).toBeGreaterThan(0);
    expect(inits()).toBeLessThan(5);
  });

  it.each([0, 1, 3, 5, 8])("of %d octets it means nothing", (octets) => {
    const { sim, inits } = upWith(lifetime(20, octets));
    sim.run(60_000);
    expect(inits()).toBe(0);
  });
});
