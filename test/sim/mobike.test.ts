import assert from "node:assert/strict";
import { describe, expect, it } from "vitest";
import { impair, Nat, type Packet } from "./network.ts";
import { endpoint, type Node, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectNothingLeft, expectUp, type Sites, twoSites } from "./two-sites.ts";

const secondA = "203.0.113.9";
const secondB = "198.51.100.77";
const insideA = "10.0.0.5";
const outsideA = "203.0.113.77";

/** A and B with two addresses each; the identities stay when the addresses change. */
function mobile(options: Parameters<typeof twoSites>[0] = {}): Sites {
  const a = { kind: "fqdn", fqdn: "a.example" } as const;
  const b = { kind: "fqdn", fqdn: "b.example" } as const;
  return twoSites({
    ...options,
    a: { addresses: [addressA, secondA], localId: a, remoteId: b, ...options.a },
    b: { addresses: [addressB, secondB], localId: b, remoteId: a, ...options.b },
  });
}

function up(sites: Sites): Sites {
  sites.sim.start(sites.a, sites.b);
  sites.sim.run(1000);
  expectUp(sites);
  return sites;
}

const spisOf = (node: Node) => node.installed.map((sa) => `${sa.direction} ${sa.spi} ${sa.key}`).sort();
const pathOf = (node: Node) =>
  [...new Set(node.installed.map((sa) => `${sa.local} ${sa.remote} ${sa.encapsulation.kind}`))].join(", ");

/** Both sides send and receive on this path, with the very SAs that they had. */
function expectOn(sites: Sites, local: string, remote: string, kind = "esp"): void {
  expectUp(sites);
  expect(pathOf(sites.a)).toBe(`${local} ${remote} ${kind}`);
  expect(pathOf(sites.b)).toBe(`${remote} ${local} ${kind}`);
}

/** Nothing passes that leaves from or goes to `address`. */
const dead = (address: string) => (packet: Packet) =>
  `${packet.source.address}` === address || `${packet.destination.address}` === address ? "drop" : "pass";

describe("MOBIKE is agreed on (RFC 4555 §3.2, §3.3)", () => {
  it("moves IKE to port 4500 without any NAT, and ESP stays protocol 50", () => {
    const sites = up(mobile());
    expect(tunnelStatus(sites.sim, sites.a)).toMatchObject({
      local: `${addressA}:4500`,
      remote: `${addressB}:4500`,
      ike: { nat: "none" },
    });
    expectOn(sites, addressA, addressB);
  });

  it.each(["a", "b"] as const)("not when %s does not want it: a new IKE SA has to be made", (site) => {
    const sites = mobile({ [site]: { mobike: false } });
    const { sim, a, b } = up({
      ...sites,
    });
    const before = spisOf(a);
    sim.setAddresses(a, secondA);
    sim.run(1000);
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
    // Liveness checks fail, and the next attempt begins at the address that is left.
    sim.run(60_000);
    expect(tunnelStatus(sim, a).local).toMatch(secondA);
    expect(spisOf(a)).not.toEqual(before);
  });
});

describe("the initiator's address changes (RFC 4555 §3.5)", () => {
  it("HDR, SK {N(UPDATE_SA_ADDRESSES), ...} -->: the same SAs go on from the other address, and back", () => {
    const sites = up(mobile());
    const { sim, a, b } = sites;
    const before = [spisOf(a), spisOf(b)];
    for (const address of [secondA, addressA]) {
      sim.setAddresses(a, address);
      sim.run(100);
      expectOn(sites, address, addressB);
      expect(tunnelStatus(sim, b).remote).toBe(`${address}:4500`);
    }
    expect([spisOf(a), spisOf(b)]).toEqual(before);
    expect(sim.network.trace.filter((t) => t.includes("CREATE_CHILD_SA"))).toEqual([]);
    expect(sim.network.trace.filter((t) => t.includes("IKE_SA_INIT request"))).toHaveLength(1);
    expect(a.logs.some((l) => l.message === "IKE SA moved")).toBe(true);
  });

  it("from IPv4 to IPv6 and back", () => {
    const sites = mobile({
      a: { addresses: [addressA, "2001:db8::1"] },
      b: { addresses: [addressB, "2001:db8::2"] },
    });
    up(sites);
    const before = spisOf(sites.a);
    sites.sim.setAddresses(sites.a, "2001:db8::1");
    sites.sim.run(200);
    expectOn(sites, "2001:db8::1", "2001:db8::2");
    sites.sim.setAddresses(sites.a, addressA);
    sites.sim.run(200);
    expectOn(sites, addressA, addressB);
    expect(spisOf(sites.a)).toEqual(before);
  });

  it.each([
    ["the request", "INFORMATIONAL request", "A"],
    ["the answer", "INFORMATIONAL response", "B"],
    ["the return routability check", "INFORMATIONAL request", "B"],
    ["its answer", "INFORMATIONAL response", "A"],
  ])("%s is lost, and repeated", (_, prefix, from) => {
    const sites = up(mobile());
    sites.sim.network.faults.push(impair.drop(prefix, 2, from));
    sites.sim.setAddresses(sites.a, secondA);
    sites.sim.run(5000);
    expectOn(sites, secondA, addressB);
  });

  it("the responder sends no ESP to an address that has not answered (§3.7)", () => {
    const sites = up(mobile());
    const { sim, a, b } = sites;
    sim.network.faults.push(impair.drop("INFORMATIONAL response", 100, "A"));
    sim.setAddresses(a, secondA);
    sim.run(3000);
    expect(tunnelStatus(sim, b).remote).toBe(`${secondA}:4500`);
    expect(pathOf(b)).toBe(`${addressB} ${addressA} esp`);
    sim.network.faults.length = 0;
    sim.run(5000);
    expectOn(sites, secondA, addressB);
  });

  it("it changes again while the update is on its way", () => {
    const sites = up(mobile());
    const { sim, a } = sites;
    sim.setAddresses(a, secondA);
    sim.run(5);
    sim.setAddresses(a, addressA);
    sim.run(15);
    sim.setAddresses(a, secondA);
    sim.run(2000);
    expectOn(sites, secondA, addressB);
  });

  it("it is gone for a while, with no other: the tunnel stands when it is back in time", () => {
    const sites = up(mobile());
    const { sim, a } = sites;
    const before = spisOf(a);
    sim.setAddresses(a);
    sim.run(15_000);
    sim.setAddresses(a, addressA);
    sim.run(15_000);
    expectOn(sites, addressA, addressB);
    expect(spisOf(a)).toEqual(before);
  });

  it.each(["CREATE_CHILD_SA request", "CREATE_CHILD_SA response"])(
    "while a rekey is under way whose %s is lost: the window is busy, and both come through",
    (lost) => {
      for (const lifetimes of [{ lifetimeSeconds: 300 }, { ikeLifetimeSeconds: 300 }]) {
        const sites = up(mobile({ a: lifetimes }));
        const { sim, a, b } = sites;
        const before = spisOf(a);
        sim.network.faults.push(impair.drop(lost, 2));
        const rekeying = () => sim.network.trace.some((t) => t.includes("A: CREATE_CHILD_SA"));
        assert(sim.runUntil(rekeying, 300_000));
        sim.setAddresses(a, secondA);
        sim.run(8000);
        expectOn(sites, secondA, addressB);
        expect(tunnelStatus(sim, b).remote).toBe(`${secondA}:4500`);
        if ("lifetimeSeconds" in lifetimes) expect(spisOf(a)).not.toEqual(before);
        // The successor is as mobile as what it replaced.
        sim.setAddresses(a, addressA);
        sim.run(1000);
        expectOn(sites, addressA, addressB);
      }
    },
  );
});

describe("a NAT appears and disappears on the way (RFC 4555 §3.5, §3.8)", () => {
  it("encapsulation is switched on and off in place, and so are keepalives", () => {
    const sites = mobile({ a: { addresses: [addressA, insideA] } });
    sites.sim.network.nats.push(new Nat(insideA, outsideA));
    up(sites);
    const { sim, a, b } = sites;
    const before = spisOf(a);
    sim.setAddresses(a, insideA);
    sim.run(500);
    expectUp(sites);
    expect(pathOf(a)).toBe(`${insideA} ${addressB} udp`);
    expect(pathOf(b)).toBe(`${addressB} ${outsideA} udp`);
    expect(tunnelStatus(sim, a).ike!.nat).toBe("local");
    expect(tunnelStatus(sim, b).ike!.nat).toBe("remote");
    sim.run(60_000);
    const keepalives = a.keepalives;
    expect(keepalives).toBeGreaterThan(1);
    sim.setAddresses(a, addressA);
    sim.run(60_000);
    expectOn(sites, addressA, addressB);
    expect(tunnelStatus(sim, b).ike!.nat).toBe("none");
    expect(a.keepalives).toBe(keepalives);
    expect(spisOf(a)).toEqual(before);
  });

  it("on a path that stays: the next liveness check finds it", () => {
    const sites = up(mobile({ a: { addresses: [insideA] }, b: { peers: ["any"] } }));
    const { sim, a, b } = sites;
    sim.network.nats.push(new Nat(insideA, outsideA));
    sim.run(30_000);
    expectUp(sites);
    expect(pathOf(a)).toBe(`${insideA} ${addressB} udp`);
    expect(pathOf(b)).toBe(`${addressB} ${outsideA} udp`);
  });

  it("the NAT gives another port: the initiator finds it, and says UPDATE_SA_ADDRESSES", () => {
    const sites = mobile({ a: { addresses: [insideA] }, b: { peers: [outsideA] } });
    const nat = new Nat(insideA, outsideA);
    sites.sim.network.nats.push(nat);
    const { sim, a, b } = up(sites);
    const before = spisOf(a);
    sim.run(30_000);
    const port = Number(tunnelStatus(sim, b).remote!.split(":").at(-1));
    nat.forget();
    sim.run(12_000);
    expectUp(sites);
    const now = Number(tunnelStatus(sim, b).remote!.split(":").at(-1));
    expect(now).not.toBe(port);
    expect(b.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: now });
    expect(spisOf(a)).toEqual(before);
  });

  it("the NAT gives another port and ESP says so first: ESP follows at once, IKE when it is told", () => {
    const sites = mobile({ a: { addresses: [insideA] }, b: { peers: [outsideA] } });
    sites.sim.network.nats.push(new Nat(insideA, outsideA));
    const { sim, a, b } = up(sites);
    const before = tunnelStatus(sim, b).remote;
    sim.event(b, { kind: "peerMoved", spi: b.inbound[0]!.spi, remote: endpoint(outsideA, 33333) });
    expect(tunnelStatus(sim, b).remote).toBe(before);
    expect(b.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 33333 });
    expect(b.plan!.connections[0]!.outbound).toMatchObject([{ spi: b.outbound[0]!.spi }]);
    // The next update, for whatever reason, is the truth.
    sim.run(60_000);
    expect(`${outsideA}:${(b.outbound[0]!.encapsulation as { remotePort: number }).remotePort}`).toBe(
      tunnelStatus(sim, b).remote,
    );
    expect(spisOf(a)).toHaveLength(2);
  });
});

describe("a path fails (RFC 4555 §3.10, §3.11)", () => {
  it.each([
    ["from our address", addressA, secondA, addressB],
    ["to the peer's address", addressB, addressA, secondB],
  ])(
    "%s: another pair of addresses carries on, within seconds of the first unanswered check",
    (_, broken, local, remote) => {
      const sites = up(mobile());
      const { sim, a } = sites;
      const before = spisOf(a);
      sim.network.faults.push(dead(broken));
      sim.run(10_000 + 3000);
      expectOn(sites, local, remote);
      expect(spisOf(a)).toEqual(before);
    },
  );

  it("all of them: the peer is dead, and nothing is left", () => {
    const sites = up(mobile({ a: { dpd: { action: "clear" } } }));
    sites.sim.network.faults.push(impair.blackout());
    sites.sim.run(60_000);
    expect(sites.a.failures.map((f) => f.code)).toContain("DPD_TIMEOUT");
    expectNothingLeft(sites.a);
  });

  it("a peer known by name: the name is asked at once, and the peer is found where it leads", () => {
    const third = "198.51.100.200";
    let lives = [addressB];
    const sites = mobile({
      a: { peers: ["b.example"] },
      b: { addresses: [addressB, third], peers: ["any"] },
      sim: { dns: () => lives },
    });
    const { sim, a, b } = sites;
    // B never gets to say that it has this address.
    sim.setAddresses(b, addressB);
    up(sites);
    const before = spisOf(a);
    lives = [third];
    sim.network.faults.push(dead(addressB), impair.drop("INFORMATIONAL request", 100, "B"));
    sim.setAddresses(b, addressB, third);
    sim.run(20_000);
    expectOn(sites, addressA, third);
    expect(spisOf(a)).toEqual(before);
    expect(a.resolves).toHaveLength(2);
  });
});

describe("the responder's address changes (RFC 4555 §3.6)", () => {
  it("it says so from its other address, and the initiator moves there", () => {
    const sites = up(mobile());
    const { sim, a, b } = sites;
    const before = spisOf(a);
    sim.setAddresses(b, secondB);
    sim.run(200);
    expectOn(sites, addressA, secondB);
    expect(tunnelStatus(sim, a).remote).toBe(`${secondB}:4500`);
    expect(spisOf(a)).toEqual(before);
  });

  it("an address that comes or goes and is not in use changes nothing but what the peer knows", () => {
    const sites = up(mobile());
    const { sim, a, b } = sites;
    sim.setAddresses(b, addressB);
    sim.run(200);
    expectOn(sites, addressA, addressB);
    expect(b.updates).toBe(0);
    // A no longer tries the address that is gone.
    const sources: string[] = [];
    sim.network.faults.push((packet) => {
      if (packet.from === "A") sources.push(`${packet.destination.address}`);
      return "drop";
    });
    sim.run(20_000);
    expect(new Set(sources)).toEqual(new Set([addressB]));
    expect(a.updates).toBe(0);
  });
});

describe("addresses that change in bad weather", () => {
  it.each([1, 2, 3, 4])(
    "seeds %d0 to their 9: in the end there is one pair, and it is the right one",
    (tens) => {
      for (let seed = tens * 10; seed < tens * 10 + 10; seed++) {
        const sites = mobile({
          a: { lifetimeSeconds: 120, ikeLifetimeSeconds: 200, addresses: [addressA, secondA, insideA] },
          b: { lifetimeSeconds: 150 },
          sim: { seed },
        });
        const { sim, a, b } = sites;
        sim.network.nats.push(new Nat(insideA, outsideA));
        up(sites);
        sim.network.weather = { loss: 0.1, duplication: 0.05, delayMs: 20, jitterMs: 60 };
        const pick = <T>(list: readonly T[]): T => list[Math.floor(sim.random.unit() * list.length)]!;
        for (let i = 0; i < 12; i++) {
          if (sim.random.unit() < 0.7)
            sim.setAddresses(a, ...pick([[addressA], [secondA], [insideA], [addressA, secondA]]));
          else sim.setAddresses(b, ...pick([[addressB], [secondB], [addressB, secondB]]));
          sim.run(200 + sim.random.unit() * 20_000);
        }
        sim.network.weather = { loss: 0, duplication: 0, delayMs: 10, jitterMs: 0 };
        sim.setAddresses(a, addressA);
        sim.setAddresses(b, addressB);
        // Whatever collided in the end: a rekey, an update, or a new beginning after a time without any path.
        sim.run(120_000);
        // A rekey may have left an inbound SA that waits for what is on its way.
        sim.runUntil(() => a.installed.length === 2 && b.installed.length === 2, 30_000);
        try {
          expectUp(sites);
          assert.equal(pathOf(a), `${addressA} ${addressB} esp`);
          assert.equal(pathOf(b), `${addressB} ${addressA} esp`);
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
      }
    },
  );
});
