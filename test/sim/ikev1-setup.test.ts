import { describe, expect, it } from "vitest";
import { ikev1, messagesOf, modes, toDatagram } from "./ikev1.ts";
import { impair, Nat } from "./network.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectNothingLeft, expectUp, type Sites, sitesUp, twoSites } from "./two-sites.ts";

const fqdn = (name: string) => ({ kind: "fqdn", fqdn: name }) as const;

/** One ISAKMP SA on each side, one pair of IPsec SAs, and no failure. */
function expectClean(sites: Sites): void {
  const { a, b } = sites;
  expectUp(sites);
  expect([a.failures, b.failures]).toEqual([[], []]);
  expect([a.gateway.ike.size, b.gateway.ike.size]).toEqual([1, 1]);
}

describe.each(modes)("IKEv1 phase 1 in %s mode (RFC 2409 §5.4)", (mode) => {
  const both = ikev1(mode);

  it("comes up with as many messages as the RFC draws", () => {
    const sites = twoSites({ both });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectClean(sites);
    expect(sites.sim.network.trace).toHaveLength(messagesOf[mode].length);
  });

  it.each(messagesOf[mode])("%s is lost, once or four times", (_, from, nth) => {
    for (const times of [1, 4]) {
      const sites = twoSites({ both });
      sites.sim.network.faults.push(toDatagram(from, nth, "drop", times));
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(25_000);
      expectClean(sites);
    }
  });

  it.each(messagesOf[mode])("%s comes after what follows it, and then again", (_, from, nth) => {
    for (const delayMs of [15, 300, 2_000]) {
      const sites = twoSites({ both });
      sites.sim.network.faults.push(toDatagram(from, nth, { delayMs }, 1));
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(25_000);
      expectClean(sites);
    }
  });

  // Without message 3 of quick mode the initiator is up for a while, and finds out.
  it.each(messagesOf[mode].slice(0, -1))(
    "%s never arrives: attempts go on for ever, and leave nothing",
    (_, from, nth) => {
      const sites = twoSites({ both });
      const { sim, a, b } = sites;
      // The place of a message among those of its sender: in every attempt the first datagram is another one.
      const attempts = new Map<string, string[]>();
      sim.network.faults.push((packet) => {
        if (packet.from !== from) return "pass";
        const cookie = Buffer.from(packet.datagram.subarray(0, 8)).toString("hex");
        const seen = attempts.get(cookie) ?? [];
        attempts.set(cookie, seen);
        const key = Buffer.from(packet.datagram).toString("latin1");
        if (!seen.includes(key)) seen.push(key);
        return seen.indexOf(key) >= nth ? "drop" : "pass";
      });
      sim.start(a, b);
      sim.run(600_000);
      expect(tunnelStatus(sim, a).state).not.toBe("up");
      expectNothingLeft(a);
      expect(a.failures.length).toBeGreaterThan(2);
      expect(a.gateway.ike.size + b.gateway.ike.size).toBeLessThan(12);
      sim.network.faults.length = 0;
      expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 120_000)).toBe(true);
      sim.run(120_000);
      expectUp(sites);
    },
  );

  it("every message twice: nothing is done twice", () => {
    const sites = twoSites({ both });
    sites.sim.network.weather = { loss: 0, duplication: 1, delayMs: 10, jitterMs: 5 };
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(120_000);
    expectClean(sites);
    for (const { logs } of [sites.a, sites.b])
      expect(logs.filter((l) => l.message === "CHILD_SA up")).toHaveLength(1);
  });

  it("a late copy of an old message changes nothing", () => {
    const sites = twoSites({ both });
    const { sim, a, b } = sites;
    const copies: (() => void)[] = [];
    sim.network.faults.push((packet) => {
      copies.push(() => sim.deliver(packet.source, packet.destination, packet.datagram));
      return "pass";
    });
    sim.start(a, b);
    sim.run(45_000);
    const before = sim.network.trace.length;
    const installed = a.installed.map(({ spi }) => spi);
    const count = copies.length;
    for (const copy of copies.splice(0)) copy();
    sim.run(5_000);
    expectClean(sites);
    expect(a.installed.map(({ spi }) => spi)).toEqual(installed);
    expect(sim.network.trace.length - before).toBeLessThanOrEqual(count);
  });

  it("comes up in all weathers", () => {
    for (let seed = 1; seed <= 25; seed++) {
      const { sim, a, b } = twoSites({ both, sim: { seed } });
      sim.network.weather = { loss: 0.2, duplication: 0.2, delayMs: 20, jitterMs: 400 };
      sim.start(a, b);
      const up = () => [a, b].every((node) => tunnelStatus(sim, node).state === "up");
      expect([seed, sim.runUntil(up, 120_000)]).toEqual([seed, true]);
    }
  });

  it("both begin at once: one ISAKMP SA stays, the same on both sides, and it is nobody's failure", () => {
    for (let seed = 1; seed <= 25; seed++) {
      const sites = twoSites({ both: { ...both, start: "immediately" }, sim: { seed } });
      const { sim, a, b } = sites;
      if (seed % 2 === 1) sim.network.weather = { loss: 0.1, duplication: 0.1, delayMs: 20, jitterMs: 40 };
      sim.start(a, b);
      sim.run(1_000);
      sim.network.weather = { loss: 0, duplication: 0, delayMs: 20, jitterMs: 0 };
      const isUp = () => [a, b].every((node) => tunnelStatus(sim, node).state === "up");
      expect(sim.runUntil(isUp, 5_000)).toBe(true);
      sim.run(100_000);
      expectClean(sites);
      expect(tunnelStatus(sim, a).ike?.spiInitiator).toBe(tunnelStatus(sim, b).ike?.spiInitiator);
    }
  });

  it.each([
    ["addresses", undefined, undefined],
    ["names", fqdn("a.example.net"), fqdn("b.example.net")],
    ["mailboxes", { kind: "email", email: "a@example.net" }, { kind: "email", email: "b@example.net" }],
    ["key IDs", { kind: "keyId", keyId: Uint8Array.of(1) }, { kind: "keyId", keyId: Uint8Array.of(2, 0) }],
  ] as const)("takes %s as identities", (_, idA, idB) => {
    const sites = twoSites({ both, a: { localId: idA, remoteId: idB }, b: { localId: idB, remoteId: idA } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectClean(sites);
  });

  it("finds the NAT in front of the initiator, keeps its mapping open, and follows when the NAT forgets it", () => {
    const sites = twoSites({
      both,
      a: { localId: fqdn("a.example.net") },
      b: { peers: ["any"], remoteId: fqdn("a.example.net") },
    });
    const { sim, a, b } = sites;
    const nat = new Nat("192.0.2.1", "203.0.113.9");
    sim.network.nats.push(nat);
    sim.start(a, b);
    sim.run(1000);
    expectClean(sites);
    expect(tunnelStatus(sim, a).ike).toMatchObject({ nat: "local" });
    expect(tunnelStatus(sim, b).ike).toMatchObject({ nat: "remote" });
    for (const node of [a, b])
      expect(tunnelStatus(sim, node).children).toMatchObject([{ encapsulation: "udp" }]);
    sim.run(61_000);
    expect(a.keepalives).toBe(3);
    expect(b.keepalives).toBe(0);

    const before = tunnelStatus(sim, b).remote;
    nat.forget();
    sim.run(60_000);
    expectClean(sites);
    expect(tunnelStatus(sim, b).remote).not.toBe(before);
    // Either side can begin anew on the path that works.
    for (const node of [a, b]) {
      sim.rekey(node, { ike: true });
      sim.run(60_000);
      expectClean(sites);
    }
  });

  it("moves every ISAKMP SA to where the NAT has the peer, when the peer begins anew from there", () => {
    const sites = twoSites({ both, b: { peers: ["any"] } });
    const { sim, a, b } = sites;
    const nat = new Nat("192.0.2.1", "203.0.113.9");
    sim.network.nats.push(nat);
    sim.start(a, b);
    sim.run(1000);
    const before = tunnelStatus(sim, b).remote;
    nat.forget();
    sim.rekey(a, { ike: true });
    sim.run(1000);
    // The old one is there for what is under way on it, and for its end.
    const ports = b.gateway.ike.sas().map(({ remote }) => remote.port);
    expect(ports).toHaveLength(2);
    expect(new Set(ports).size).toBe(1);
    expect(tunnelStatus(sim, b).remote).not.toBe(before);
    sim.run(60_000);
    expectClean(sites);
  });

  it("without NAT traversal uses port 500 and ESP alone", () => {
    const sites = sitesUp({ both: { ...both, natTraversal: { enabled: false } } });
    expect(tunnelStatus(sites.sim, sites.a)).toMatchObject({
      local: "192.0.2.1:500",
      ike: { nat: "none" },
      children: [{ encapsulation: "esp" }],
    });
  });

  it("one side crashes and comes back: the other takes it in again, or finds out", () => {
    for (const who of ["a", "b"] as const) {
      const sites = sitesUp({ both });
      sites.sim.run(60_000);
      sites.sim.crash(sites[who], who === "a" ? sites.configA : sites.configB);
      sites.sim.run(90_000);
      expectUp(sites);
      expect([sites.a.gateway.ike.size, sites.b.gateway.ike.size]).toEqual([1, 1]);
      // The initiator says INITIAL-CONTACT; a responder that lost everything is missed by DPD.
      expect(sites.a.failures.map((f) => f.code)).toEqual(who === "a" ? [] : ["DPD_TIMEOUT"]);
    }
  });

  it("shutdown says it to the peer, and leaves nothing", () => {
    for (const lost of [0, 1]) {
      const sites = sitesUp({ both });
      sites.sim.network.faults.push(impair.drop("INFORMATIONAL", lost * 2));
      sites.sim.input(sites.a, { kind: "shutdown" });
      sites.sim.run(2_000);
      expect(sites.a.stopped).toBe(true);
      expectNothingLeft(sites.a);
      expectNothingLeft(sites.b);
    }
  });
});
