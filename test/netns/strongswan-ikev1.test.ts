import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
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
});
