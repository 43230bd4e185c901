import { describe, expect, it } from "vitest";
import { IpAddress } from "../../src/core/address.ts";
import { type Node, type Simulation, tunnelStatus } from "./simulation.ts";
import { addressB, expectCarrying, expectUp, type Sites, sitesUp } from "./two-sites.ts";

const auto = { both: { pathMtu: "auto" } } as const;
const inform = "INFORMATIONAL request";

/** What `node` says of its path, and what its data plane was told for each of its SAs. */
function pathOf(sim: Simulation, node: Node) {
  const { bytes, state } = tunnelStatus(sim, node).pathMtu!;
  return { bytes, state, installed: [...new Set(node.installed.map((sa) => sa.pathMtu))] };
}

const settled = (bytes: number, state = "complete") => ({ bytes, state, installed: [bytes] });

function narrow({ sim, a, b }: Sites, bytes: number, dropsFragments = true): void {
  for (const node of [a, b]) sim.network.mtus.set(node.name, bytes);
  sim.network.dropsFragments = dropsFragments;
}

const requests = ({ sim }: Sites) => sim.network.trace.filter((line) => line.includes(inform)).length;

describe("path-MTU discovery (RFC 8899) without ICMP", () => {
  it("confirms a path that carries everything with one probe: HDR, SK {N(padding)} -->", () => {
    const sites = sitesUp(auto, 900);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1500, "checking"));
    sites.sim.run(1_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1500));
    expect(sites.sim.network.trace.length).toBe(4);
  });

  it.each([1499, 1492, 1480, 1410, 1400, 1393, 1300, 1281, 1280, 1200, 1000, 576])(
    "finds that a black hole carries %i, to the byte, within seconds",
    (mtu) => {
      const sites = sitesUp(auto, 500);
      narrow(sites, mtu);
      // Below 1280 it begins at the next floor, and searches up from there.
      sites.sim.run(mtu < 1280 ? 16_000 : 11_000);
      const found = pathOf(sites.sim, sites.a);
      expect(found).toEqual(settled(mtu));
      expect(pathOf(sites.sim, sites.b)).toEqual(found);
      expectUp(sites);
    },
  );

  it("rounds down to the blocks of the cipher", () => {
    const sites = sitesUp({ both: { pathMtu: "auto", ike: ["aes128-sha256-modp2048"] } }, 500);
    narrow(sites, 1400);
    sites.sim.run(15_000);
    const { bytes, state } = pathOf(sites.sim, sites.a);
    expect([state, bytes > 1400 - 16, bytes <= 1400]).toEqual(["complete", true, true]);
  });

  it("ends where routers fragment what they may: probes say no, and everything else arrives", () => {
    const sites = sitesUp(auto, 500);
    narrow(sites, 1400, false);
    sites.sim.run(15_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1400));
  });

  it("finds a path that has shrunk while ESP arrives, and one that has grown ten minutes later", () => {
    const sites = sitesUp(auto, 3_000);
    const { sim, a, b } = sites;
    const hear = () => {
      for (const node of [a, b]) for (const { spi } of node.inbound) node.lastInbound.set(spi, sim.now);
    };
    const runHearing = (ms: number) => {
      for (let at = 0; at < ms; at += 1_000) {
        hear();
        sim.run(1_000);
      }
    };
    narrow(sites, 1400);
    runHearing(45_000);
    expect(pathOf(sim, a)).toEqual(settled(1400));
    sim.network.mtus.clear();
    runHearing(60_000);
    expect(pathOf(sim, a)).toEqual(settled(1400));
    runHearing(600_000);
    expect(pathOf(sim, a)).toEqual(settled(1500));
    expect(a.events.filter((e) => e.type === "pathMtu").map((e) => "bytes" in e && e.bytes)).toContain(1400);
    expect(a.failures).toEqual([]);
  });

  it("probes with the liveness checks of an idle tunnel, and asks no more often for it", () => {
    const plain = sitesUp({}, 3_000);
    const probing = sitesUp(auto, 3_000);
    for (const sites of [plain, probing]) sites.sim.run(100_000);
    expect(Math.abs(requests(probing) - requests(plain))).toBeLessThanOrEqual(2);
    narrow(probing, 1300);
    probing.sim.run(30_000);
    expect(pathOf(probing.sim, probing.a)).toEqual(settled(1300));
  });

  it("takes a lost probe for a lost probe: 20 % loss kills no tunnel and shrinks no path for good", () => {
    const sites = sitesUp(auto, 3_000);
    sites.sim.network.weather = { loss: 0.2, duplication: 0.1, delayMs: 10, jitterMs: 30 };
    sites.sim.run(600_000);
    sites.sim.network.weather = { loss: 0, duplication: 0, delayMs: 10, jitterMs: 0 };
    sites.sim.run(620_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1500));
    expect(sites.a.failures).toEqual([]);
    expectUp(sites);
  });

  it("is not misled by a path that is slower than its timers", () => {
    const sites = sitesUp(auto, 400);
    sites.sim.network.weather = { loss: 0, duplication: 0, delayMs: 350, jitterMs: 0 };
    sites.sim.run(60_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1500));
  });

  it("holds up no other exchange for longer than a probe may take", () => {
    const sites = sitesUp(auto, 500);
    narrow(sites, 1400);
    sites.sim.run(600);
    sites.sim.rekey(sites.a);
    sites.sim.run(2_000);
    expectCarrying(sites);
    expect(sites.a.events.some((e) => e.type === "childSa" && e.change === "rekeyed")).toBe(true);
  });

  it("still finds a dead peer, and in the same time", () => {
    const sites = sitesUp(auto, 3_000);
    sites.b.dead = true;
    sites.sim.run(45_000);
    expect(sites.a.failures.map(({ code }) => code)).toContain("DPD_TIMEOUT");
  });

  it("goes on in the successor of a rekeyed IKE SA, and begins with what was known after a new set-up", () => {
    const sites = sitesUp(auto, 500);
    narrow(sites, 1400);
    sites.sim.run(15_000);
    sites.sim.rekey(sites.a, { ike: true });
    sites.sim.run(1_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1400));
    sites.sim.command(sites.a, "down");
    sites.sim.run(1_000);
    sites.sim.command(sites.a, "up");
    sites.sim.run(900);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1400, "checking"));
    sites.sim.run(20_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1400));
  });
});

describe("ICMP is a hint", () => {
  const claim = (sites: Sites, mtu: number) =>
    sites.sim.event(sites.a, { kind: "pathMtu", remote: IpAddress.parse(addressB), mtu });

  it("finds a path that has shrunk at once, with the claimed size first", () => {
    const sites = sitesUp(auto, 3_000);
    narrow(sites, 1413);
    claim(sites, 1413);
    sites.sim.run(4_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1413));
  });

  it.each([0, 68, 576, 1280, 1499, 1500, 9000])("a forged one of %i changes nothing", (mtu) => {
    const sites = sitesUp(auto, 3_000);
    const before = requests(sites);
    for (let i = 0; i < 100; i++) {
      claim(sites, mtu);
      sites.sim.run(10);
    }
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1500));
    expect(sites.a.events.filter((e) => e.type === "pathMtu")).toEqual([]);
    // One probe in ten seconds, whoever asks for more.
    expect(requests(sites) - before).toBeLessThanOrEqual(1);
  });
});

describe("a path MTU that the operator knows", () => {
  it("is told to the data plane and never probed", () => {
    const sites = sitesUp({ both: { pathMtu: 1400 } }, 3_000);
    expect(pathOf(sites.sim, sites.a)).toEqual(settled(1400, "configured"));
    expect(sites.sim.network.trace).toEqual([]);
  });
});
