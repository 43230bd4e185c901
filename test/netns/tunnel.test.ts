import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network } from "./support.ts";

describeInNamespaces("a tunnel between two culvertds", [], () => {
  it.each([
    ["udp", true],
    ["esp", false],
  ] as const)(
    "carries ping and TCP in both directions (ESP in %s)",
    async (encapsulation, forceEncapsulation) => {
      const { bed, a, b } = await network();
      const responder = await Culvert.start(
        bed,
        gatewayOn(b, a, "b", { forceEncapsulation, start: "passive" }),
      );
      // One pair of SAs from the beginning to the end: their totals are looked at.
      const ipsec = { proposals: [espProposal], rehearseRekey: false };
      const options = { forceEncapsulation, connection: { ipsec } };
      const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", options));
      const connection = await initiator.waitUp();
      expect(connection.tunnels[0]?.ike).toMatchObject({ role: "initiator" });
      expect(connection.tunnels[0]?.children).toMatchObject([{ encapsulation }]);
      await responder.waitUp();
      await waitForPing(a.host, b.hostAddress);
      // Three sizes: small, one that fills the tunnel's MTU, one that the inner host must fragment.
      for (const size of [56, 1300, 3000]) {
        expect(await ping(a.host, b.hostAddress, { size })).toMatchObject({ lossPercent: 0 });
      }
      expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
      await iperfServer(bed, b.host);
      for (const reverse of [false, true]) {
        const { gbps } = await iperfTcp(a.host, b.hostAddress, { seconds: 1, reverse });
        expect(gbps).toBeGreaterThan(0);
      }
      for (const culvert of [initiator, responder]) {
        const { traffic } = await culvert.status();
        expect(traffic.map((sa) => sa.direction).sort()).toEqual(["inbound", "outbound"]);
        for (const sa of traffic) expect(sa.packets).toBeGreaterThan(80);
      }
    },
  );

  it("carries IPv6 inside, and IPv6 outside", async () => {
    const { bed, a, b } = await network();
    const outside6 = (own: typeof a, peer: typeof a) => ({
      localAddress: own.outerAddress6,
      remoteAddress: peer.outerAddress6,
      remoteSubnets: [peer.subnet, peer.subnet6],
    });
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...outside6(b, a), start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", outside6(a, b)));
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress6);
    expect(await ping(a.host, b.hostAddress6)).toMatchObject({ lossPercent: 0 });
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    await iperfServer(bed, b.host);
    expect((await iperfTcp(a.host, b.hostAddress6, { seconds: 1 })).gbps).toBeGreaterThan(0);
  });

  it("tells the inner host what fits, when a packet with DF does not (RFC 1191)", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await initiator.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const { tun } = await initiator.status();
    const fits = tun.mtu - 28;
    expect(await ping(a.host, b.hostAddress, { size: fits, dontFragment: true })).toMatchObject({
      lossPercent: 0,
    });
    await ping(a.host, b.hostAddress, { size: 1472, count: 2, dontFragment: true });
    const route = await must(["ip", "route", "get", b.hostAddress], { netns: a.host });
    expect(route).toContain(`mtu ${tun.mtu}`);
  });

  it("negotiates protected data flows and lets nothing else through", async () => {
    const { bed, a, b } = await network();
    const flows = (own: typeof a) => ({ localSubnets: [own.subnet] });
    await Culvert.start(bed, gatewayOn(b, a, "b", { ...flows(b), start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", flows(a)));
    const connection = await initiator.waitUp();
    expect(connection.tunnels[0]?.children).toMatchObject([
      {
        localSelectors: [expect.stringContaining("10.1.0.0")],
        remoteSelectors: [expect.stringContaining("10.2.0.0")],
      },
    ]);
    await waitForPing(a.host, b.hostAddress);
    // gA's outer address is not in the flows, although its route leads into the TUN device.
    const stranger = await ping(a.gateway, b.hostAddress, { count: 3, source: a.outerAddress });
    expect(stranger.received).toBe(0);
  });

  it("goes up and down on command, and ends with no SA on either side", async () => {
    const { bed, a, b } = await network();
    const responder = await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const initiator = await Culvert.start(bed, gatewayOn(a, b, "a", { start: "passive" }));
    expect(await initiator.cli(["up", "peer"])).toMatchObject({ code: 0 });
    await waitForPing(a.host, b.hostAddress);
    expect(await initiator.cli(["down", "peer"])).toMatchObject({ code: 0 });
    await responder.waitFor("down", ({ state }) => state !== "up");
    expect(await ping(a.host, b.hostAddress, { count: 2 })).toMatchObject({ received: 0 });
    for (const culvert of [initiator, responder]) expect((await culvert.status()).traffic).toEqual([]);
    expect(await initiator.cli(["up", "peer"])).toMatchObject({ code: 0 });
    await waitForPing(a.host, b.hostAddress);
  });
});
