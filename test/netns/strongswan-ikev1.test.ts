import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { delay } from "../../testbed/exec.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

const modes = ["main", "aggressive"] as const;
const proposals = { ikeProposals: ["aes256-sha256-modp2048"], espProposals: ["aes128-sha256-modp2048"] };

describeInNamespaces("culvert and strongSwan in IKEv1", ["strongswan"], () => {
  it.each(modes)("carries traffic when culvert initiates in %s mode", async (ikev1) => {
    const { bed, a, b } = await network();
    await strongSwanOn(bed, b, a, { ...proposals, ikev1 });
    const options = {
      ...proposals,
      ikev1,
      forceEncapsulation: true,
      logLevel: "debug",
      localSubnets: [a.subnet],
    };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const connection = await culvert.waitUp();
    expect(connection.tunnels[0]?.ike).toMatchObject({ role: "initiator" });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 20, intervalMs: 10 })).toMatchObject({ received: 20 });
  });

  it.each(modes)("carries traffic when strongSwan initiates in %s mode", async (ikev1) => {
    const { bed, a, b } = await network();
    const options = { ...proposals, ikev1, start: "passive", localSubnets: [a.subnet] } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const peer = await strongSwanOn(bed, b, a, { ...proposals, ikev1 });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const connection = await culvert.waitUp();
    expect(connection.tunnels[0]?.ike).toMatchObject({ role: "responder" });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 20, intervalMs: 10 })).toMatchObject({ received: 20 });
  });

  it("finds the NAT in front of culvert, which moves ESP into UDP", async () => {
    const { bed, a, b } = await network({ nat: true });
    const peer = await strongSwanOn(bed, b, a, { ...proposals, ikev1: "main" });
    const options = { ...proposals, ikev1: "main", localSubnets: [a.subnet] } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const { tunnels } = await culvert.waitUp();
    // strongSwan makes up a NAT on its side, because its ESP knows UDP only.
    expect(tunnels[0]).toMatchObject({ ike: { nat: "both" }, children: [{ encapsulation: "udp" }] });
    await peer.waitForLog(/remote host is behind NAT/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });

  it("knows the peer by a name and by a key ID", async () => {
    for (const [name, remoteId, ours] of [
      ["names", "peer@example.net", "gateway.example.net"],
      ["keys", "keyid:branch 7", "keyid:hub 1"],
    ] as const) {
      const { bed, a, b } = await network();
      await strongSwanOn(bed, b, a, {
        ...proposals,
        ikev1: "main",
        localId: quoted(remoteId),
        remoteId: quoted(ours),
      });
      const options = {
        ...proposals,
        ikev1: "main",
        forceEncapsulation: true,
        localSubnets: [a.subnet],
        connection: {
          ike: {
            version: "ikev1",
            proposals: proposals.ikeProposals,
            localId: said(ours),
            remoteId: said(remoteId),
          },
        },
      } as const;
      const culvert = await Culvert.start(bed, gatewayOn(a, b, name, options));
      await culvert.waitUp();
      await waitForPing(a.host, b.hostAddress);
    }
  });

  it("comes back after kill -9 of strongSwan, which DPD finds out (RFC 3706)", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, { ...proposals, ikev1: "main" });
    const options = {
      ...proposals,
      ikev1: "main",
      forceEncapsulation: true,
      localSubnets: [a.subnet],
      ...quick,
    } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await culvert.waitUp();
    // Some questions and answers before that.
    await peer.waitForLog(/INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD_ACK\) \]/, 10_000);
    peer.program.signal("SIGKILL");
    await peer.program.exited;
    await culvert.waitFor("found out", ({ lastFailure }) => lastFailure?.code === "DPD_TIMEOUT");
    await strongSwanOn(bed, b, a, { ...proposals, ikev1: "main", name: "again" });
    await culvert.waitUp(60_000);
    await waitForPing(a.host, b.hostAddress);
  });

  it("is deleted by strongSwan and comes back by itself", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, { ...proposals, ikev1: "main" });
    const options = {
      ...proposals,
      ikev1: "main",
      forceEncapsulation: true,
      localSubnets: [a.subnet],
    } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const before = (await culvert.waitUp()).tunnels[0]?.ike?.spiInitiator;
    expect(await peer.swanctl(["--terminate", "--ike", "peer"])).toMatchObject({ code: 0 });
    await culvert.waitFor("up again", ({ state, tunnels }) => {
      return state === "up" && tunnels[0]?.ike !== undefined && tunnels[0].ike.spiInitiator !== before;
    });
    await waitForPing(a.host, b.hostAddress);
  });

  it("loses no packet while either side sets up the ISAKMP SA anew", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, {
      ...proposals,
      ikev1: "main",
      extraConnection: ["rekey_time = 2s", "rand_time = 0", "over_time = 60s"],
    });
    const options = {
      ...proposals,
      ikev1: "main",
      forceEncapsulation: true,
      localSubnets: [a.subnet],
    } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const pinging = ping(a.host, b.hostAddress, { count: 400, intervalMs: 10 });
    for (let i = 0; i < 2; i++) {
      await delay(1_000);
      expect(await culvert.cli(["rekey", "peer", "--ike"])).toMatchObject({ code: 0 });
    }
    expect(await pinging).toMatchObject({ received: 400 });
    expect((await culvert.connection()).state).toBe("up");
    expect((await peer.sas()).match(/INSTALLED/g)?.length).toBe(1);
  });
});

const quick = { connection: { dpd: { intervalSeconds: 1, timeoutSeconds: 5 } } } as const;
const quoted = (id: string) => (id.startsWith("keyid:") ? `"${id}"` : id);
const said = (id: string) => (id.startsWith("keyid:") ? { keyId: id.slice("keyid:".length) } : id);
