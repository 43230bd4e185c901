import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dh,
  encr,
  formatProposal,
  formatSuite,
  integ,
  ProposalError,
  type ProposalUse,
  parseProposal,
  prf,
} from "../../../src/registry/index.ts";

const AES_CBC = encr.ENCR_AES_CBC.id;
const AES_GCM = encr.ENCR_AES_GCM_16.id;

describe("parseProposal", () => {
  it("reads swanctl's keywords in order of preference", () => {
    expect(parseProposal("aes256gcm16-prfsha384-x25519", "ike")).toEqual({
      text: "aes256gcm16-prfsha384-x25519",
      encryption: [{ id: 20, keyBits: 256 }],
      integrity: [],
      prf: [6],
      groups: [31],
      additionalKeyExchanges: [],
      esn: [],
      implemented: true,
      unimplemented: [],
      weak: [],
    });
    expect(parseProposal("aes256-aes128-sha384-sha256-ecp384-modp2048", "ike")).toMatchObject({
      encryption: [
        { id: AES_CBC, keyBits: 256 },
        { id: AES_CBC, keyBits: 128 },
      ],
      integrity: [13, 12],
      groups: [20, 14],
    });
  });

  it("takes the PRF from the integrity words when none is written", () => {
    expect(parseProposal("aes128-sha256-sha1-modp2048", "ike").prf).toEqual([
      prf.PRF_HMAC_SHA2_256.id,
      prf.PRF_HMAC_SHA1.id,
    ]);
    expect(parseProposal("aes128-sha256-prfsha512-modp2048", "ike").prf).toEqual([prf.PRF_HMAC_SHA2_512.id]);
  });

  it("reads an integrity word beside AEAD as the PRF, because AEAD has no integrity transform", () => {
    expect(parseProposal("aes256gcm16-sha384-ecp384", "ike")).toMatchObject({ integrity: [], prf: [6] });
    expect(parseProposal("aes256gcm16-sha384", "esp")).toMatchObject({ integrity: [], prf: [] });
  });

  it.each([
    ["aes-sha256-group14", "aes128-sha256-modp2048"],
    ["AES256-SHA1-GROUP2", "aes256-sha1-modp1024"],
    ["aes192-sha-group5", "aes192-sha1-modp1536"],
    ["aes128gcm128-prfsha256-curve25519", "aes128gcm16-prfsha256-x25519"],
    ["aes-md5-group1", "aes128-md5-modp768"],
    [
      "aes-sha2_256-group19-group20-group21-group24-group31",
      "aes128-sha256-ecp256-ecp384-ecp521-modp2048s256-x25519",
    ],
  ])("understands the cloud products' %s as %s", (cloud, swanctl) => {
    const { text: _, weak: __, unimplemented: ___, ...numbers } = parseProposal(cloud, "ike");
    expect(parseProposal(swanctl, "ike")).toMatchObject(numbers);
  });

  it("says a repeated alternative once", () => {
    expect(parseProposal("aes128-aes-sha256-sha256-x25519-group31", "ike")).toMatchObject({
      encryption: [{ id: AES_CBC, keyBits: 128 }],
      integrity: [12],
      groups: [31],
    });
  });

  it("reads additional key exchanges (RFC 9370) in the order of their numbers, each with its alternatives", () => {
    const text = "aes256gcm16-prfsha384-x25519-ke2_ecp384-ke1_mlkem768-ke1_none-ke1_mlkem768";
    expect(parseProposal(text, "ike")).toMatchObject({
      groups: [31],
      additionalKeyExchanges: [
        { type: 6, methods: [36, 0] },
        { type: 7, methods: [20] },
      ],
    });
    expect(parseProposal("aes128gcm16-x25519-ke7_modp2048", "esp").additionalKeyExchanges).toEqual([
      { type: 12, methods: [14] },
    ]);
    expect(parseProposal("aes128gcm16-sha256-x25519-ke1_modp1024", "ike").weak.map((w) => w.keyword)).toEqual(
      ["ke1_modp1024"],
    );
  });

  it("reads PFS groups and sequence numbers of an IPsec proposal", () => {
    expect(parseProposal("aes256gcm16-x25519-esn-noesn", "esp")).toMatchObject({ groups: [31], esn: [1, 0] });
    expect(parseProposal("aes128gcm16", "esp")).toMatchObject({
      groups: [],
      esn: [],
      prf: [],
      implemented: true,
    });
  });

  it("runs every word that it knows", () => {
    for (const text of [
      "aes256gcm16-sha384-x25519-ke1_mlkem768-ke2_ecp384-ke3_mlkem512-ke4_mlkem1024-ke5_none",
      "aes128-sha256-modp2048s256",
      "3des-md5-modp768",
      "des-sha1-modp2048",
      "aes256ctr-sha512-modp2048",
      "chacha20poly1305-sha256-x25519",
    ])
      for (const use of ["ike", "esp"] as const) expect(parseProposal(text, use).implemented).toBe(true);
    expect(parseProposal("null-sha384", "esp").implemented).toBe(true);
    for (const bits of [128, 192, 256]) {
      expect(parseProposal(`aes${bits}gcm16`, "esp").implemented).toBe(true);
      expect(parseProposal(`aes${bits}gcm16-prfsha256-x25519`, "ike").implemented).toBe(true);
      expect(parseProposal(`aes${bits}-sha1-sha256-sha384-sha512-modp2048`, "ike").implemented).toBe(true);
    }
    for (const group of "modp1024 modp1536 modp2048 modp3072 modp4096 ecp256 ecp384 ecp521 x25519".split(" "))
      expect(parseProposal(`aes128-sha256-${group}`, "ike").implemented).toBe(true);
  });

  it("marks what is in no default", () => {
    const words = (text: string) => parseProposal(text, "ike").weak.map((w) => w.keyword);
    expect(words("des-3des-aes128-md5-sha1-sha256-modp768-modp1024-modp1536-modp2048s256-modp2048")).toEqual(
      "des 3des md5 sha1 modp768 modp1024 modp1536 modp2048s256".split(" "),
    );
    expect(words("aes128-sha256-modp2048")).toEqual([]);
  });

  it.each<[string, ProposalUse, string, RegExp]>([
    ["aes256-sha265-x25519", "ike", "sha265", /unknown algorithm "sha265"; allowed are .*integrity: sha256/],
    ["aes256--x25519", "ike", "", /unknown algorithm ""/],
    ["", "ike", "", /unknown algorithm ""; allowed are encryption: aes128gcm16/],
    ["null-sha256-x25519", "ike", "null", /"null" cannot be used in an IKE proposal/],
    ["aes128gcm16-prfsha256", "esp", "prfsha256", /"prfsha256" cannot be used in an IPsec proposal/],
    ["aes128-sha256", "ike", "aes128-sha256", /needs a DH group: add one of x25519 ecp256/],
    ["aes128-x25519", "ike", "aes128-x25519", /needs an integrity algorithm: add one of sha256/],
    ["aes128", "esp", "aes128", /needs an integrity algorithm/],
    ["sha256-x25519", "ike", "sha256-x25519", /needs an encryption algorithm: add one of aes128gcm16/],
    ["aes128gcm16-x25519", "ike", "aes128gcm16-x25519", /needs a PRF: add one of prfsha256/],
    [
      "aes128gcm16-aes128-sha256-x25519",
      "ike",
      "aes128gcm16-aes128-sha256-x25519",
      /write them as two proposals/,
    ],
    ["aes128-sha256-modp2048-esn", "ike", "esn", /"esn" cannot be used in an IKE proposal/],
    ["aes256gcm16-sha384-mlkem768", "ike", "mlkem768", /unknown algorithm "mlkem768"/],
    ["aes256gcm16-sha384-x25519-ke8_mlkem768", "ike", "ke8_mlkem768", /unknown algorithm/],
    ["aes256gcm16-sha384-x25519-ke1_aes128", "ike", "ke1_aes128", /unknown algorithm/],
    [
      "aes128gcm16-x25519-ke1_x25519",
      "esp",
      "aes128gcm16-x25519-ke1_x25519",
      /key exchange twice: .*ke1_x25519/,
    ],
    [
      "aes128gcm16-x25519-ke1_mlkem768-ke2_x25519-ke2_mlkem768",
      "esp",
      "aes128gcm16-x25519-ke1_mlkem768-ke2_x25519-ke2_mlkem768",
      /replace ke2_x25519, ke2_mlkem768/,
    ],
    ["aes256gcm16-ke1_mlkem768", "esp", "aes256gcm16-ke1_mlkem768", /needs a DH group/],
    ["constructor-__proto__", "ike", "constructor", /unknown algorithm/],
  ])("refuses %j for %s and says why", (text, use, word, message) => {
    let error: unknown;
    try {
      parseProposal(text, use);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ProposalError);
    expect((error as ProposalError).word).toBe(word);
    expect((error as ProposalError).message).toMatch(message);
  });

  it("suggests nothing that it would then refuse as unimplemented", () => {
    for (const use of ["ike", "esp"] as const) {
      let message = "";
      try {
        parseProposal("?", use);
      } catch (error) {
        message = (error as Error).message;
      }
      for (const refused of use === "ike" ? ["null", "esn"] : ["prfsha256"])
        expect(message.split(/[ ;]+/)).not.toContain(refused);
    }
  });
});

describe("formatProposal", () => {
  it("is the inverse of parseProposal", () => {
    const words = (rows: Record<string, { keywords: object }>) =>
      Object.values(rows).flatMap(({ keywords }) =>
        Array.isArray(keywords) ? keywords : Object.keys(keywords),
      );
    const some = (list: string[]) => fc.shuffledSubarray(list, { minLength: 1 });
    const notAead = words(encr).filter((w) => !/gcm|chacha|null/.test(w));
    const proposal = fc
      .tuple(some(notAead), some(words(integ)), some(words(prf)), some(words(dh)))
      .map((kinds) => kinds.flat().join("-"));
    fc.assert(
      fc.property(proposal, (text) => {
        expect(formatProposal(parseProposal(text, "ike"))).toBe(text);
      }),
    );
    for (const text of [
      "aes256gcm16-x25519-esn-noesn",
      "aes256gcm16-x25519-ke1_mlkem768-ke1_none-ke3_ecp384-esn",
    ])
      expect(formatProposal(parseProposal(text, "esp"))).toBe(text);
  });

  it("prints what has no keyword by its registry's name", () => {
    expect(
      formatProposal({
        encryption: [
          { id: 23, keyBits: 256 },
          { id: 999, keyBits: undefined },
          { id: AES_GCM, keyBits: 64 },
        ],
        integrity: [5],
        prf: [4],
        groups: [37, 9999],
        esn: [7],
      }),
    ).toBe(
      "ENCR_CAMELLIA_CBC_256-EncryptionAlgorithm(999)-ENCR_AES_GCM_16_64-AUTH_AES_XCBC_96-PRF_AES128_XCBC-mlkem1024-DhGroup(9999)-EsnValue(7)",
    );
  });

  it("prints suites", () => {
    expect(formatSuite({ encr: AES_GCM, keyBits: 256, integ: 0, prf: 6, group: 31 })).toBe(
      "aes256gcm16-prfsha384-x25519",
    );
    expect(formatSuite({ encr: AES_CBC, keyBits: 128, integ: 12, prf: 5, group: 14 })).toBe(
      "aes128-sha256-prfsha256-modp2048",
    );
    expect(formatSuite({ encr: AES_GCM, keyBits: 128, integ: 0, group: 0, esn: true })).toBe(
      "aes128gcm16-esn",
    );
    expect(formatSuite({ encr: AES_GCM, keyBits: 128, integ: 0, group: 31, esn: false })).toBe(
      "aes128gcm16-x25519",
    );
  });
});
