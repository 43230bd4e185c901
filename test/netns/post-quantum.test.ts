/** Postquantum preshared keys (RFC 8784), and falling back where a peer has no additional key exchanges (RFC 9370). */
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, ikeProposal, network, strongSwanOn } from "./support.ts";

const key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const theirs = { id: "branch", secret: key };
const required = ["ppk_id = branch", "ppk_required = yes"];
const optional = ["ppk_id = branch", "ppk_required = no"];

describeInNamespaces("culvert and strongSwan: postquantum preshared keys", ["strongswan"], () => {
  it.each([
    ["both insist", true, required],
    ["nobody insists", false, optional],
  ])(
    "comes up in both roles when %s, and strongSwan can rekey both SAs",
    async (_, insist, extraConnection) => {
      for (const role of ["initiator", "responder"] as const) {
        const { bed, a, b } = await network();
        const peer = await strongSwanOn(bed, b, a, { ppk: theirs, extraConnection });
        const culvert = await culvertOnA(bed, { a, b }, role, { id: "branch", value: key, required: insist });
        if (role === "responder") expect(await peer.initiate()).toMatchObject({ code: 0 });
        const before = await culvert.waitUp();
        expect(before.tunnels[0]?.ike).toMatchObject({ role });
        expect(await peer.sas()).toContain("PPK");
        await waitForPing(a.host, b.hostAddress);
        expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
        expect(await peer.swanctl(["--rekey", "--ike", "peer"])).toMatchObject({ code: 0 });
        const spi = before.tunnels[0]?.ike?.spiInitiator;
        await culvert.waitFor("rekeyed", ({ tunnels }) => tunnels[0]?.ike?.spiInitiator !== spi);
        await waitForPing(a.host, b.hostAddress);
        await bed.close();
      }
    },
  );

  it.each<[string, "initiator" | "responder", boolean, boolean]>([
    ["culvert has one that it does not insist on, strongSwan none", "initiator", true, false],
    ["culvert has one that it does not insist on, strongSwan none", "responder", true, false],
    ["strongSwan has one that it does not insist on, culvert none", "initiator", false, true],
    ["strongSwan has one that it does not insist on, culvert none", "responder", false, true],
  ])("%s: comes up without, culvert as %s", async (_, role, ours, their) => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, their ? { ppk: theirs, extraConnection: optional } : {});
    const ppk = ours ? { id: "branch", value: key, required: false } : undefined;
    const culvert = await culvertOnA(bed, { a, b }, role, ppk);
    if (role === "responder") expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    expect(await peer.sas()).not.toContain("PPK");
    await waitForPing(a.host, b.hostAddress);
  });

  it("culvert insists and strongSwan has none: no tunnel, and the record says why", async () => {
    const { bed, a, b } = await network();
    await strongSwanOn(bed, b, a);
    const culvert = await culvertOnA(bed, { a, b }, "initiator", {
      id: "branch",
      value: key,
      required: true,
    });
    const refused = await culvert.waitFor("refused", ({ lastFailure }) => lastFailure !== undefined);
    expect(refused.lastFailure).toMatchObject({ code: "PPK_MISMATCH" });
    expect(refused.state).not.toBe("up");
  });

  it.each(["initiator", "responder"] as const)(
    "prefers ML-KEM and comes up with a strongSwan that does not know it, culvert as %s (RFC 9370 §2.2.1)",
    async (role) => {
      const { bed, a, b } = await network();
      const peer = await strongSwanOn(bed, b, a, { espProposals: ["aes128gcm16-x25519"] });
      const culvert = await Culvert.start(
        bed,
        gatewayOn(a, b, "a", {
          ikeProposals: [`${ikeProposal}-ke1_mlkem768`, ikeProposal],
          espProposals: ["aes128gcm16-x25519-ke1_mlkem768", "aes128gcm16-x25519"],
          forceEncapsulation: true,
          start: role === "initiator" ? "immediately" : "passive",
        }),
      );
      if (role === "responder") expect(await peer.initiate()).toMatchObject({ code: 0 });
      const before = await culvert.waitUp();
      expect(before.tunnels[0]?.ike).toMatchObject({ role, suite: ikeProposal });
      expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
      expect(await peer.swanctl(["--rekey", "--ike", "peer"])).toMatchObject({ code: 0 });
      const spi = before.tunnels[0]?.ike?.spiInitiator;
      await culvert.waitFor("rekeyed", ({ tunnels }) => tunnels[0]?.ike?.spiInitiator !== spi);
      await waitForPing(a.host, b.hostAddress);
    },
  );
});

function culvertOnA(
  bed: Testbed,
  { a, b }: Pick<Topology, "a" | "b">,
  role: "initiator" | "responder",
  ppk: { id: string; value: string; required: boolean } | undefined,
): Promise<Culvert> {
  const ike = { proposals: [ikeProposal], ...(ppk && { ppk }) };
  const start = role === "initiator" ? "immediately" : "passive";
  return Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true, start, connection: { ike } }));
}
