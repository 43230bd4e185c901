import { describe, expect, it } from "vitest";
import { impair, Nat } from "./network.ts";
import { endpoint, pairsOf, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectUp, twoSites } from "./two-sites.ts";

const natted = { localId: { kind: "fqdn", fqdn: "a.example" } } as const;
const expectsNatted = { peers: ["any"], remoteId: { kind: "fqdn", fqdn: "a.example" } } as const;

function behindNat(options: Parameters<typeof twoSites>[0] = {}) {
  const sites = twoSites({
    ...options,
    a: { addresses: ["10.0.0.5"], ...natted, ...options.a },
    b: { ...expectsNatted, ...options.b },
  });
  const nat = new Nat("10.0.0.5", "203.0.113.77");
  sites.sim.network.nats.push(nat);
  return { ...sites, nat };
}

describe("NAT traversal (RFC 7296 §2.23)", () => {
  it("initiator behind a NAT: both sides find it, move to port 4500 and encapsulate in UDP", () => {
    const sites = behindNat();
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    expectUp(sites);
    expect(tunnelStatus(sim, a)).toMatchObject({
      local: "10.0.0.5:4500",
      remote: `${addressB}:4500`,
      ike: { nat: "local" },
    });
    expect(tunnelStatus(sim, b)).toMatchObject({
      local: `${addressB}:4500`,
      remote: "203.0.113.77:20001",
      ike: { nat: "remote" },
    });
    expect(a.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 4500 });
    expect(b.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 20001 });
    expect(`${b.outbound[0]!.remote}`).toBe("203.0.113.77");
  });

  it("keeps the NAT's mapping alive from behind it, and only from there", () => {
    const { sim, a, b } = behindNat();
    sim.start(a, b);
    sim.run(101_000);
    expect(a.keepalives).toBe(5);
    expect(b.keepalives).toBe(0);
  });

  it("responder behind a NAT", () => {
    const sites = twoSites({
      a: { peers: ["203.0.113.77"], remoteId: { kind: "fqdn", fqdn: "b.example" } },
      b: { addresses: ["10.0.0.9"], localId: { kind: "fqdn", fqdn: "b.example" } },
    });
    const { sim, a, b } = sites;
    // A one-to-one destination NAT: 203.0.113.77 is 10.0.0.9 inside.
    const inside = endpoint("10.0.0.9").address;
    const outside = endpoint("203.0.113.77").address;
    sim.network.faults.push((packet) => {
      const replaced =
        packet.from === "A"
          ? { ...packet, destination: { ...packet.destination, address: inside } }
          : { ...packet, source: { ...packet.source, address: outside } };
      return { replace: [replaced] };
    });
    sim.start(a, b);
    sim.run(1000);
    expectUp(sites);
    expect(tunnelStatus(sim, a).ike!.nat).toBe("remote");
    expect(tunnelStatus(sim, b).ike!.nat).toBe("local");
    expect(a.outbound[0]!.encapsulation.kind).toBe("udp");
    expect(b.outbound[0]!.encapsulation.kind).toBe("udp");
  });

  it.each(["a", "b"] as const)("site %s forces encapsulation on a path without NAT", (site) => {
    const sites = twoSites({ [site]: { natTraversal: { forceEncapsulation: true } } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectUp(sites);
    for (const node of [sites.a, sites.b])
      expect(node.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 4500 });
    const forcing = site === "a" ? sites.a : sites.b;
    expect(tunnelStatus(sites.sim, forcing).ike!.nat).toBe("forced");
    expect(forcing.keepalives).toBe(0);
  });

  it.each(["a", "b"] as const)(
    "site %s without NAT traversal: raw ESP, port 500, even behind a NAT",
    (site) => {
      const sites = twoSites({ [site]: { natTraversal: { enabled: false } } });
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(1000);
      expectUp(sites);
      for (const node of [sites.a, sites.b]) expect(node.outbound[0]!.encapsulation).toEqual({ kind: "esp" });
      expect(tunnelStatus(sites.sim, sites.a).local).toBe("192.0.2.1:500");
    },
  );

  it("many peers behind one address are told apart by their SPIs", () => {
    const first = behindNat();
    const { sim, a, b } = first;
    const second = twoSites({ a: { addresses: ["10.0.0.6"], ...natted } });
    sim.network.nats.push(new Nat("10.0.0.6", "203.0.113.78"));
    const other = sim.add("A2", second.configA);
    sim.start(a, b, other);
    sim.run(1000);
    // Same identity, same connection: the later one has taken over, and the earlier one is closed.
    expect(tunnelStatus(sim, other).state).toBe("up");
    expect(pairsOf(other, b).matched).toBe(2);
  });

  it("follows a peer whose NAT gives it another port, and makes SAs for the new address", () => {
    const sites = behindNat();
    const { sim, a, b, nat } = sites;
    sim.start(a, b);
    sim.run(1000);
    nat.forget();
    // A's next liveness check comes from the new port.
    sim.run(30_000);
    expectUp(sites);
    expect(tunnelStatus(sim, b).remote).toBe("203.0.113.77:20002");
    expect(b.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 20002 });
  });

  it("follows a peer that the data plane saw elsewhere before IKE did", () => {
    const sites = behindNat();
    const { sim, a, b, nat } = sites;
    sim.start(a, b);
    sim.run(1000);
    nat.forget();
    nat.translate({
      from: "A",
      source: endpoint("10.0.0.5", 4500),
      destination: endpoint(addressB, 4500),
      datagram: new Uint8Array(0),
    });
    sim.event(b, { kind: "peerMoved", spi: b.inbound[0]!.spi, remote: endpoint("203.0.113.77", 20002) });
    sim.run(5000);
    expectUp(sites);
    expect(b.outbound[0]!.encapsulation).toEqual({ kind: "udp", localPort: 4500, remotePort: 20002 });
  });

  it("does not believe a peer that moved without a NAT", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    sim.event(b, { kind: "peerMoved", spi: b.inbound[0]!.spi, remote: endpoint("203.0.113.1", 4500) });
    sim.run(1000);
    expect(tunnelStatus(sim, b).remote).toBe(`${addressA}:4500`);
  });

  it("IKE_AUTH lost on port 4500 is repeated there", () => {
    const sites = behindNat();
    sites.sim.network.faults.push(impair.drop("IKE_AUTH request", 2));
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(5000);
    expectUp(sites);
  });
});
