/** A connection with an SA for each of many pairs of subnets: each packet finds its own, whatever comes and goes. */
import { expect, it } from "vitest";
import { delay } from "../../testbed/exec.ts";
import { describeWithKernel, EspPeer, manualSa, network, openPlane, routeThroughTunnel } from "./support.ts";

const count = 24;
const subnet = (i: number): string => `10.2.${i}.0/24`;
const spi = (i: number): number => 0x2000_0000 + i;

describeWithKernel("a connection with many SAs", { scapy: true }, () => {
  it("gives each packet to the SA of its subnets", async () => {
    const { bed, a, b } = await network();
    const plane = await openPlane(bed, a.gateway, "plane A", { addresses: [a.outerAddress] });
    const install = (i: number) =>
      plane.call(
        "installSa",
        manualSa("outbound", spi(i), a.outerAddress, b.outerAddress, {
          localSelectors: [a.subnet],
          remoteSelectors: [subnet(i)],
        }),
      );
    const all = [...Array(count).keys()];
    for (const i of all) await install(i);
    // As protected data flows are: a rule for each pair.
    await plane.call("publish", {
      policyRoutes: all.map((i) => ({ source: a.subnet, destination: subnet(i), connection: 0 })),
      destinationRoutes: [],
      connections: [{ connection: 0, outbound: all.map((i) => ({ spi: spi(i), remote: b.outerAddress })) }],
    });
    await routeThroughTunnel(a.gateway, ["10.2.0.0/16"]);
    const device = await EspPeer.start(bed, a.gateway);
    await device.call("device", { interface: "culvert0" });
    const packets = await Promise.all(
      all.map((i) =>
        device.call("filler", { source: a.hostAddress, destination: `10.2.${i}.9`, length: 100 }),
      ),
    );
    const foreign = await device.call("filler", {
      source: "10.9.0.1",
      destination: "10.2.3.9",
      length: 100,
    });
    const put = (some: readonly string[]) => device.call("put", { interface: "culvert0", packets: some });
    /** Packets that each SA has carried, once `expected` packets are accounted for. */
    const carried = async (expected: number): Promise<Record<number, number>> => {
      const until = performance.now() + 10_000;
      for (;;) {
        const rows: { spi: number; packets: number }[] = await plane.call("traffic");
        const { no_sa, no_route } = await plane.call("drops");
        const sum = rows.reduce((total, row) => total + row.packets, no_sa + no_route);
        if (sum >= expected || performance.now() > until)
          return Object.fromEntries(rows.map((row) => [row.spi - spi(0), row.packets]));
        await delay(10);
      }
    };
    await put([...packets, foreign]);
    expect(await carried(count + 1)).toEqual(Object.fromEntries(all.map((i) => [i, 1])));
    expect((await plane.call("drops"))["no_route"]).toBe(1);

    // One goes, and comes again with nothing sent so far.
    await plane.call("removeSa", "outbound", spi(5), b.outerAddress);
    await put(packets);
    const left = all.filter((i) => i !== 5);
    expect(await carried(2 * count)).toEqual(Object.fromEntries(left.map((i) => [i, 2])));
    expect((await plane.call("drops"))["no_sa"]).toBe(1);
    await install(5);
    await put(packets);
    expect(await carried(3 * count)).toEqual({
      ...Object.fromEntries(left.map((i) => [i, 3])),
      5: 1,
    });
  });
});
