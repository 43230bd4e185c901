import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

const ikeProposals = ["aes256-sha256-modp2048"];
const espProposals = ["aes128-sha256-modp2048"];

describeInNamespaces("culvert and strongSwan in IKEv1, in fragments ([MS-IKEE])", ["strongswan"], () => {
  // `force`: from the first message on, before anybody has said that it takes fragments.
  it.each(["yes", "force"])("reads what strongSwan sends in fragments: fragmentation = %s", async (how) => {
    const { bed, a, b } = await network();
    const ends = { ikeProposals, espProposals, ikev1: "main" } as const;
    const options = { ...ends, start: "passive", localSubnets: [a.subnet] } as const;
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    const peer = await strongSwanOn(bed, b, a, {
      ...ends,
      fragmentSize: 200,
      extraConnection: [`fragmentation = ${how}`],
    });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    await peer.waitForLog(/splitting IKE message \(\d+ bytes\) into \d fragments/, 1_000);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 10, intervalMs: 10 })).toMatchObject({ received: 10 });
  });

  it("sends quick mode in fragments when it is larger than a datagram, which strongSwan reads", async () => {
    const { bed, a, b } = await network();
    const ciphers = ["aes128", "aes192", "aes256", "3des"];
    const hashes = ["md5", "sha1", "sha256", "sha384", "sha512"];
    // All with the one group of which quick mode can hold a public value, and that a large one.
    const many = ciphers.flatMap((cipher) => hashes.map((hash) => `${cipher}-${hash}-modp4096`));
    const ends = { ikev1: "main", ikeProposals, espProposals: many } as const;
    const peer = await strongSwanOn(bed, b, a, { ...ends, extraConnection: ["fragmentation = yes"] });
    const options = { ...ends, forceEncapsulation: true, localSubnets: [a.subnet] };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await culvert.waitUp();
    await peer.waitForLog(/received fragment #\d, reassembled fragmented IKE message/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });
});
