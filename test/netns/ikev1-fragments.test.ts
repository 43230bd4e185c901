import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

describeInNamespaces("IKEv1 in fragments ([MS-IKEE])", ["strongswan"], () => {
  it("is read from the first message on, of a peer that does not wait to be told (fragmentation = force)", async () => {
    const { bed, a, b } = await network();
    const ends = {
      ikev1: "main",
      ikeProposals: ["aes256-sha256-modp2048"],
      espProposals: ["aes128-sha256-modp2048"],
    } as const;
    const options = { ...ends, start: "passive", localSubnets: [a.subnet] } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const extraConnection = ["fragmentation = force"];
    const peer = await strongSwanOn(bed, b, a, { ...ends, fragmentSize: 140, extraConnection });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    await peer.waitForLog(/splitting IKE message \(\d+ bytes\) into \d fragments/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });
});
