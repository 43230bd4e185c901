import { expect, it } from "vitest";
import { Culvert, type CulvertOptions } from "../../testbed/culvert.ts";
import type { StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Topology } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, ikeProposal, network, strongSwanOn } from "./support.ts";

type Ends = Pick<Topology, "a" | "b">;

/** IPv6 outside: the addresses, on both sides. */
const outer6 = ({ a, b }: Ends) => ({
  culvert: { localAddress: a.outerAddress6, remoteAddress: b.outerAddress6 },
  peer: {
    localAddress: b.outerAddress6,
    remoteAddress: a.outerAddress6,
    localId: b.outerAddress6,
    remoteId: a.outerAddress6,
  },
});
/** IPv6 inside. */
const inner6 = ({ a, b }: Ends) => ({
  culvert: { remoteSubnets: [b.subnet6] },
  peer: { localSubnets: [b.subnet6], remoteSubnets: [a.subnet6] },
});

const cases = [
  ["IPv6 in IPv4", false, true],
  ["IPv4 in IPv6", true, false],
  ["IPv6 in IPv6", true, true],
] as const;

describeInNamespaces("culvert and strongSwan with IPv6", ["strongswan"], () => {
  for (const [what, outside, inside] of cases) {
    it.each(["culvert", "strongSwan"] as const)(`${what}, %s initiating`, async (initiator) => {
      const { bed, a, b } = await network();
      const settings = [...(outside ? [outer6({ a, b })] : []), ...(inside ? [inner6({ a, b })] : [])];
      const ours = Object.assign({}, ...settings.map((s) => s.culvert)) as Partial<CulvertOptions>;
      const theirs = Object.assign({}, ...settings.map((s) => s.peer)) as Partial<StrongSwanOptions>;
      const start = initiator === "culvert" ? "immediately" : "passive";
      const peer = await strongSwanOn(bed, b, a, theirs);
      const culvert = await Culvert.start(
        bed,
        gatewayOn(a, b, "a", { forceEncapsulation: true, start, ...ours }),
      );
      if (initiator === "strongSwan") expect(await peer.initiate()).toMatchObject({ code: 0 });
      const { tunnels } = await culvert.waitUp();
      expect(tunnels[0]?.remote).toContain(outside ? b.outerAddress6 : b.outerAddress);
      const [from, to] = inside ? [a.hostAddress6, b.hostAddress6] : [a.hostAddress, b.hostAddress];
      await waitForPing(a.host, to);
      expect(await ping(a.host, to)).toMatchObject({ lossPercent: 0 });
      expect(await ping(b.host, from)).toMatchObject({ lossPercent: 0 });
    });
  }
});

describeInNamespaces("childless IKE SAs with strongSwan (RFC 6023)", ["strongswan"], () => {
  const pfs = { espProposals: ["aes128gcm16-x25519"] };
  it("culvert forces it: the first CHILD_SA has PFS", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, pfs);
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { ...pfs, forceEncapsulation: true, connection: childless("force") }),
    );
    const { tunnels } = await culvert.waitUp();
    expect(tunnels[0]?.children[0]?.suite).toContain("x25519");
    await peer.waitForLog(/parsed CREATE_CHILD_SA request 2/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });

  it("strongSwan forces it: culvert takes the IKE SA without and then the CHILD_SA", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { ...pfs, forceEncapsulation: true, start: "passive" }),
    );
    const peer = await strongSwanOn(bed, b, a, { ...pfs, extraConnection: ["childless = force"] });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const { tunnels } = await culvert.waitUp();
    expect(tunnels[0]?.ike?.role).toBe("responder");
    expect(tunnels[0]?.children[0]?.suite).toContain("x25519");
    await waitForPing(b.host, a.hostAddress);
  });

  it("strongSwan forbids it and culvert forces it: the record says so", async () => {
    const { bed, a, b } = await network();
    await strongSwanOn(bed, b, a, { ...pfs, extraConnection: ["childless = never"] });
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { ...pfs, forceEncapsulation: true, connection: childless("force") }),
    );
    const { lastFailure } = await culvert.waitFor("failed", (c) => c.lastFailure !== undefined);
    expect(lastFailure?.code).toBe("CHILDLESS_UNSUPPORTED");
  });
});

/** `connection` replaces `ike` of the test gateway's file as a whole. */
function childless(setting: string): Record<string, unknown> {
  return { ike: { proposals: [ikeProposal], childless: setting } };
}
