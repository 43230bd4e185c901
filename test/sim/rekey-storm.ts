import assert from "node:assert/strict";
import { expectSettled, rekeyChild } from "./collision.ts";
import { type Fault, fair, impair } from "./network.ts";
import { SeededRandom } from "./random.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectCarrying, type Sites, twoSites } from "./two-sites.ts";

/**
 * A long life in bad weather, from a seed: both sides rekey every few seconds, often at once, a fifth of all datagrams
 * is lost, others come late, twice or in another order. All the time each side sends with what the other can open, the
 * number of SAs stays small, and afterwards one pair is left. Returns how many CHILD_SAs and IKE SAs were made.
 */
export function rekeyStorm(seed: number, seconds = 240): { children: number; ikeSas: number } {
  const random = new SeededRandom(seed ^ 0x2e4e);
  const quick = random.below(2) === 0;
  // An IKE SA whose CHILD_SAs are always being rekeyed hardly ever meets another rekey of itself.
  const ikeOnly = random.below(3) === 0;
  const traffic = random.below(2) === 0;
  const sites = twoSites({
    both: {
      ikeLifetimeSeconds: 100,
      lifetimeSeconds: 3600,
      esp: [quick ? "aes128gcm16" : "aes128gcm16-x25519"],
      dpd: { enabled: random.below(2) === 0, intervalSeconds: 5 },
      natTraversal: { forceEncapsulation: random.below(2) === 0 },
    },
    // Nobody gives up: what is tested is what happens to those who do get through.
    sim: {
      seed,
      limits: { establishedMs: 80_000, rekeyedMs: 90_000, retransmitMaxMs: 400, rekeyRetryMs: 2_000 },
    },
  });
  const { sim, a, b } = sites;
  sim.start(a, b);
  sim.run(200);
  expectSettled(sites);
  sim.network.weather = {
    loss: 0.2,
    duplication: 0.2,
    delayMs: 1 + random.below(40),
    jitterMs: random.below(300),
  };
  const end = sim.now + seconds * 1000;
  while (sim.now < end) {
    const parties = ikeOnly ? [] : (["A", "B"] as const).filter(() => random.below(3) > 0);
    for (const party of parties) rekeyChild(sites, party);
    sim.network.faults.length = 0;
    if (ikeOnly) sim.network.faults.push(untilBothAsk(sites));
    else if (random.below(3) === 0)
      sim.network.faults.push(impair.delay("CREATE_CHILD_SA", random.below(8_000), 1 + random.below(12)));
    for (let left = 200 + random.below(6_000); left > 0; left -= 40) {
      sim.run(40);
      expectCarrying(sites);
      if (traffic) {
        sim.packet(a, b, random.below(200));
        sim.packet(b, a, random.below(200));
      }
      for (const node of [a, b])
        assert.ok(
          node.installed.length <= 16,
          `${node.name} holds ${node.installed.length} SAs at ${sim.now}`,
        );
    }
  }
  sim.network.faults.length = 0;
  sim.network.weather = fair;
  for (let i = 0; i < 250; i++) {
    sim.run(100);
    expectCarrying(sites);
  }
  const settled = () =>
    [a, b].every((n) => n.gateway.status(sim.now).ike.sas === 1 && n.installed.length === 2);
  // An IKE SA whose Delete was given up is closed by its other side, as late as `rekeyedMs`.
  sim.runUntil(settled, 120_000);
  expectSettled(sites);
  const count = (message: string) => a.logs.filter((l) => l.message === message).length;
  return { children: count("CHILD_SA rekeyed"), ikeSas: count("IKE SA rekeyed") };
}

/** Nobody's request to rekey the IKE SA arrives before the other side has sent its own. */
function untilBothAsk({ sim, a, b }: Sites): Fault {
  return (_, name) => {
    const [ikeA, ikeB] = [a, b].map((node) => tunnelStatus(sim, node).ike);
    const alone = (ikeA?.rekeyInMs === undefined) !== (ikeB?.rekeyInMs === undefined);
    const same = ikeA?.spiInitiator === ikeB?.spiInitiator;
    return same && alone && name.startsWith("CREATE_CHILD_SA request") ? "drop" : "pass";
  };
}
