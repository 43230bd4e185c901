import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

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

describeInNamespaces("two gateways behind one NAT address", [], () => {
  it("have a tunnel each with the same peer, and one that restarts leaves the other alone", async () => {
    const { bed, a, b, nat } = await network({ nat: true });
    // A second gateway behind the same masquerade, with the inner network 10.3.0.0/24 on its loopback.
    const other = await bed.namespace("gC");
    const link = ["type", "veth", "peer", "name", "left2", "netns", nat!];
    await must(["ip", "link", "add", "wan", "netns", other, ...link]);
    const addresses = [
      [other, "wan", "198.51.101.2/24"],
      [nat!, "left2", "198.51.101.1/24"],
      [other, "lo", "10.3.0.2/24"],
    ] as const;
    for (const [netns, device, address] of addresses) {
      await must(["ip", "-n", netns, "address", "add", address, "dev", device]);
      await must(["ip", "-n", netns, "link", "set", device, "up"]);
    }
    await must(["ip", "-n", other, "route", "add", "192.0.2.0/24", "via", "198.51.101.1"]);
    const hub = await Culvert.start(
      bed,
      gatewayOn(b, a, "hub", {
        start: "passive",
        remoteAddress: "any",
        localSubnets: [b.subnet],
        remoteSubnets: [a.subnet, "10.3.0.0/24"],
      }),
    );
    const branch = (own: string, subnet: string, netns: string, name: string) =>
      Culvert.start(bed, {
        ...gatewayOn(a, b, name, { localId: `${name}.example.net`, localSubnets: [subnet] }),
        netns,
        localAddress: own,
      });
    const first = await branch(a.outerAddress, a.subnet, a.gateway, "first");
    const second = await branch("198.51.101.2", "10.3.0.0/24", other, "second");
    await first.waitUp();
    await second.waitUp();
    await waitForPing(a.host, b.hostAddress);
    await waitForPing(b.host, "10.3.0.2");
    const before = (await first.connection()).tunnels[0]?.ike?.spiInitiator;
    second.program.signal("SIGKILL");
    await second.program.exited;
    await second.restart();
    await second.waitUp();
    await waitForPing(b.host, "10.3.0.2");
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
    expect((await first.connection()).tunnels[0]?.ike?.spiInitiator).toBe(before);
    expect((await hub.connection()).state).toBe("up");
  });
});

describeInNamespaces("NAT between culvert and strongSwan", ["strongswan"], () => {
  it("with culvert behind it, initiating", async () => {
    const { bed, a, b } = await network({ nat: true });
    await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    expect((await culvert.waitUp()).tunnels[0]?.ike).toMatchObject({ role: "initiator" });
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
  });

  it("with strongSwan behind it, initiating", async () => {
    const { bed, a, b } = await network({ nat: true });
    const culvert = await Culvert.start(
      bed,
      gatewayOn(b, a, "b", { start: "passive", remoteId: a.outerAddress }),
    );
    const peer = await strongSwanOn(bed, a, b);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    expect((await culvert.waitUp()).tunnels[0]?.ike).toMatchObject({ role: "responder" });
    await waitForPing(b.host, a.hostAddress);
    expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  });
});
