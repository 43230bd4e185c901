import { expect, it } from "vitest";
import type { CountersResult } from "../../src/api/control-protocol.ts";
import { connectControl } from "../../src/cli/client.ts";
import { Culvert, type CulvertOptions } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import type { Topology } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network, strongSwanOn } from "./support.ts";

/** A second of silence, five without an answer: what an operator in a hurry sets. */
const quick = { connection: { dpd: { intervalSeconds: 1, timeoutSeconds: 5 } } } as const;
/** charon's: a second of silence, then about six without an answer; then it starts again, for ever. */
const quickPeer = {
  retransmitTries: 2,
  extraConnection: ["dpd_delay = 1s", "keyingtries = 0"],
  extraChild: ["dpd_action = restart", "close_action = start"],
} as const;

describeInNamespaces("culvert and strongSwan that lose each other", ["strongswan"], () => {
  it("come back after kill -9 of strongSwan, culvert initiating", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, encapsulated({ a, b }, quick));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    peer.program.signal("SIGKILL");
    await peer.program.exited;
    await culvert.waitFor("found out", ({ lastFailure }) => lastFailure?.code === "DPD_TIMEOUT");
    await strongSwanOn(bed, b, a, { name: "again" });
    await culvert.waitUp(60_000);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it("come back after kill -9 of strongSwan, strongSwan initiating", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(bed, encapsulated({ a, b }, { ...quick, start: "passive" }));
    const peer = await strongSwanOn(bed, b, a);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const before = await culvert.waitUp();
    peer.program.signal("SIGKILL");
    await peer.program.exited;
    // It is back before culvert has missed it, and begins anew.
    const again = await strongSwanOn(bed, b, a, { name: "again" });
    expect(await again.initiate()).toMatchObject({ code: 0 });
    await culvert.waitFor("up anew", ({ state, tunnels }) => {
      const spi = tunnels[0]?.ike?.spiInitiator;
      return state === "up" && spi !== before.tunnels[0]?.ike?.spiInitiator;
    });
    await waitForPing(b.host, a.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it("come back after kill -9 of culvert, strongSwan initiating", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(bed, encapsulated({ a, b }, { ...quick, start: "passive" }));
    const peer = await strongSwanOn(bed, b, a, quickPeer);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    culvert.program.signal("SIGKILL");
    await culvert.program.exited;
    await culvert.restart();
    await culvert.waitUp(60_000);
    await waitForPing(b.host, a.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it.each(["culvert", "strongSwan"] as const)(
    "come back after the path was cut for longer than both wait, %s initiating",
    async (initiator) => {
      const { bed, a, b } = await network();
      const start = initiator === "culvert" ? "immediately" : "passive";
      const culvert = await Culvert.start(bed, encapsulated({ a, b }, { ...quick, start }));
      const peer = await strongSwanOn(bed, b, a, initiator === "culvert" ? {} : quickPeer);
      if (initiator === "strongSwan") expect(await peer.initiate()).toMatchObject({ code: 0 });
      await culvert.waitUp(60_000);
      await waitForPing(a.host, b.hostAddress);
      await must(["nft", "-f", "-"], { netns: b.gateway, input: cut });
      await culvert.waitFor("found out", ({ lastFailure }) => lastFailure?.code === "DPD_TIMEOUT");
      await must(["nft", "delete", "table", "inet", "cut"], { netns: b.gateway });
      await culvert.waitUp(60_000);
      await waitForPing(a.host, b.hostAddress);
      expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    },
  );
});

describeInNamespaces("two culverts", [], () => {
  it("notice at the next question that the peer has restarted (RFC 6290), not after its timeout", async () => {
    const { bed, a, b } = await network();
    const passive = await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const patient = { connection: { dpd: { intervalSeconds: 1, timeoutSeconds: 600 } } };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", patient));
    await culvert.waitUp();
    passive.program.signal("SIGKILL");
    await passive.program.exited;
    await passive.restart();
    await culvert.waitFor("told", ({ lastFailure }) => lastFailure?.code === "PEER_RESTARTED");
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
  });

  it("count arriving ESP as a sign of life: no IKE message passes while packets do", async () => {
    const { bed, a, b } = await network();
    const settings = {
      connection: {
        dpd: { intervalSeconds: 2 },
        // No message of another kind: neither a rehearsed rekey nor a probe of the path's MTU.
        ipsec: { proposals: [espProposal], rehearseRekey: false, pathMtu: 1500 },
      },
    };
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive", ...settings }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", settings));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const packets = ping(a.host, b.hostAddress, { count: 60, intervalMs: 100 });
    await delay(500);
    const before = await ikeDatagramsIn(culvert);
    expect(before).toBeGreaterThan(0);
    await delay(4_500);
    expect(await ikeDatagramsIn(culvert)).toBe(before);
    expect(await packets).toMatchObject({ lossPercent: 0 });
    // They have stopped: now it is asked again.
    const until = performance.now() + 20_000;
    while ((await ikeDatagramsIn(culvert)) === before && performance.now() < until) await delay(100);
    expect(await ikeDatagramsIn(culvert)).toBeGreaterThan(before);
  });
});

async function ikeDatagramsIn(culvert: Culvert): Promise<number> {
  // Not through the CLI: starting it takes longer than the interval.
  const client = await connectControl(culvert.controlSocket);
  try {
    return (await client.ask<CountersResult>({ verb: "counters" })).counters["ike_datagrams_in"]!;
  } finally {
    client.close();
  }
}

function encapsulated(
  { a, b }: Pick<Topology, "a" | "b">,
  overrides: Partial<CulvertOptions>,
): CulvertOptions {
  return gatewayOn(a, b, "a", { forceEncapsulation: true, ...overrides });
}

/** Nothing of the outer network passes, in either direction. */
const cut = `
table inet cut {
  chain in { type filter hook prerouting priority -300; iifname "wan" drop; }
  chain out { type filter hook postrouting priority 300; oifname "wan" drop; }
}
`;
