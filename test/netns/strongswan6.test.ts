/**
 * Additional key exchanges (RFC 9370) against strongSwan 6, which Debian 12 does not have: its root is made by
 * `scripts/strongswan6-root.sh` and named by CULVERT_STRONGSWAN6_ROOT. Without that, these tests are skipped.
 */
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import type { StrongSwan, StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwan6, strongSwanOn } from "./support.ts";

const ike = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const esp = "aes256gcm16-x25519-ke1_mlkem768";
const hybrid = { ikeProposals: [ike], espProposals: [esp] };
const seldom = ["rand_time = 0", "over_time = 60s"];

describeInNamespaces(
  "culvert and strongSwan 6: additional key exchanges",
  ["strongswan", "strongswan6"],
  () => {
    it.each([
      [ike, esp],
      [
        "aes128-sha256-prfsha256-ecp256-ke1_mlkem1024-ke2_x25519",
        "aes128gcm16-x25519-ke1_mlkem512-ke2_ecp384",
      ],
    ])(
      "sets up %s when culvert initiates, and rekeys what strongSwan has",
      async (ikeProposal, espProposal) => {
        const proposals = { ikeProposals: [ikeProposal], espProposals: [espProposal] };
        const { bed, a, b } = await network();
        const peer = await strongSwan6OnB(bed, { a, b }, proposals);
        const culvert = await Culvert.start(
          bed,
          gatewayOn(a, b, "a", { ...proposals, forceEncapsulation: true }),
        );
        const before = await culvert.waitUp();
        expect(before.tunnels[0]?.ike).toMatchObject({ role: "initiator", suite: ikeProposal });
        await waitForPing(a.host, b.hostAddress);
        await expectRekeys(culvert, peer);
        expect(await ping(a.host, b.hostAddress, { count: 20, intervalMs: 10 })).toMatchObject({
          received: 20,
        });
      },
    );

    it("sets up, rekeys and carries traffic when strongSwan initiates", async () => {
      const { bed, a, b } = await network();
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...hybrid, start: "passive" }));
      const peer = await strongSwan6OnB(bed, { a, b });
      expect(await peer.initiate()).toMatchObject({ code: 0 });
      const { tunnels } = await culvert.waitUp();
      expect(tunnels[0]?.ike).toMatchObject({ role: "responder", suite: ike });
      await waitForPing(a.host, b.hostAddress);
      await expectRekeys(culvert, peer);
      expect(await ping(a.host, b.hostAddress, { count: 20, intervalMs: 10 })).toMatchObject({
        received: 20,
      });
    });

    it("loses no packet while strongSwan rekeys both, again and again", async () => {
      const { bed, a, b } = await network();
      const peer = await strongSwan6OnB(
        bed,
        { a, b },
        {
          extraConnection: ["rekey_time = 3s", ...seldom],
          extraChild: ["rekey_time = 2s", "life_time = 60s", "rand_time = 0"],
        },
      );
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...hybrid, forceEncapsulation: true }));
      await culvert.waitUp();
      await waitForPing(a.host, b.hostAddress);
      expect(await ping(a.host, b.hostAddress, { count: 1000, intervalMs: 10 })).toMatchObject({
        received: 1000,
      });
      expect(await culvert.connection()).toMatchObject({ state: "up" });
      expect((await peer.sas()).match(/INSTALLED/g)?.length).toBeLessThanOrEqual(2);
    });

    it("survives both sides rekeying at once, again and again", async () => {
      const { bed, a, b } = await network();
      const peer = await strongSwan6OnB(bed, { a, b });
      // Between the two, culvert rekeys the CHILD_SA after some hundreds of packets: about when strongSwan is told to.
      const culvert = await Culvert.start(
        bed,
        gatewayOn(a, b, "a", {
          ...hybrid,
          forceEncapsulation: true,
          connection: { ipsec: { proposals: [esp], lifetimePackets: 200 } },
        }),
      );
      await culvert.waitUp();
      await waitForPing(a.host, b.hostAddress);
      const traffic = ping(a.host, b.hostAddress, { count: 1500, intervalMs: 10 });
      for (let i = 0; i < 24; i++) await peer.swanctl(["--rekey", "--child", "net"]);
      expect((await traffic).received).toBeGreaterThanOrEqual(1500);
      const { state, tunnels } = await culvert.waitUp();
      expect(state).toBe("up");
      expect(tunnels[0]?.children.length).toBeLessThanOrEqual(2);
    });
  },
);

async function expectRekeys(culvert: Culvert, peer: StrongSwan): Promise<void> {
  const spis = async () => {
    const { tunnels } = await culvert.connection();
    return { ike: tunnels[0]?.ike?.spiInitiator, child: tunnels[0]?.children[0]?.spiIn };
  };
  const before = await spis();
  expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
  await culvert.waitFor("rekeyed by strongSwan", ({ tunnels }) => {
    const { children } = tunnels[0]!;
    return children.length === 1 && children[0]!.spiIn !== before.child;
  });
  expect(await peer.swanctl(["--rekey", "--ike", "peer"])).toMatchObject({ code: 0 });
  await culvert.waitFor("with a new IKE SA", ({ state, tunnels }) => {
    return state === "up" && tunnels[0]?.ike?.spiInitiator !== before.ike;
  });
}

async function strongSwan6OnB(
  bed: Testbed,
  { a, b }: Pick<Topology, "a" | "b">,
  overrides: Partial<StrongSwanOptions> = {},
): Promise<StrongSwan> {
  return strongSwanOn(bed, b, a, { name: "strongswan6", root: strongSwan6!, ...hybrid, ...overrides });
}
