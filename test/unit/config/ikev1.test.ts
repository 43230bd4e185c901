import { describe, expect, it } from "vitest";
import { ikev1EspDefaults, ikev1IkeDefaults } from "../../../src/config/defaults.ts";
import { defaultProposals, ikev1Part } from "../../../src/config/ikev1.ts";
import { explainConfig } from "../../../src/config/index.ts";
import { parseProposal } from "../../../src/registry/index.ts";
import { file, load } from "./helpers.ts";
import { check } from "./rule-table.ts";

const inConnection = (text: string) =>
  file({ connection: text.includes("ustomerGateway:") ? text : `customerGateway: branch\n${text}` });
const ike = (text: string) => `ike: {version: ikev1, ${text}}`;
const ipsec = (text: string) => `ike: {version: ikev1}\nipsec: {${text}}`;
const flows = (locals: number, remotes: number) => {
  const nets = (n: number, count: number) =>
    Array.from({ length: count }, (_, i) => `10.${n}.${i}.0/24`).join(", ");
  const subnets = `localSubnets: [${nets(1, locals)}]\nremoteSubnets: [${nets(2, remotes)}]`;
  return `ike: {version: ikev1}\nrouting: protected-data-flows\n${subnets}`;
};
const at = "connections.hq-branch";
const ikeExample = ikev1IkeDefaults[0];
const espExample = ikev1EspDefaults[0];

check("connections with ike.version: ikev1", inConnection, [
  {
    rule: "algorithms that exist there",
    good: [
      "ike: {version: ikev1}",
      ike("mode: aggressive"),
      ike(
        "proposals: [aes256-aes192-sha384-sha256-ecp521-modp2048s256, 3des-sha1-modp1024, des-md5-modp768]",
      ),
      ike("proposals: [aes128-sha256-prfsha256-ecp256]"),
      ipsec(
        "proposals: [aes256gcm16-modp2048, aes128ctr-sha256-esn, null-sha1, des-md5-modp1536, 3des-sha512]",
      ),
    ],
    bad: [
      [
        ike("proposals: [aes256gcm16-prfsha384-ecp384]"),
        `${at}.ike.proposals[0]: aes256gcm16-prfsha384-ecp384: a proposal such as ${ikeExample} (IKEv1 has no aes256gcm16, prfsha384 in its first phase)`,
      ],
      [
        ike("proposals: [aes128-sha256-modp2048, aes256-aes128ctr-sha256-x25519-ecp256]"),
        `${at}.ike.proposals[1]: aes256-aes128ctr-sha256-x25519-ecp256: aes256-sha256-ecp256 (IKEv1 has no aes128ctr, x25519 in its first phase)`,
      ],
      [
        ike("proposals: [aes256-sha256-x25519]"),
        `${at}.ike.proposals[0]: aes256-sha256-x25519: a proposal such as ${ikeExample} (IKEv1 has no x25519 in its first phase)`,
      ],
      [
        ike("proposals: [aes256-sha256-sha384-prfsha384-ecp384]"),
        `${at}.ike.proposals[0]: aes256-sha256-sha384-prfsha384-ecp384: aes256-sha384-ecp384 (IKEv1 has no sha256 in its first phase)`,
      ],
      [
        ike("proposals: [aes256-sha256-ecp256-ke1_mlkem768-ke1_none]"),
        `${at}.ike.proposals[0]: aes256-sha256-ecp256-ke1_mlkem768-ke1_none: aes256-sha256-ecp256 (IKEv1 has no ke1_… to ke7_… in its first phase)`,
      ],
      [
        ipsec("proposals: [chacha20poly1305-modp2048]"),
        `${at}.ipsec.proposals[0]: chacha20poly1305-modp2048: a proposal such as ${espExample} (IKEv1 has no chacha20poly1305 for ESP)`,
      ],
      [
        ipsec("proposals: [aes128gcm16-x25519-noesn]"),
        `${at}.ipsec.proposals[0]: aes128gcm16-x25519-noesn: a proposal such as ${espExample} (IKEv1 has no x25519 for ESP)`,
      ],
    ],
  },
  {
    rule: "as many pairs as one ISAKMP SA has IPsec SAs",
    good: [flows(16, 16)],
    bad: [
      [
        flows(16, 17),
        `${at}.remoteSubnets: at most 256 pairs of localSubnets and remoteSubnets, because ike.version is ikev1: there are 272`,
      ],
    ],
  },
  {
    rule: "what belongs to IKEv2",
    good: [ike("childless: never, mobike: true, reauthenticate: true"), ipsec("perSubnetPair: true")],
    bad: [
      [
        ike("ppk: {id: a, file: a.ppk}"),
        `${at}.ike.ppk: no ppk, because ike.version is ikev1 (RFC 8784 is IKEv2's)`,
      ],
      [
        ike("childless: force"),
        `${at}.ike.childless: force: allow or never, because ike.version is ikev1 (RFC 6023 is IKEv2's; here each IPsec SA has its own PFS)`,
      ],
      [
        ipsec("perSubnetPair: false"),
        `${at}.ipsec.perSubnetPair: false: auto or true, because ike.version is ikev1, where an IPsec SA carries one pair`,
      ],
    ],
  },
]);

check("connections with ike.version: auto", inConnection, [
  {
    rule: "something for either version",
    good: [
      "ike: {version: auto}",
      "ike: {version: auto, mode: aggressive}",
      "ike: {version: auto, proposals: [aes256gcm16-prfsha384-x25519, aes256-sha256-x25519-ecp256]}",
      "ike: {version: auto, childless: force, ppk: {id: a, file: a.ppk, required: false}}",
      "ike: {version: auto}\nipsec: {proposals: [chacha20poly1305-x25519, aes128gcm16]}",
    ],
    bad: [
      [
        "ike: {version: auto, proposals: [aes256gcm16-prfsha384-x25519, aes256-sha256-x25519]}",
        `${at}.ike.proposals: aes256gcm16-prfsha384-x25519 aes256-sha256-x25519: at least one proposal for IKEv1 too, such as ${ikeExample}, or ike.version: ikev2: auto answers both versions`,
      ],
      [
        "ike: {version: auto}\nipsec: {proposals: [aes128gcm16-x25519]}",
        `${at}.ipsec.proposals: aes128gcm16-x25519: at least one proposal for IKEv1 too, such as ${espExample}, or ike.version: ikev2: auto answers both versions`,
      ],
      [
        "ike: {version: auto, ppk: {id: a, file: a.ppk}}",
        `${at}.ike.ppk.required: true: false, or ike.version: ikev2: IKEv1, which auto allows, has no postquantum preshared keys`,
      ],
    ],
  },
]);

describe("default proposals by version", () => {
  it.each(["ike", "esp"] as const)("of IKEv1 for %s are strong and all of them exist there", (use) => {
    for (const proposal of defaultProposals("ikev1", use)) {
      expect([proposal.implemented, proposal.weak]).toEqual([true, []]);
      expect(ikev1Part(proposal, use)).toEqual({ proposal, missing: [] });
    }
  });

  it("of auto are those of both, IKEv2's first; what is explained is what is meant", () => {
    const texts = (version: "ikev1" | "ikev2" | "auto") => {
      const config = load(inConnection(`ike: {version: ${version}}`));
      const { ike, ipsec } = explainConfig(config).connections["hq-branch"]!;
      return [ike.proposals, ipsec.proposals];
    };
    const [old, current] = [texts("ikev1"), texts("ikev2")];
    expect(texts("auto")).toEqual(current.map((list, i) => [...list, ...old[i]!]));
    expect(old).toEqual([[...ikev1IkeDefaults], [...ikev1EspDefaults]]);
  });
});

describe("what of a proposal IKEv1 has", () => {
  it("keeps the rest of a proposal in its order, and nothing without a whole kind", () => {
    const part = (text: string, use: "ike" | "esp") =>
      ikev1Part(parseProposal(text, use), use).proposal?.text;
    expect(part("aes256-sha512-sha256-x25519-modp2048-ecp256", "ike")).toBe(
      "aes256-sha512-sha256-modp2048-ecp256",
    );
    expect(part("chacha20poly1305-aes128gcm16-ecp256-noesn", "esp")).toBe("aes128gcm16-ecp256-noesn");
    expect(part("aes256-sha256-ecp256-ke1_mlkem768", "ike")).toBeUndefined();
  });
});

describe("warnings about IKEv1", () => {
  const warnings = (text: string) =>
    load(inConnection(text)).warnings.map(({ path, text }) => `${path}: ${text}`.replace(`${at}.`, ""));
  const deprecated = "ike.version: weak: ikev1: IKEv1 is deprecated (RFC 9395)";
  const guessable = expect.stringMatching(/^ike\.mode: weak: aggressive: .* offline/);
  const shared = expect.stringMatching(/^ike\.mode: in main mode the key is chosen by the peer's address/);
  const about = (text: string) => warnings(text).filter((line) => line.startsWith("ike."));

  it("say that it is deprecated, where it is allowed too, and nothing about IKEv2", () => {
    expect(about("ike: {version: ikev1}")).toEqual([deprecated]);
    expect(about("ike: {version: auto}")).toEqual([deprecated]);
    expect(about("ike: {version: ikev2}")).toEqual([]);
  });

  it("say that the key of aggressive mode can be guessed offline", () => {
    expect(about("ike: {version: auto, mode: aggressive}")).toEqual([deprecated, guessable]);
  });

  it("say that peers without an address share a key in main mode, and only there", () => {
    expect(about("customerGateway: roaming\nike: {version: ikev1}")).toEqual([deprecated, shared]);
    expect(about("customerGateway: roaming\nike: {version: ikev1, mode: aggressive}")).not.toContainEqual(
      shared,
    );
    expect(about("customerGateway: roaming\nike: {version: ikev2}")).toEqual([]);
  });
});
