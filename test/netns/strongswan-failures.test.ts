import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import type { StrongSwanOptions } from "../../testbed/strongswan.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network, strongSwanOn } from "./support.ts";

async function sites(options: Partial<StrongSwanOptions>) {
  const { bed, a, b } = await network();
  const peer = await strongSwanOn(bed, b, a, options);
  return { bed, a, b, peer };
}

describeInNamespaces("rekey rehearsal against strongSwan", ["strongswan"], () => {
  it("esp_proposals without our PFS group: a warning in seconds, and traffic goes on", async () => {
    const { bed, a, b } = await sites({ espProposals: ["aes128gcm16"] });
    const espProposals = ["aes128gcm16-modp2048"];
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { espProposals, forceEncapsulation: true }),
    );
    const before = await culvert.waitUp();
    const spi = before.tunnels[0]!.children[0]!.spiIn;
    const after = await culvert.waitFor("warned", ({ warnings }) => warnings.length > 0);
    expect(after.state).toBe("up");
    expect(after.warnings[0]).toMatchObject({
      code: "REKEY_REHEARSAL_FAILED",
      ours: espProposals,
      theirs: ["NO_PROPOSAL_CHOSEN"],
    });
    expect(after.warnings[0]!.difference).toContain("modp2048");
    expect(after.tunnels[0]!.children.map((c) => c.spiIn)).toEqual([spi]);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    // For people and for machines.
    const { stdout } = await culvert.cli(["status"]);
    expect(stdout).toContain("REKEY_REHEARSAL_FAILED");
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    const metrics = await culvert.cli(["metrics"]);
    expect(metrics.stdout).toContain('culvert_connection_warnings{connection="peer"} 1');
    expect(metrics.stdout).toContain(
      'culvert_tunnel_failures_total{connection="peer",code="REKEY_REHEARSAL_FAILED"} 1',
    );
    const events = await culvert.cli(["events", "--json"]);
    const types = events.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).type);
    expect(types).toEqual(expect.arrayContaining(["tunnel", "ikeSa", "childSa", "failure"]));
  });

  it("the same groups: rekeyed once, and no warning", async () => {
    const proposal = { espProposals: ["aes128gcm16-modp2048"] };
    const { bed, a, b } = await sites(proposal);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...proposal, forceEncapsulation: true }));
    await culvert.waitUp();
    const after = await culvert.waitFor("rehearsed", ({ counts }) => counts.childRekeys === 1);
    expect(after.warnings).toEqual([]);
    await waitForPing(a.host, b.hostAddress);
  });
});

describeInNamespaces("reauthentication with strongSwan", ["strongswan"], () => {
  const handshakes = { connection: { ipsec: { rehearseRekey: false, proposals: [espProposal] } } };

  it("strongSwan reauthenticates make-before-break as initiator, and no packet is lost", async () => {
    const { bed, a, b, peer } = await sites({
      extraConnection: ["reauth_time = 5s", "rekey_time = 0", "over_time = 60s", "rand_time = 0"],
      makeBeforeBreak: true,
    });
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { start: "passive", forceEncapsulation: true, ...handshakes }),
    );
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 1300, intervalMs: 10 })).toMatchObject({
      received: 1300,
    });
    const { counts, failures, state } = await culvert.connection();
    expect(state).toBe("up");
    expect(counts.handshakesAnswered).toBeGreaterThanOrEqual(2);
    expect(failures).toEqual([]);
  });

  it("strongSwan as responder asks for it with AUTH_LIFETIME, and gets it", async () => {
    const { bed, a, b } = await sites({
      extraConnection: ["reauth_time = 12s", "rekey_time = 0", "over_time = 60s", "rand_time = 0"],
      makeBeforeBreak: true,
    });
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { forceEncapsulation: true, ...handshakes }),
    );
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 1300, intervalMs: 10 })).toMatchObject({
      received: 1300,
    });
    const { counts } = await culvert.connection();
    expect(counts.handshakesInitiated + counts.handshakesAnswered).toBeGreaterThanOrEqual(2);
  });
});
