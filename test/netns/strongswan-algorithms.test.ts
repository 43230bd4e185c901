/**
 * Every algorithm with strongSwan, for IKE and for ESP, both roles, with packets through it and a rekey with perfect
 * forward secrecy. Each algorithm once in `npm test`; every IKE encryption × integrity or PRF × group, and every ESP
 * encryption × integrity, with CULVERT_INTEROP=full in the environment (660 networks, a quarter of an hour).
 */
import { describe, expect, it } from "vitest";
import { dh, type EncryptionRow, encr, integ, prf } from "../../src/registry/index.ts";
import { Culvert } from "../../testbed/culvert.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network, strongSwanOn } from "./support.ts";

interface Suites {
  readonly ike: string;
  readonly esp: string;
}

/** The smallest list that has everything: as many rows as there are encryptions for ESP. */
const each: readonly Suites[] = [
  { ike: "aes128-md5-modp768", esp: "aes128-md5-modp768" },
  { ike: "aes192-sha1-modp1024", esp: "aes192-sha1-modp1024" },
  { ike: "aes256-sha256-modp1536", esp: "aes256-sha256-modp1536" },
  { ike: "aes128ctr-sha384-modp2048", esp: "aes128ctr-sha384-modp2048" },
  { ike: "aes192ctr-sha512-modp3072", esp: "aes192ctr-sha512-modp3072" },
  { ike: "aes256ctr-sha256-modp4096", esp: "aes256ctr-sha1-modp4096" },
  { ike: "aes128gcm16-prfsha256-modp2048s256", esp: "aes128gcm16-modp2048s256" },
  { ike: "aes192gcm16-prfsha384-ecp256", esp: "aes192gcm16-ecp256" },
  { ike: "aes256gcm16-prfsha512-ecp384", esp: "aes256gcm16-ecp384" },
  { ike: "chacha20poly1305-prfsha1-ecp521", esp: "chacha20poly1305-ecp521" },
  { ike: "3des-sha1-prfsha256-x25519", esp: "3des-sha1-x25519" },
  { ike: "des-md5-prfmd5-x25519", esp: "des-md5-x25519" },
  { ike: "aes128-sha256-prfsha512-x25519", esp: "null-sha512-x25519" },
];

const full = process.env.CULVERT_INTEROP === "full";

describe("the list of suites for strongSwan", () => {
  const words = (which: keyof Suites) => new Set(each.flatMap((row) => row[which].split("-")));

  it("has every algorithm that this build has", () => {
    const ciphers = Object.values<EncryptionRow>(encr);
    const others = [integ, dh].flatMap((rows) => Object.values(rows).map((row) => row.keywords[0]));
    const prfs = Object.values(prf).map((row) => row.keywords[0]);
    const ofUse = (use: "ike" | "esp") =>
      ciphers.filter((row) => row.implemented[use]).flatMap((row) => Object.keys(row.keywords));
    expect([...ofUse("ike"), ...others, ...prfs].filter((word) => !words("ike").has(word))).toEqual([]);
    expect([...ofUse("esp"), ...others].filter((word) => !words("esp").has(word))).toEqual([]);
  });
});

describeInNamespaces("culvert and strongSwan, with every algorithm", ["strongswan"], () => {
  it.each(full ? product() : each)("IKE $ike, ESP $esp", async ({ ike, esp }) => {
    const { bed, a, b } = await network();
    const proposals = { ikeProposals: [ike], espProposals: [esp] };
    const [culvert, peer] = await Promise.all([
      Culvert.start(bed, gatewayOn(a, b, "a", { ...proposals, start: "passive", forceEncapsulation: true })),
      strongSwanOn(bed, b, a, proposals),
    ]);

    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await expectTunnel("responder");
    expect(await peer.swanctl(["--terminate", "--ike", "peer"])).toMatchObject({ code: 0 });
    await culvert.waitFor("down", ({ state }) => state !== "up");

    expect(await culvert.cli(["up", "peer", "--timeout", "10"])).toMatchObject({ code: 0 });
    await expectTunnel("initiator");

    async function expectTunnel(role: "initiator" | "responder"): Promise<void> {
      const { tunnels } = await culvert.waitUp();
      const agreed = tunnels[0]!;
      expect(agreed.ike?.role).toBe(role);
      // A PRF that is not named is that of the integrity algorithm, and status names it.
      const ikeWords = agreed.ike!.suite.split("-");
      for (const word of ike.split("-")) expect(ikeWords).toContain(word);
      await waitForPing(a.host, b.hostAddress);
      // RFC 7296 §1.2: the first CHILD_SA has no group of its own. Its successors have.
      const first = agreed.children[0]!;
      expect(first.suite).toBe(esp.slice(0, esp.lastIndexOf("-")));
      expect(await peer.swanctl(["--rekey", "--child", "net"])).toMatchObject({ code: 0 });
      const rekeyed = await culvert.waitFor("rekeyed", (connection) => {
        const children = connection.tunnels[0]?.children ?? [];
        return children.length === 1 && children[0]?.spiIn !== first.spiIn;
      });
      expect(rekeyed.tunnels[0]!.children[0]!.suite).toBe(esp);
      await waitForPing(b.host, a.hostAddress);
    }
  });
});

function product(): Suites[] {
  const ciphers = Object.values<EncryptionRow>(encr);
  const groups = Object.values(dh).map((row) => row.keywords[0]);
  const integrities = Object.values(integ).map((row) => row.keywords[0]);
  const prfs = Object.values(prf).map((row) => row.keywords[0]);
  const withAuthentication = (row: EncryptionRow, aead: readonly string[]) =>
    Object.keys(row.keywords).flatMap((word) =>
      (row.mode === "aead" ? aead : integrities.map((name) => `-${name}`)).map((rest) => `${word}${rest}`),
    );
  const ike = ciphers
    .filter((row) => row.implemented.ike)
    .flatMap((row) =>
      withAuthentication(
        row,
        prfs.map((name) => `-${name}`),
      ),
    )
    .flatMap((suite) => groups.map((group) => `${suite}-${group}`));
  const esp = ciphers.flatMap((row) => withAuthentication(row, [""]));
  return ike.map((suite, i) => ({
    ike: suite,
    esp: `${esp[i % esp.length]}-${groups[Math.floor(i / esp.length) % groups.length]}`,
  }));
}
