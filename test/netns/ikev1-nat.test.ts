import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { rebindNat } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { ikev1On, ikev1Peer } from "./ikev1-support.ts";
import { describeInNamespaces, network } from "./support.ts";

/** Without being told to encapsulate: the NAT has to be found. */
const found = { forceEncapsulation: false };
const ports = "40000-40009";
/** strongSwan follows the new port with the next IKE message, not with ESP. */
const quick = { connection: { dpd: { intervalSeconds: 1 } } };

describeInNamespaces("NAT between gateways that speak IKEv1 (RFC 3947)", [], () => {
  it("is found, and one that forgets everything costs a few packets: the same SAs go on", async () => {
    const { bed, a, b, nat } = await network({ nat: true });
    const responder = await Culvert.start(
      bed,
      ikev1On(b, a, "b", { ...found, start: "passive", remoteId: a.outerAddress }),
    );
    const initiator = await Culvert.start(bed, ikev1On(a, b, "a", found));
    const before = await initiator.waitUp();
    expect(before.tunnels[0]?.ike?.nat).toBe("local");
    expect(before.tunnels[0]?.children).toMatchObject([{ encapsulation: "udp" }]);
    await waitForPing(a.host, b.hostAddress);
    await rebindNat(nat, ports);
    await waitForPing(a.host, b.hostAddress);
    expect((await responder.connection()).tunnels[0]?.remote).toMatch(/:4000\d$/);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    const spis = ({ tunnels }: typeof before) => [
      tunnels[0]?.ike?.spiInitiator,
      tunnels[0]?.children[0]?.spiIn,
    ];
    expect(spis(await initiator.connection())).toEqual(spis(before));
  });

  it("is found on both sides, with ports forwarded to the responder", async () => {
    const { bed, a, b } = await network({ nat: "both" });
    const ids = { a: "a.example.net", b: "b.example.net" };
    await Culvert.start(
      bed,
      ikev1On(b, a, "b", { ...found, start: "passive", localId: ids.b, remoteId: ids.a }),
    );
    const initiator = await Culvert.start(
      bed,
      ikev1On(a, b, "a", { ...found, localId: ids.a, remoteId: ids.b }),
    );
    expect((await initiator.waitUp()).tunnels[0]?.ike?.nat).toBe("both");
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });
});

describeInNamespaces("NAT between culvert and strongSwan over IKEv1", ["strongswan"], () => {
  it("with culvert behind it, in main mode", async () => {
    const ikev1 = "main";
    const { bed, a, b, nat } = await network({ nat: true });
    const [culvert] = await Promise.all([
      Culvert.start(bed, ikev1On(a, b, "a", { ...found, ...quick, ikev1 })),
      ikev1Peer(bed, b, a, { ikev1 }),
    ]);
    expect((await culvert.waitUp()).tunnels[0]?.ike).toMatchObject({ role: "initiator" });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    // strongSwan follows the new port with the next packet that it can authenticate.
    await rebindNat(nat, ports);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it("with strongSwan behind it, in aggressive mode", async () => {
    const ikev1 = "aggressive";
    const { bed, a, b, nat } = await network({ nat: true });
    const [culvert, peer] = await Promise.all([
      Culvert.start(
        bed,
        ikev1On(b, a, "b", {
          ...found,
          start: "passive",
          remoteId: a.outerAddress,
          ikev1,
        }),
      ),
      ikev1Peer(bed, a, b, { ikev1 }),
    ]);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    expect((await culvert.waitUp()).tunnels[0]?.ike).toMatchObject({ role: "responder" });
    await waitForPing(b.host, a.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    await rebindNat(nat, ports);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });
});
