import { describe, expect, it } from "vitest";
import {
  checkPhase1Answer,
  checkPhase2Answer,
  choosePhase1,
  choosePhase2,
  formatPhase2Offer,
  offerPhase1,
  offerPhase2,
  phase1Groups,
  quickGroups,
} from "../../../src/ike/v1/proposals.ts";
import {
  EncapsulationMode,
  EspTransform,
  formatSuite,
  IpsecAttribute,
  IpsecAuthentication,
  IsakmpLifeType,
  Phase1Attribute,
  Phase1Authentication,
  parseProposal,
} from "../../../src/registry/index.ts";
import {
  attributeNumber,
  type IsakmpAttribute,
  type IsakmpProposal,
  numberAttribute,
} from "../../../src/wire/v1/index.ts";

const P = Phase1Attribute.code;
const I = IpsecAttribute.code;
const ike = (...texts: string[]) => texts.map((t) => parseProposal(t, "ike"));
const esp = (...texts: string[]) => texts.map((t) => parseProposal(t, "esp"));
const spi = Uint8Array.of(1, 2, 3, 4);
const plain = { encapsulated: false, draft: false };
const hour = { seconds: 3600, kilobytes: undefined };

/** The proposal with some attributes of its only transform replaced; undefined takes one away. */
function changed(
  proposal: IsakmpProposal,
  changes: Readonly<Record<number, number | undefined>>,
): IsakmpProposal {
  const [first] = proposal.transforms;
  const attributes: IsakmpAttribute[] = [
    ...first!.attributes.filter(({ type }) => !(type in changes)),
    ...Object.entries(changes).flatMap(([type, value]) =>
      value === undefined ? [] : [numberAttribute(Number(type), value)],
    ),
  ];
  return { ...proposal, transforms: [{ ...first!, attributes }] };
}

const numbersOf = (proposal: IsakmpProposal) =>
  proposal.transforms.map(({ attributes }) =>
    Object.fromEntries(attributes.map((a) => [a.type, attributeNumber(a)])),
  );

describe("an offer of phase 1 (RFC 2409 appendix A)", () => {
  it("spells out every combination of a proposal's words, in order of preference", () => {
    const { transforms, number, protocol } = offerPhase1(
      ike("aes256-aes128-sha256-sha1-modp2048-modp1024"),
      3600,
    );
    expect([number, protocol, transforms.length]).toEqual([1, 1, 8]);
    expect(transforms.map((t) => t.number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(numbersOf(offerPhase1(ike("aes256-sha256-modp2048"), 86_400))).toEqual([
      {
        [P.ENCRYPTION_ALGORITHM]: 7,
        [P.KEY_LENGTH]: 256,
        [P.HASH_ALGORITHM]: 4,
        [P.GROUP_DESCRIPTION]: 14,
        [P.AUTHENTICATION_METHOD]: 1,
        [P.LIFE_TYPE]: 1,
        [P.LIFE_DURATION]: 86_400,
      },
    ]);
  });

  it.each([
    ["des-md5-modp768", 1, 1, 1],
    ["3des-sha1-modp1024", 5, 2, 2],
    ["aes128-sha384-modp1536", 7, 5, 5],
    ["aes192-sha512-ecp521", 7, 6, 21],
    ["aes128-sha256-modp2048s256", 7, 4, 24],
  ])("knows the numbers of %s", (text, encryption, hash, group) => {
    const [numbers] = numbersOf(offerPhase1(ike(text), 60));
    expect(numbers).toMatchObject({
      [P.ENCRYPTION_ALGORITHM]: encryption,
      [P.HASH_ALGORITHM]: hash,
      [P.GROUP_DESCRIPTION]: group,
    });
  });

  it("leaves out what IKEv1 has no number for: AEAD, X25519, and a PRF of another hash", () => {
    const settings = ike(
      "aes256gcm16-prfsha384-ecp384",
      "aes128-sha256-x25519",
      "aes128-sha1-prfsha256-modp2048",
      "aes128-sha256-x25519-ecp256",
    );
    expect(phase1Groups(settings)).toEqual([19]);
    expect(offerPhase1(settings, 60).transforms).toHaveLength(1);
    expect(offerPhase1(settings.slice(0, 3), 60).transforms).toHaveLength(0);
  });

  it("has one group where the key exchange goes along (aggressive mode, RFC 2409 §5.4)", () => {
    const settings = ike("aes256-sha256-ecp256-modp2048", "aes128-sha1-modp2048");
    expect(phase1Groups(settings)).toEqual([19, 14]);
    const groups = numbersOf(offerPhase1(settings, 60, 14)).map((n) => n[P.GROUP_DESCRIPTION]);
    expect(groups).toEqual([14, 14]);
  });

  it("has no more transforms than # of Transforms can count", () => {
    const words = "aes128-aes192-aes256-3des-des-sha256-sha384-sha512-sha1-md5";
    const groups = "modp2048-modp3072-modp4096-ecp256-ecp384-ecp521-modp1536-modp1024-modp768-modp2048s256";
    const { transforms } = offerPhase1(ike(`${words}-${groups}`, "aes128-sha1-modp1024"), 60);
    expect(transforms).toHaveLength(250);
    const more = offerPhase1(ike(`${words}-${groups}`, "aes128-sha256-modp2048"), 60).transforms;
    expect(more.length).toBeLessThanOrEqual(255);
  });
});

describe("choosing in phase 1 (RFC 2408 §4.2)", () => {
  it("follows our preference, and gives the chosen transform back as it came", () => {
    const theirs = offerPhase1(ike("3des-md5-modp1024", "aes128-aes256-sha1-sha256-modp2048"), 86_400);
    const chosen = choosePhase1(ike("aes256-sha256-modp2048", "aes128-sha1-modp2048"), [theirs]);
    expect(chosen.ok && formatSuite(chosen.value.suite)).toBe("aes256-sha256-prfsha256-modp2048");
    expect(chosen.ok && chosen.value.life).toEqual({ seconds: 86_400, kilobytes: undefined });
    const transform = chosen.ok && chosen.value.proposal.transforms[0];
    expect(theirs.transforms).toContain(transform);
    expect(chosen.ok && chosen.value.proposal.transforms).toHaveLength(1);
  });

  it.each([
    ["aes128-sha1-modp1024", "aes128-sha1-modp2048", "DH group: ours modp1024, theirs modp2048"],
    ["aes128-sha256-modp2048", "aes128-sha1-modp2048", "hash: ours sha256, theirs sha1"],
    ["aes256-sha256-modp2048", "3des-md5-modp768", "encryption: ours aes256, theirs 3des"],
    [
      "aes256gcm16-prfsha384-ecp384",
      "aes128-sha1-modp2048",
      "encryption: ours none that IKEv1 has, theirs aes128",
    ],
  ])("says how %s differs from an offer of %s", (ours, theirs, difference) => {
    const chosen = choosePhase1(ike(ours), [offerPhase1(ike(theirs), 60)]);
    expect(chosen).toMatchObject({ ok: false, error: { ours: [ours], theirs: [theirs], difference } });
  });

  it("reports the nearest of several offers", () => {
    const theirs = offerPhase1(ike("3des-md5-modp1024", "aes128-sha1-modp1024"), 60);
    const chosen = choosePhase1(ike("aes128-sha1-modp2048"), [theirs]);
    expect(!chosen.ok && chosen.error.difference).toBe("DH group: ours modp2048, theirs modp1024");
  });

  const offered = offerPhase1(ike("aes128-sha1-modp1024"), 60);
  const choose = (proposal: IsakmpProposal) => choosePhase1(ike("aes128-sha1-modp1024"), [proposal]);

  it("authenticates with a pre-shared key, and with nothing else", () => {
    const rsa = changed(offered, { [P.AUTHENTICATION_METHOD]: Phase1Authentication.code.RSA_SIGNATURES });
    const chosen = choose(rsa);
    expect(!chosen.ok && chosen.error.difference).toBe(
      "authentication: ours PRE_SHARED_KEY, theirs RSA_SIGNATURES",
    );
    expect(!chosen.ok && chosen.error.theirs).toEqual(["aes128-sha1-modp1024 RSA_SIGNATURES"]);
  });

  it("does not choose what says more than it understands", () => {
    const chosen = choose(changed(offered, { [P.PRF]: 1 }));
    expect(!chosen.ok && chosen.error.difference).toBe("PRF: not supported");
    const ofOtherKind = { ...offered, transforms: [{ ...offered.transforms[0]!, id: 2 }] };
    expect(choose(ofOtherKind).ok).toBe(false);
  });

  it("does not choose a transform that says two things", () => {
    const [first] = offered.transforms;
    const attributes = [...first!.attributes, numberAttribute(P.HASH_ALGORITHM, 1)];
    expect(choose({ ...offered, transforms: [{ ...first!, attributes }] }).ok).toBe(false);
    const repeated = [...first!.attributes, numberAttribute(P.HASH_ALGORITHM, 2)];
    expect(choose({ ...offered, transforms: [{ ...first!, attributes: repeated }] }).ok).toBe(true);
  });

  it("reads AES without a key length as AES-128, and a DES with one as nothing it knows", () => {
    expect(choose(changed(offered, { [P.KEY_LENGTH]: undefined })).ok).toBe(true);
    const des = changed(offerPhase1(ike("des-sha1-modp1024"), 60), { [P.KEY_LENGTH]: 64 });
    expect(choosePhase1(ike("des-sha1-modp1024"), [des]).ok).toBe(false);
  });

  it("takes what an SPI or a life duration of eight octets says for what it is", () => {
    const [first] = offered.transforms;
    const attributes = first!.attributes.map((a) =>
      a.type === P.LIFE_DURATION ? { ...a, value: Uint8Array.of(0, 0, 0, 0, 0, 1, 0x51, 0x80) } : a,
    );
    const chosen = choose({ ...offered, spi: new Uint8Array(8), transforms: [{ ...first!, attributes }] });
    expect(chosen.ok && chosen.value.life.seconds).toBe(86_400);
  });

  it("has words for an offer of nothing", () => {
    const chosen = choosePhase1(ike("aes128-sha1-modp1024"), [{ ...offered, transforms: [] }]);
    expect(!chosen.ok && chosen.error).toMatchObject({
      theirs: [],
      difference: "the offer holds no transform",
    });
  });
});

describe("the answer of phase 1", () => {
  const offered = offerPhase1(ike("aes256-aes128-sha256-modp2048"), 86_400);
  const chosen = (i: number): IsakmpProposal => ({ ...offered, transforms: [offered.transforms[i]!] });

  it("is one transform of those offered", () => {
    const checked = checkPhase1Answer(offered, [chosen(1)]);
    expect(checked.ok && formatSuite(checked.value.suite)).toBe("aes128-sha256-prfsha256-modp2048");
    expect(checkPhase1Answer(offered, [offered]).ok).toBe(false);
    expect(checkPhase1Answer(offered, []).ok).toBe(false);
    expect(checkPhase1Answer(offered, [chosen(0), chosen(1)]).ok).toBe(false);
  });

  it("may count anew and shorten the lifetime", () => {
    const answer = changed(chosen(1), { [P.LIFE_TYPE]: undefined, [P.LIFE_DURATION]: undefined });
    const [first] = answer.transforms;
    const attributes = [
      ...first!.attributes,
      numberAttribute(P.LIFE_TYPE, 1),
      numberAttribute(P.LIFE_DURATION, 600),
    ];
    const renumbered = { ...answer, number: 3, transforms: [{ ...first!, number: 1, attributes }] };
    const checked = checkPhase1Answer(offered, [renumbered]);
    expect(checked.ok && checked.value.life.seconds).toBe(600);
  });

  it("is nothing else", () => {
    const weaker = offerPhase1(ike("3des-sha256-modp2048"), 60);
    expect(checkPhase1Answer(offered, [weaker])).toEqual({
      ok: false,
      error: "3des-sha256-modp2048 was not offered",
    });
  });
});

describe("an offer of phase 2 (RFC 2407 §4.5)", () => {
  it("says lifetimes, group, encapsulation, integrity and key length of each combination", () => {
    const life = { seconds: 3600, kilobytes: 4096 };
    const offered = offerPhase2(esp("aes256-sha256-modp2048"), 14, plain, spi, life);
    expect([offered.protocol, offered.spi]).toEqual([3, spi]);
    const [transform] = offered.transforms;
    expect(transform!.id).toBe(EspTransform.code.ESP_AES_CBC);
    expect(transform!.attributes.map((a) => [a.type, attributeNumber(a)])).toEqual([
      [I.SA_LIFE_TYPE, IsakmpLifeType.code.SECONDS],
      [I.SA_LIFE_DURATION, 3600],
      [I.SA_LIFE_TYPE, IsakmpLifeType.code.KILOBYTES],
      [I.SA_LIFE_DURATION, 4096],
      [I.GROUP_DESCRIPTION, 14],
      [I.ENCAPSULATION_MODE, EncapsulationMode.code.TUNNEL],
      [I.AUTHENTICATION_ALGORITHM, IpsecAuthentication.code.HMAC_SHA2_256],
      [I.KEY_LENGTH, 256],
    ]);
  });

  it.each([
    ["des-md5", 2, 1, undefined],
    ["3des-sha1", 3, 2, undefined],
    ["null-sha512", 11, 7, undefined],
    ["aes192-sha384", 12, 6, 192],
    ["aes128ctr-sha256", 13, 5, 128],
    ["aes256gcm16", 20, undefined, 256],
  ])("knows the numbers of %s", (text, id, integrity, keyLength) => {
    const offered = offerPhase2(esp(text), 0, plain, spi, hour);
    expect(offered.transforms[0]!.id).toBe(id);
    expect(numbersOf(offered)[0]).toEqual({
      [I.SA_LIFE_TYPE]: 1,
      [I.SA_LIFE_DURATION]: 3600,
      [I.ENCAPSULATION_MODE]: 1,
      ...(integrity !== undefined && { [I.AUTHENTICATION_ALGORITHM]: integrity }),
      ...(keyLength !== undefined && { [I.KEY_LENGTH]: keyLength }),
    });
  });

  it("has one group of PFS (RFC 2409 §5.5); the others are for the next attempt", () => {
    const settings = esp(
      "aes256gcm16-x25519",
      "aes256-sha256-ecp256-modp2048",
      "aes128-sha1-modp2048",
      "3des-md5",
    );
    expect(quickGroups(settings)).toEqual([19, 14, 0]);
    const keywords = (group: number) => formatPhase2Offer([offerPhase2(settings, group, plain, spi, hour)]);
    expect(keywords(19)).toEqual(["aes256-sha256-ecp256"]);
    expect(keywords(14)).toEqual(["aes256-sha256-modp2048", "aes128-sha1-modp2048"]);
    expect(keywords(0)).toEqual(["3des-md5"]);
  });

  it("asks for UDP encapsulation with the number that the peer's NAT traversal has", () => {
    const mode = (draft: boolean) =>
      numbersOf(offerPhase2(esp("aes128-sha1"), 0, { encapsulated: true, draft }, spi, hour))[0]![
        I.ENCAPSULATION_MODE
      ];
    expect([mode(false), mode(true)]).toEqual([3, 61443]);
  });

  it("asks for 64-bit sequence numbers only where the operator does", () => {
    const asked = (text: string) =>
      numbersOf(offerPhase2(esp(text), 0, plain, spi, hour)).map((n) => n[I.EXTENDED_SEQUENCE_NUMBER]);
    expect(asked("aes128-sha1")).toEqual([undefined]);
    expect(asked("aes128-sha1-esn")).toEqual([1]);
    expect(asked("aes128-sha1-esn-noesn")).toEqual([1, undefined]);
  });
});

describe("choosing in phase 2", () => {
  const offer = (...texts: string[]) => {
    const settings = esp(...texts);
    return offerPhase2(settings, quickGroups(settings)[0]!, plain, spi, hour);
  };
  const choose = (ours: string, offered: IsakmpProposal, withKe = true, scope = plain) =>
    choosePhase2(esp(ours), [offered], scope, withKe);

  it("gives the suite, the peer's SPI and what it says of lifetimes", () => {
    const chosen = choose("aes128gcm16-aes256gcm16-modp2048", offer("aes256gcm16-modp2048"));
    expect(chosen.ok && formatSuite(chosen.value.suite)).toBe("aes256gcm16-modp2048");
    expect(chosen.ok && chosen.value).toMatchObject({ spi, life: hour, mode: 1 });
  });

  it.each([
    ["aes128-sha1-modp2048", "aes128-sha1", "DH group: ours modp2048, theirs none"],
    ["aes128-sha1", "aes128-sha1-modp2048", "DH group: ours none, theirs modp2048"],
    ["aes128-sha1-modp2048", "aes128-sha1-modp1024", "DH group: ours modp2048, theirs modp1024"],
    ["aes128-sha256", "aes128-md5", "integrity: ours sha256, theirs md5"],
    ["aes128gcm16", "aes128-sha1", "encryption: ours aes128gcm16, theirs aes128"],
    ["aes128-sha1-esn", "aes128-sha1", "sequence numbers: ours esn, theirs noesn"],
    ["aes128-sha1-x25519", "aes128-sha1-modp2048", "DH group: ours none that IKEv1 has, theirs modp2048"],
  ])("says how %s differs from an offer of %s", (ours, theirs, difference) => {
    const offered = offer(theirs);
    const chosen = choose(ours, offered, theirs.includes("modp"));
    expect(chosen).toMatchObject({ ok: false, error: { ours: [ours], theirs: [theirs], difference } });
  });

  it("holds a group to the key exchange that comes with it", () => {
    const without = choose("aes128-sha1-modp2048", offer("aes128-sha1-modp2048"), false);
    expect(!without.ok && without.error.difference).toBe("DH group modp2048 without a key exchange");
    const instead = choose("aes128-sha1", offer("aes128-sha1"), true);
    expect(!instead.ok && instead.error.difference).toBe("the offer has a key exchange and no DH group");
  });

  it("takes the encapsulation that the path asks for, in either spelling, or left out", () => {
    const udp = { encapsulated: true, draft: false };
    const modes = [1, 2, 3, 4, 61443, 61444, undefined].map((mode) => {
      const offered = changed(offer("aes128-sha1"), { [I.ENCAPSULATION_MODE]: mode });
      return [choose("aes128-sha1", offered, false).ok, choose("aes128-sha1", offered, false, udp).ok];
    });
    expect(modes).toEqual([
      [true, false],
      [false, false],
      [false, true],
      [false, false],
      [false, true],
      [false, false],
      [true, true],
    ]);
    const transport = changed(offer("aes128-sha1"), { [I.ENCAPSULATION_MODE]: 2 });
    const chosen = choose("aes128-sha1", transport, false);
    expect(!chosen.ok && chosen.error.difference).toBe("encapsulation: ours TUNNEL, theirs TRANSPORT");
  });

  it("agrees to 64-bit sequence numbers where the operator says nothing, and keeps 32 bits where none are asked for", () => {
    const esn = choose("aes128-sha1", offer("aes128-sha1-esn"), false);
    const noesn = choose("aes128-sha1", offer("aes128-sha1"), false);
    expect([esn.ok && esn.value.suite.esn, noesn.ok && noesn.value.suite.esn]).toEqual([true, false]);
  });

  it("does not choose AES-GMAC, of which no key would be derived (CVE-2024-3652)", () => {
    const [first] = offer("aes128gcm16").transforms;
    const gmac = {
      ...offer("aes128gcm16"),
      transforms: [{ ...first!, id: EspTransform.code.ESP_NULL_AUTH_AES_GMAC }],
    };
    for (const ours of ["aes128gcm16", "aes128-sha1", "null-sha1"])
      expect(choose(ours, gmac, false).ok).toBe(false);
    const authentication = changed(offer("null-sha1"), {
      [I.AUTHENTICATION_ALGORITHM]: IpsecAuthentication.code.AES_128_GMAC,
    });
    expect(choose("null-sha1", authentication, false).ok).toBe(false);
  });

  it("does not choose a cipher without integrity, nor AEAD with a second one", () => {
    const bare = changed(offer("aes128-sha1"), { [I.AUTHENTICATION_ALGORITHM]: undefined });
    expect(choose("aes128-sha1", bare, false).ok).toBe(false);
    const both = changed(offer("aes128gcm16"), { [I.AUTHENTICATION_ALGORITHM]: 2 });
    expect(choose("aes128gcm16", both, false).ok).toBe(false);
  });

  it("does not choose ESP that comes together with AH or compression", () => {
    const offered = offer("aes128-sha1");
    const ah = { ...offered, protocol: 2 };
    expect(choosePhase2(esp("aes128-sha1"), [ah, offered], plain, false).ok).toBe(false);
    expect(choosePhase2(esp("aes128-sha1"), [ah, { ...offered, number: 2 }], plain, false).ok).toBe(true);
  });

  it("does not choose a proposal whose SPI is none", () => {
    expect(choose("aes128-sha1", { ...offer("aes128-sha1"), spi: new Uint8Array(2) }, false).ok).toBe(false);
  });

  it("reads lifetimes in seconds and kilobytes, the shorter of two, and none where there is nothing", () => {
    const [first] = offer("aes128-sha1").transforms;
    const life = (...pairs: readonly (readonly [number, number])[]) => {
      const attributes = [
        ...first!.attributes.filter((a) => a.type !== I.SA_LIFE_TYPE && a.type !== I.SA_LIFE_DURATION),
        ...pairs.flatMap(([type, n]) => [
          numberAttribute(I.SA_LIFE_TYPE, type),
          numberAttribute(I.SA_LIFE_DURATION, n),
        ]),
      ];
      const chosen = choose(
        "aes128-sha1",
        { ...offer("aes128-sha1"), transforms: [{ ...first!, attributes }] },
        false,
      );
      return chosen.ok && chosen.value.life;
    };
    expect(life([1, 600], [2, 5000])).toEqual({ seconds: 600, kilobytes: 5000 });
    expect(life([1, 900], [1, 600])).toEqual({ seconds: 600, kilobytes: undefined });
    expect(life([1, 0], [2, 0])).toEqual({ seconds: undefined, kilobytes: undefined });
    expect(life()).toEqual({ seconds: undefined, kilobytes: undefined });
    const attributes = [...first!.attributes, numberAttribute(I.SA_LIFE_DURATION, 5)];
    expect(
      choose("aes128-sha1", { ...offer("aes128-sha1"), transforms: [{ ...first!, attributes }] }, false).ok,
    ).toBe(false);
  });
});

describe("the answer of phase 2", () => {
  const offered = offerPhase2(esp("aes256-aes128-sha1-modp1024"), 2, plain, spi, hour);
  const answer = { ...offered, spi: Uint8Array.of(9, 9, 9, 9), transforms: [offered.transforms[1]!] };

  it("has the responder's SPI and one transform of those offered", () => {
    const checked = checkPhase2Answer(offered, [answer]);
    expect(checked.ok && formatSuite(checked.value.suite)).toBe("aes128-sha1-modp1024");
    expect(checked.ok && checked.value.spi).toEqual(answer.spi);
  });

  it("may leave the encapsulation out, and may not change it, the group or the integrity", () => {
    expect(checkPhase2Answer(offered, [changed(answer, { [I.ENCAPSULATION_MODE]: undefined })]).ok).toBe(
      true,
    );
    for (const change of [
      { [I.ENCAPSULATION_MODE]: 2 },
      { [I.GROUP_DESCRIPTION]: 14 },
      { [I.GROUP_DESCRIPTION]: undefined },
      { [I.AUTHENTICATION_ALGORITHM]: 1 },
      { [I.AUTHENTICATION_ALGORITHM]: undefined },
      { [I.KEY_LENGTH]: 192 },
    ])
      expect(checkPhase2Answer(offered, [changed(answer, change)]).ok).toBe(false);
    expect(checkPhase2Answer(offered, [{ ...answer, spi: new Uint8Array(0) }]).ok).toBe(false);
  });
});
