/** What must hold of a gateway whatever its peer has sent. */
import assert from "node:assert/strict";
import { type Node, type Simulation, tunnelStatus } from "../sim/simulation.ts";
import { expectNothingLeft } from "../sim/two-sites.ts";

export function checkBounds(sim: Simulation, node: Node): void {
  const { sas, inboundSpis } = node.gateway.status(sim.now).ike;
  assert.ok(sas <= 64 && inboundSpis <= 64, `${sas} IKE SAs, ${inboundSpis} SPIs are kept`);
}

/** The peer falls silent: everything about it goes. Then a good one comes. */
export function fallSilent(sim: Simulation, node: Node): void {
  sim.command(node, "down");
  sim.run(300_000);
  expectNothingLeft(node);
  const { sas, halfOpen, inboundSpis } = node.gateway.status(sim.now).ike;
  assert.deepEqual({ sas, halfOpen, inboundSpis }, { sas: 0, halfOpen: 0, inboundSpis: 0 });
  sim.network.faults.length = 0;
  sim.command(node, "up");
  const other = sim.nodes.find((n) => n !== node)!;
  sim.start(other);
  sim.command(other, "up");
  assert.ok(
    sim.runUntil(() => tunnelStatus(sim, node).state === "up", 120_000),
    "a good peer is not served any more",
  );
}
