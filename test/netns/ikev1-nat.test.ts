import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { rebindNat } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { ikev1On, ikev1Peer } from "./ikev1-support.ts";
import { describeInNamespaces, network } from "./support.ts";

/** Without being told to encapsulate: the NAT has to be found. */
const found = { forceEncapsulation: false };

describeInNamespaces("NAT between gateways that speak IKEv1 (RFC 3947)", [], () => {
  it("on both sides: found, ESP moves into UDP, and a NAT that forgets everything costs a few packets", async () => {
    const { bed, a, b, nat } = await network({ nat: "both" });
    const keepalive = { connection: { natTraversal: { keepaliveSeconds: 1 }, dpd: { intervalSeconds: 1 } } };
    const ids = { a: "a.example.net", b: "b.example.net" };
    const responder = await Culvert.start(
      bed,
      ikev1On(b, a, "b", {
        ...found,
        ...keepalive,
        start: "passive",
        localId: ids.b,
        remoteId: ids.a,
      }),
    );
    const initiator = await Culvert.start(
      bed,
      ikev1On(a, b, "a", { ...found, ...keepalive, localId: ids.a, remoteId: ids.b }),
    );
    const connection = await initiator.waitUp();
    expect(connection.tunnels[0]?.ike?.nat).toBe("both");
    expect(connection.tunnels[0]?.children).toMatchObject([{ encapsulation: "udp" }]);
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    const port = (await responder.connection()).tunnels[0]?.remote;
    await rebindNat(nat, "40000-40010");
    await waitForPing(a.host, b.hostAddress);
    await waitForPing(b.host, a.hostAddress);
    const after = (await responder.connection()).tunnels[0];
    expect(after?.remote).not.toBe(port);
    expect((await initiator.connection()).tunnels[0]?.ike?.spiInitiator).toBe(
      connection.tunnels[0]?.ike?.spiInitiator,
    );
  });
});

describeInNamespaces("NAT between culvert and strongSwan over IKEv1", ["strongswan"], () => {
  it.each(["main", "aggressive"] as const)("with culvert behind it, in %s mode", async (ikev1) => {
    const { bed, a, b, nat } = await network({ nat: true });
    const [culvert] = await Promise.all([
      Culvert.start(bed, ikev1On(a, b, "a", { ...found, ikev1 })),
      ikev1Peer(bed, b, a, { ikev1 }),
    ]);
    expect((await culvert.waitUp()).tunnels[0]?.ike).toMatchObject({ role: "initiator" });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    // strongSwan follows the new port with the next packet that it can authenticate.
    await rebindNat(nat, "40000-40010");
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it.each(["main", "aggressive"] as const)("with strongSwan behind it, in %s mode", async (ikev1) => {
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
    await rebindNat(nat, "40000-40010");
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });
});
