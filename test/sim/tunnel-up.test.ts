import { describe, expect, it } from "vitest";
import { IpAddress } from "../../src/core/address.ts";
import { connectionConfig, siteConfig } from "./config.ts";
import { pairsOf, Simulation, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, expectUp, ikeSuite, twoSites } from "./two-sites.ts";

describe("a tunnel comes up (RFC 7296 §1.2)", () => {
  it("HDR, SAi1, KEi, Ni --> <-- HDR, SAr1, KEr, Nr; HDR, SK {IDi, AUTH, ...} --> <-- HDR, SK {IDr, AUTH, ...}", () => {
    const sites = twoSites();
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(1000);
    expect(sim.network.trace).toEqual([
      "A: IKE_SA_INIT request 0",
      "B: IKE_SA_INIT response 0",
      "A: IKE_AUTH request 1",
      "B: IKE_AUTH response 1",
    ]);
    expectUp(sites);
    expect(tunnelStatus(sim, a)).toMatchObject({
      local: "192.0.2.1:4500",
      remote: "198.51.100.7:4500",
      localId: "192.0.2.1",
      remoteId: "198.51.100.7",
      ike: { role: "initiator", suite: "aes128gcm16-prfsha256-x25519", nat: "none", handshakeMs: 40 },
      children: [
        {
          suite: "aes128gcm16-esn",
          encapsulation: "esp",
          localSelectors: ["0.0.0.0/0", "::/0"],
          remoteSelectors: ["0.0.0.0/0", "::/0"],
        },
      ],
    });
    expect(a.inbound[0]).toMatchObject({ esn: true, replayWindow: 4096, encapsulation: { kind: "esp" } });
    expect(a.kernelRoutes).toEqual(["10.2.0.0/16"]);
  });

  it("over IPv6", () => {
    const sites = twoSites({
      a: { addresses: ["2001:db8::1"], peers: ["2001:db8::2"] },
      b: { addresses: ["2001:db8::2"], peers: ["2001:db8::1"] },
    });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectUp(sites);
    expect(tunnelStatus(sites.sim, sites.b).remote).toBe("[2001:db8::1]:4500");
  });

  it("chooses by the responder's order of preference", () => {
    const sites = twoSites({
      a: { ike: ["aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-x25519"] },
      b: { ike: ["aes256gcm16-prfsha384-x25519", "aes128gcm16-prfsha256-x25519"] },
    });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expect(ikeSuite(sites, sites.a)).toBe("aes256gcm16-prfsha384-x25519");
  });

  it.each([
    ["fqdn", { kind: "fqdn", fqdn: "a.example" }, { kind: "fqdn", fqdn: "A.EXAMPLE" }],
    ["email", { kind: "email", email: "vpn@a.example" }, { kind: "email", email: "vpn@a.example" }],
    [
      "keyId",
      { kind: "keyId", keyId: Uint8Array.of(1, 2, 0, 255) },
      { kind: "keyId", keyId: Uint8Array.of(1, 2, 0, 255) },
    ],
    [
      "address",
      { kind: "address", address: IpAddress.parse("10.9.9.9") },
      { kind: "address", address: IpAddress.parse("10.9.9.9") },
    ],
  ] as const)("with a %s identity", (_, localId, remoteId) => {
    const sites = twoSites({ a: { localId }, b: { remoteId } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectUp(sites);
  });

  it("narrows to the subnets of protected data flows, from either side", () => {
    const sites = twoSites({
      a: {
        routing: "protected-data-flows",
        localSubnets: ["10.1.0.0/16", "10.8.0.0/16"],
        remoteSubnets: ["10.2.0.0/16"],
      },
      b: {
        routing: "protected-data-flows",
        localSubnets: ["10.2.3.0/24"],
        remoteSubnets: ["10.1.0.0/16"],
      },
    });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectUp(sites);
    const [child] = tunnelStatus(sites.sim, sites.a).children;
    expect(child).toMatchObject({ localSelectors: ["10.1.0.0/16"], remoteSelectors: ["10.2.3.0/24"] });
    const [peerChild] = tunnelStatus(sites.sim, sites.b).children;
    expect(peerChild).toMatchObject({ localSelectors: ["10.2.3.0/24"], remoteSelectors: ["10.1.0.0/16"] });
  });
});

describe("who starts", () => {
  it("on-traffic: the first packet for the connection starts it, and nothing before", () => {
    const sites = twoSites({ a: { start: "on-traffic" } });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(60_000);
    expect(sim.network.trace).toEqual([]);
    expect(tunnelStatus(sim, a).state).toBe("waiting");
    // The route is there all the same: the packet must come to us, and not leave in the clear.
    expect(a.kernelRoutes).toEqual(["10.2.0.0/16"]);
    const packet = { source: IpAddress.parse("10.1.0.1"), destination: IpAddress.parse("10.2.0.1") };
    sim.event(a, {
      kind: "acquire",
      connection: 0,
      ...packet,
      protocol: 1,
      sourcePort: 0,
      destinationPort: 0,
    });
    sim.run(1000);
    expectUp(sites);
  });

  it("passive: waits for the peer for ever", () => {
    const sites = twoSites({ a: { start: "passive" } });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(3_600_000);
    expect(sites.sim.network.trace).toEqual([]);
  });

  it("immediately: asks the DNS at each attempt and follows the answer", () => {
    let address: string[] = [];
    const sites = twoSites({
      a: { peers: ["branch.example"] },
      sim: { dns: () => address },
    });
    const { sim, a, b } = sites;
    sim.start(a, b);
    sim.run(10_000);
    expect(a.failures[0]).toMatchObject({ code: "PEER_NAME_UNRESOLVED", peer: "branch.example" });
    const asked = a.resolves.length;
    expect(asked).toBeGreaterThan(1);
    address = [addressB];
    expect(sim.runUntil(() => tunnelStatus(sim, a).state === "up", 60_000)).toBe(true);
    sim.run(100);
    expectUp(sites);
  });

  it("answers a peer whose address is not known beforehand", () => {
    const sites = twoSites({
      a: { localId: { kind: "fqdn", fqdn: "roamer.example" } },
      b: { peers: ["any"], remoteId: { kind: "fqdn", fqdn: "roamer.example" } },
    });
    sites.sim.start(sites.a, sites.b);
    sites.sim.run(1000);
    expectUp(sites);
  });

  it("tells several connections of one address apart by identity and key", () => {
    const sim = new Simulation();
    const id = (fqdn: string) => ({ kind: "fqdn", fqdn }) as const;
    const base = siteConfig({ addresses: [addressB], start: "passive" });
    const connections = ["one", "two", "three"].map((name, index) =>
      connectionConfig(
        { peers: ["any"], start: "passive", remoteId: id(`${name}.example`), psk: `key of ${name}` },
        name,
        index,
      ),
    );
    const b = sim.add("B", { ...base, connections });
    const a = sim.add(
      "A",
      siteConfig({ addresses: [addressA], peers: [addressB], localId: id("two.example"), psk: "key of two" }),
    );
    sim.start(a, b);
    sim.run(1000);
    expect(pairsOf(a, b)).toEqual({ matched: 2, unmatched: [] });
    const states = b.gateway.status(sim.now).connections.map((c) => [c.name, c.state]);
    expect(states).toEqual([
      ["one", "waiting"],
      ["two", "up"],
      ["three", "waiting"],
    ]);
  });
});

describe("a connection with two tunnels", () => {
  it("brings both up and sends through the first while it stands", () => {
    const sim = new Simulation();
    const a = sim.add("A", siteConfig({ addresses: [addressA], peers: [addressB, "203.0.113.9"] }));
    const b = sim.add("B", siteConfig({ addresses: [addressB], peers: [addressA], start: "passive" }));
    const c = sim.add("C", siteConfig({ addresses: ["203.0.113.9"], peers: [addressA], start: "passive" }));
    sim.start(a, b, c);
    sim.run(1000);
    const spiTo = (address: string) => a.outbound.find((sa) => `${sa.remote}` === address)!.spi;
    const carrying = () => a.plan!.connections[0]!.outbound.map((o) => o.spi);
    expect(carrying()).toEqual([spiTo(addressB), spiTo("203.0.113.9")]);

    b.dead = true;
    sim.run(60_000);
    expect(carrying()).toEqual([spiTo("203.0.113.9")]);
    expect(a.gateway.status(sim.now).connections[0]!.state).toBe("up");
  });
});

describe("status", () => {
  it("names weak algorithms, and why they are", () => {
    const { sim, a } = twoSites({ a: { ike: ["aes128-sha1-modp1024"] } });
    expect(a.gateway.status(sim.now).connections[0]!.weak).toEqual([
      "sha1: SHA-1 is obsolete (RFC 8247 allows its HMAC for old peers only)",
      "modp1024: the discrete logarithm is within reach of a rich attacker (RFC 8247)",
    ]);
  });
});
