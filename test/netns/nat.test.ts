import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

describeInNamespaces("NAT between the gateways (RFC 7296 §2.23, RFC 3948)", [], () => {
  it("is detected by both sides, and ESP moves into UDP by itself", async () => {
    const { bed, a, b } = await network({ nat: true });
    const responder = await Culvert.start(
      bed,
      gatewayOn(b, a, "b", { start: "passive", remoteId: a.outerAddress }),
    );
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a"));
    const connection = await initiator.waitUp();
    expect(connection.tunnels[0]?.ike?.nat).toBe("local");
    expect(connection.tunnels[0]?.children).toMatchObject([{ encapsulation: "udp" }]);
    expect((await responder.waitUp()).tunnels[0]?.ike?.nat).toBe("remote");
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
    await iperfServer(bed, b.host);
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1, reverse: true })).gbps).toBeGreaterThan(0);
  });

  it("hides a peer whose address is `any`", async () => {
    const { bed, a, b } = await network({ nat: true });
    const anyPeer = { start: "passive", remoteAddress: "any", remoteId: "site-a.example.net" } as const;
    await Culvert.start(bed, gatewayOn(b, a, "b", anyPeer));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", { localId: "site-a.example.net" }));
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress);
  });
});
