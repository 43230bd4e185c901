import { describe, expect, it } from "vitest";
import { type Endpoint, formatEndpoint } from "../../src/core/address.ts";
import { siteConfig } from "./config.ts";
import type { Packet } from "./network.ts";
import { endpoint, type Node, pairsOf, Simulation, tunnelStatus } from "./simulation.ts";

/** A NAT in front of many hosts with one address: a port of its own for each inner address and port. */
function masquerade(outside: string, isInside: (address: string) => boolean) {
  const ports = new Map<string, number>();
  const inner = new Map<number, Endpoint>();
  return (packet: Packet): Packet | undefined => {
    if (isInside(packet.source.address.toString())) {
      const key = formatEndpoint(packet.source);
      if (!ports.has(key)) {
        ports.set(key, 30_000 + ports.size);
        inner.set(ports.get(key)!, packet.source);
      }
      return { ...packet, source: endpoint(outside, ports.get(key)!) };
    }
    if (packet.destination.address.toString() !== outside) return packet;
    const to = inner.get(packet.destination.port);
    return to && { ...packet, destination: to };
  };
}

const count = 50;
const hub = "198.51.100.7";

/** Fifty branches behind 203.0.113.77, one hub that lets in whoever has the key. */
function branches() {
  const sim = new Simulation({ limits: { halfOpenPerAddress: 2 * count } });
  const subnet = (i: number) => `10.${100 + Math.floor(i / 200)}.${i % 200}.0/24`;
  const flows = { routing: "protected-data-flows", dpd: { intervalSeconds: 10 } } as const;
  const hubConfig = siteConfig({
    name: "hub",
    addresses: [hub],
    peers: ["any"],
    start: "passive",
    localSubnets: ["10.0.0.0/16"],
    remoteSubnets: Array.from({ length: count }, (_, i) => subnet(i)),
    ...flows,
  });
  const node = sim.add("hub", hubConfig);
  const spokes = Array.from({ length: count }, (_, i) => {
    const config = siteConfig({
      name: `branch ${i}`,
      addresses: [`192.168.1.${i + 1}`],
      peers: [hub],
      localSubnets: [subnet(i)],
      remoteSubnets: ["10.0.0.0/16"],
      localId: { kind: "fqdn", fqdn: `branch${i}.example` },
      ...flows,
    });
    return { node: sim.add(`branch ${i}`, config), config };
  });
  const nat = masquerade("203.0.113.77", (address) => address.startsWith("192.168."));
  sim.network.faults.push((packet) => {
    const translated = nat(packet);
    return translated ? { replace: [translated] } : "drop";
  });
  return { sim, hub: node, hubConfig, spokes };
}

/** Each branch has its own pair with the hub, and the hub has no other. */
function expectAllPaired(hubNode: Node, spokes: readonly { node: Node }[]): void {
  expect(hubNode.inbound).toHaveLength(spokes.length);
  expect(hubNode.outbound).toHaveLength(spokes.length);
  for (const { node } of spokes) expect(pairsOf(node, hubNode).matched, node.name).toBe(2);
  const ports = hubNode.outbound.map(({ encapsulation }) =>
    encapsulation.kind === "udp" ? encapsulation.remotePort : 0,
  );
  expect(new Set(ports).size).toBe(spokes.length);
}

describe("fifty gateways behind one NAT address", () => {
  it("all come up, stay up through liveness checks, and are told apart by their ports", () => {
    const { sim, hub: node, spokes } = branches();
    sim.start(node, ...spokes.map((s) => s.node));
    sim.run(20_000);
    expectAllPaired(node, spokes);
    const before = node.inbound.map(({ spi }) => spi).sort();
    sim.run(300_000);
    expectAllPaired(node, spokes);
    expect(node.inbound.map(({ spi }) => spi).sort()).toEqual(before);
    expect(node.failures).toEqual([]);
  });

  it("one of them begins anew and says INITIAL_CONTACT: only its own IKE SA goes", () => {
    const { sim, hub: node, spokes } = branches();
    sim.start(node, ...spokes.map((s) => s.node));
    sim.run(20_000);
    const others = new Set(node.inbound.map(({ spi }) => spi));
    sim.crash(spokes[7]!.node, spokes[7]!.config);
    sim.run(20_000);
    expectAllPaired(node, spokes);
    expect(node.inbound.filter(({ spi }) => others.has(spi))).toHaveLength(count - 1);
  });

  it("one of them leaves: the others do not notice", () => {
    const { sim, hub: node, spokes } = branches();
    sim.start(node, ...spokes.map((s) => s.node));
    sim.run(20_000);
    sim.command(spokes[3]!.node, "down");
    sim.run(60_000);
    expectAllPaired(
      node,
      spokes.filter((_, i) => i !== 3),
    );
    expect(tunnelStatus(sim, spokes[3]!.node).state).toBe("down");
  });

  it("the hub restarts: all are back within two liveness intervals", () => {
    const { sim, hub: node, hubConfig, spokes } = branches();
    sim.start(node, ...spokes.map((s) => s.node));
    sim.run(20_000);
    sim.crash(node, hubConfig);
    sim.run(100_000);
    expectAllPaired(node, spokes);
  });
});
