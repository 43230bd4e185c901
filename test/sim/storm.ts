import assert from "node:assert/strict";
import { Secret } from "../../src/core/secret.ts";
import { fair } from "./network.ts";
import { SeededRandom } from "./random.ts";
import { type Node, pairsOf, type SimulationOptions, tunnelStatus } from "./simulation.ts";
import { expectNothingLeft, twoSites } from "./two-sites.ts";

/**
 * Bad weather for minutes, from a seed: loss, duplication, reordering, and things that happen meanwhile. When it
 * clears, whatever happened, both sides must converge to exactly one pair of SAs that match, and a `down` must leave
 * nothing. The fake data plane checks the order of every install, publish and remove on the way.
 */
export function storm(seed: number, limits: SimulationOptions["limits"] = {}): void {
  const random = new SeededRandom(seed ^ 0x5eed);
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const watchful = pick([true, true, false]);
  const sites = twoSites({
    both: {
      esp: [pick(["aes128gcm16", "aes256gcm16-x25519"])],
      lifetimeSeconds: pick([60, 120, 86400]),
      // Without liveness checks only the next rekey finds out that a silent peer has forgotten everything.
      ikeLifetimeSeconds: pick(watchful ? [90, 300, 86400] : [90, 300]),
      dpd: { enabled: watchful, intervalSeconds: pick([5, 10]) },
      natTraversal: { forceEncapsulation: pick([false, false, true]) },
    },
    a: { childless: pick(["allow", "force"]) },
    b: {
      start: pick(["passive", "immediately", "on-traffic"] as const),
      childless: pick(["allow", "force"]),
    },
    sim: {
      seed,
      limits: { ...pick([{}, { cookieThreshold: 0 }]), ...limits },
      crashSecretOf: pick([() => undefined, (name: string) => Secret.fromText(`${name}: it survives`)]),
    },
  });
  const { sim, a, b, configA, configB } = sites;
  const soften = (node: Node) => {
    const sa = node.outbound[0];
    if (sa) sim.event(node, { kind: "softLifetime", spi: sa.spi, direction: "outbound", remote: sa.remote });
  };
  const harden = (node: Node) => {
    const sa = node.inbound[0];
    if (sa) sim.event(node, { kind: "hardLifetime", spi: sa.spi, direction: "inbound", remote: sa.remote });
  };
  const happenings: readonly (() => void)[] = [
    () => soften(a),
    () => soften(b),
    () => {
      soften(a);
      soften(b);
    },
    () => harden(pick([a, b])),
    () => sim.command(pick([a, b]), "reset"),
    () => {
      sim.command(a, "down");
      sim.command(a, "up");
    },
    () => (random.below(2) ? sim.crash(a, configA) : sim.crash(b, configB)),
  ];
  sim.network.weather = {
    loss: random.unit() * 0.4,
    duplication: random.unit() * 0.3,
    delayMs: 1 + random.below(60),
    jitterMs: random.below(200),
  };
  sim.start(a, b);
  for (let i = 0; i < 8; i++) {
    sim.run(random.below(40_000));
    if (random.unit() < 0.6) pick(happenings)();
  }
  sim.network.weather = fair;
  // Enough for the slowest path: dead-peer detection, the longest backoff, a hard lifetime, a rekey.
  const settled = () => pairsOf(a, b).matched === 2 && pairsOf(a, b).unmatched.length === 0;
  sim.run(420_000);
  sim.runUntil(() => settled() && bothUp(), 60_000);
  assert.deepEqual(
    { states: states(), pairs: pairsOf(a, b) },
    { states: ["up", "up"], pairs: { matched: 2, unmatched: [] } },
  );
  for (const node of [a, b]) {
    const { sas, halfOpen, inboundSpis } = node.gateway.status(sim.now).ike;
    assert.equal(halfOpen, 0);
    // Beside the one that stands, a closed one may still keep an answer, and a replaced SA may linger.
    assert.ok(sas <= 2 && inboundSpis <= 2, `${node.name} keeps ${sas} IKE SAs and ${inboundSpis} SPIs`);
  }

  sim.command(b, "down");
  sim.command(a, "down");
  sim.run(120_000);
  for (const node of [a, b]) {
    expectNothingLeft(node);
    const { sas, halfOpen, inboundSpis } = node.gateway.status(sim.now).ike;
    assert.deepEqual({ sas, halfOpen, inboundSpis }, { sas: 0, halfOpen: 0, inboundSpis: 0 });
  }

  function states(): string[] {
    return [tunnelStatus(sim, a).state, tunnelStatus(sim, b).state];
  }
  function bothUp(): boolean {
    return states().every((s) => s === "up");
  }
}
