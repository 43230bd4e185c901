/**
 * Quick mode with strongSwan: every algorithm of ours that it has, several subnets, replacements from either side, and
 * what each operator is told when the two do not agree.
 */
import { describe, expect, it } from "vitest";
import {
  dh,
  type EncryptionRow,
  encr,
  ikev1EncryptionByEncr,
  ikev1Groups,
  integ,
} from "../../src/registry/index.ts";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

/** Every cipher, hash and group of phase 1 and of phase 2, once. */
const suites = [
  { ike: "des-md5-modp768", esp: "des-md5-modp768" },
  { ike: "3des-sha1-modp1024", esp: "3des-sha1-modp1024" },
  { ike: "aes128-sha256-modp1536", esp: "aes128-sha256-modp1536" },
  { ike: "aes192-sha384-modp2048", esp: "aes192-sha384-modp2048" },
  { ike: "aes256-sha512-modp3072", esp: "aes256-sha512-modp3072" },
  { ike: "aes128-sha1-modp4096", esp: "aes128ctr-sha1-modp4096" },
  { ike: "aes256-md5-ecp256", esp: "aes192ctr-sha256-ecp256" },
  { ike: "3des-sha256-ecp384", esp: "aes256ctr-sha384-ecp384" },
  { ike: "aes128-sha512-ecp521", esp: "aes128gcm16-ecp521" },
  { ike: "des-sha1-modp2048s256", esp: "aes192gcm16-modp2048s256" },
  { ike: "aes256-sha384-modp2048", esp: "aes256gcm16" },
  { ike: "aes256-sha256-ecp256", esp: "null-sha512" },
] as const;

describe("the list of suites for strongSwan in IKEv1", () => {
  it("has every algorithm that IKEv1 has a number for", () => {
    const words = (which: "ike" | "esp") => new Set(suites.flatMap((row) => row[which].split("-")));
    const ciphers = (use: "ike" | "esp") =>
      Object.values<EncryptionRow>(encr)
        .filter(({ id }) => {
          const row = ikev1EncryptionByEncr.get(id);
          return row && (use === "esp" || row.phase1 !== undefined);
        })
        .flatMap((row) => Object.keys(row.keywords));
    const hashes = Object.values(integ).map((row) => row.keywords[0]);
    const groups = Object.values(dh)
      .filter(({ id }) => ikev1Groups.has(id))
      .map((row) => row.keywords[0]);
    for (const use of ["ike", "esp"] as const)
      expect([...ciphers(use), ...hashes, ...groups].filter((word) => !words(use).has(word))).toEqual([]);
  });
});

const version1 = { ikev1: "main", forceEncapsulation: true } as const;
const proposals = { ikeProposals: ["aes128-sha1-modp1024"], espProposals: ["aes128-sha1-modp1024"] };

describeInNamespaces("quick mode with strongSwan", ["strongswan"], () => {
  it.each(suites)("IKE $ike, ESP $esp, begun and replaced by either side", async ({ ike, esp }) => {
    const { bed, a, b } = await network();
    const both = { ikeProposals: [ike], espProposals: [esp] };
    const options = { ...both, ...version1, start: "passive", localSubnets: [a.subnet] } as const;
    const [culvert, peer] = await Promise.all([
      Culvert.start(bed, gatewayOn(a, b, "a", options)),
      strongSwanOn(bed, b, a, { ...both, ikev1: "main" }),
    ]);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await expectTunnel("responder");
    expect(await peer.swanctl(["--terminate", "--ike", "peer"])).toMatchObject({ code: 0 });
    await culvert.waitFor("down", ({ state }) => state !== "up");
    expect(await culvert.cli(["up", "peer", "--timeout", "10"])).toMatchObject({ code: 0 });
    await expectTunnel("initiator");

    async function expectTunnel(role: "initiator" | "responder"): Promise<void> {
      const { tunnels } = await culvert.waitUp();
      expect(tunnels[0]!.ike).toMatchObject({ role, version: 1 });
      for (const word of ike.split("-")) expect(tunnels[0]!.ike!.suite.split("-")).toContain(word);
      expect(tunnels[0]!.children.map((c) => c.suite)).toEqual([esp]);
      await waitForPing(a.host, b.hostAddress);
      const before = tunnels[0]!.children[0]!.spiIn;
      if (role === "initiator") expect(await culvert.cli(["rekey", "peer"])).toMatchObject({ code: 0 });
      else expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
      await culvert.waitFor("another pair", ({ tunnels: [tunnel] }) =>
        tunnel!.children.some((c) => c.spiIn !== before && c.suite === esp),
      );
      await waitForPing(b.host, a.hostAddress);
    }
  });

  it.each(["immediately", "passive"] as const)(
    "makes a pair of SAs for each pair of subnets, with start: %s",
    async (start) => {
      const { bed, a, b } = await network();
      // kernel-libipsec installs a route for each policy, from an address in its local subnet.
      const subnets = [b.subnet, "10.2.1.0/24", "10.2.2.0/24"];
      for (const n of [1, 2])
        await must(["ip", "-n", b.gateway, "addr", "add", `10.2.${n}.1/24`, "dev", "lan"]);
      const names = ["net", "second", "third"];
      const peer = await strongSwanOn(bed, b, a, {
        ...proposals,
        ikev1: "main",
        children: names.map((name, i) => ({ name, localSubnets: [subnets[i]!], remoteSubnets: [a.subnet] })),
      });
      const options = { ...proposals, ...version1, start, localSubnets: [a.subnet], remoteSubnets: subnets };
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
      if (start === "passive")
        for (const name of names) expect(await peer.initiate(15, name)).toMatchObject({ code: 0 });
      const { tunnels } = await culvert.waitFor(
        "all pairs up",
        ({ tunnels: [tunnel] }) => tunnel?.pairs?.up === 3,
      );
      expect(tunnels[0]!.children.flatMap((c) => c.remoteSelectors).sort()).toEqual([...subnets].sort());
      await waitForPing(a.host, b.hostAddress);
    },
  );

  it("loses no packet while one side replaces the pair, and then the other", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, { ...proposals, ikev1: "main" });
    const options = { ...proposals, ...version1, localSubnets: [a.subnet] };
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", options));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const pinging = ping(a.host, b.hostAddress, { count: 600, intervalMs: 10 });
    await delay(1_000);
    expect(await culvert.cli(["rekey", "peer"])).toMatchObject({ code: 0 });
    await delay(1_000);
    expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
    expect(await pinging).toMatchObject({ received: 600 });
    expect((await culvert.connection()).state).toBe("up");
  });

  it("says what differs when the two do not agree", async () => {
    for (const [name, ours, theirs, code] of [
      ["esp", { espProposals: ["aes256-sha256-modp1024"] }, {}, "NO_PROPOSAL_CHOSEN_ESP"],
      ["pfs", { espProposals: ["aes128-sha1"] }, {}, "NO_PROPOSAL_CHOSEN_ESP"],
      ["subnets", { remoteSubnets: ["10.99.0.0/24"] }, {}, "TS_UNACCEPTABLE"],
    ] as const) {
      const { bed, a, b } = await network();
      const peer = await strongSwanOn(bed, b, a, { ...proposals, ...theirs, ikev1: "main" });
      const options = { ...proposals, ...version1, localSubnets: [a.subnet], ...ours };
      const culvert = await Culvert.start(bed, gatewayOn(a, b, name, options));
      const { lastFailure } = await culvert.waitFor("refused", ({ lastFailure: last }) => last !== undefined);
      expect(lastFailure).toMatchObject({ code });
      // And as responder, with the whole story.
      await peer.initiate(3);
      const failed = await culvert.waitFor(
        "refuses",
        ({ lastFailure: last }) => (last?.theirs.length ?? 0) > 0 && last?.code === code,
      );
      expect(failed.lastFailure!.difference).not.toBe("");
    }
  });
});
