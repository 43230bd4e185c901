import { describe, expect, it } from "vitest";
import {
  checkAnswer,
  choose,
  firstChildSa,
  firstIkeSa,
  groupsOf,
  laterChildSa,
  offer,
} from "../../../src/ike/v2/proposals.ts";
import { formatSuite, parseProposal, TransformType } from "../../../src/registry/index.ts";
import type { Proposal } from "../../../src/wire/index.ts";

const T = TransformType.code;
const ike = (...texts: string[]) => texts.map((t) => parseProposal(t, "ike"));
const esp = (...texts: string[]) => texts.map((t) => parseProposal(t, "esp"));
const spi = Uint8Array.of(1, 2, 3, 4);

describe("an offer (RFC 7296 §3.3)", () => {
  it("numbers proposals from 1 and keeps the order of preference", () => {
    const offered = offer(firstIkeSa, ike("aes256gcm16-prfsha384-x25519-ecp256", "aes128-sha256-modp2048"));
    expect(offered.map((p) => p.number)).toEqual([1, 2]);
    expect(offered[0]!.transforms).toEqual([
      { type: T.ENCR, id: 20, keyBits: 256 },
      { type: T.PRF, id: 6 },
      { type: T.DH, id: 31 },
      { type: T.DH, id: 19 },
    ]);
    expect(offered[1]!.transforms.map((t) => t.type)).toEqual([T.ENCR, T.PRF, T.INTEG, T.DH]);
  });

  it("for ESP has the SPI, both kinds of sequence numbers, and groups only outside IKE_AUTH", () => {
    const settings = esp("aes128gcm16-x25519");
    const [first] = offer(firstChildSa, settings, spi);
    expect(first!.spi).toEqual(spi);
    expect(first!.transforms).toEqual([
      { type: T.ENCR, id: 20, keyBits: 128 },
      { type: T.ESN, id: 1 },
      { type: T.ESN, id: 0 },
    ]);
    expect(offer(laterChildSa, settings, spi)[0]!.transforms.map((t) => t.type)).toContain(T.DH);
  });

  it("says what the operator says about sequence numbers", () => {
    const [first] = offer(firstChildSa, esp("aes128gcm16-noesn"), spi);
    expect(first!.transforms.filter((t) => t.type === T.ESN)).toEqual([{ type: T.ESN, id: 0 }]);
  });
});

describe("choosing from an offer (RFC 7296 §2.7)", () => {
  it("follows our preference among what the peer offers, and answers with one transform of each type", () => {
    const theirs = offer(
      firstIkeSa,
      ike("aes128-sha256-modp2048", "aes128gcm16-aes256gcm16-prfsha256-modp2048-x25519"),
    );
    const chosen = choose(firstIkeSa, ike("aes256gcm16-prfsha256-x25519", "aes128-sha256-modp2048"), theirs);
    expect(chosen.ok && formatSuite(chosen.value.suite)).toBe("aes256gcm16-prfsha256-x25519");
    expect(chosen.ok && chosen.value.proposal.number).toBe(2);
    expect(chosen.ok && chosen.value.proposal.transforms.map((t) => t.type)).toEqual([T.ENCR, T.PRF, T.DH]);
  });

  it("prefers extended sequence numbers, takes 32-bit ones, and takes an offer that says nothing", () => {
    const settings = esp("aes128gcm16");
    const esnOf = (transforms: Proposal["transforms"]) => {
      const [p] = offer(firstChildSa, settings, spi);
      const changed = { ...p!, transforms: [p!.transforms[0]!, ...transforms] };
      const chosen = choose(firstChildSa, settings, [changed]);
      return chosen.ok && [chosen.value.suite.esn, chosen.value.proposal.transforms.length];
    };
    expect(
      esnOf([
        { type: T.ESN, id: 0 },
        { type: T.ESN, id: 1 },
      ]),
    ).toEqual([true, 2]);
    expect(esnOf([{ type: T.ESN, id: 0 }])).toEqual([false, 2]);
    expect(esnOf([])).toEqual([false, 1]);
  });

  it("repeats an explicit NONE for integrity beside AEAD and for the group without PFS", () => {
    const [p] = offer(laterChildSa, esp("aes128gcm16"), spi);
    const none = [
      { type: T.INTEG, id: 0 },
      { type: T.DH, id: 0 },
    ];
    const theirs = { ...p!, transforms: [...p!.transforms, ...none] };
    const chosen = choose(laterChildSa, esp("aes128gcm16"), [theirs]);
    expect(chosen.ok && chosen.value.proposal.transforms).toEqual([
      p!.transforms[0],
      ...none,
      { type: T.ESN, id: 1 },
    ]);
  });

  it("ignores groups in IKE_AUTH, where no key is exchanged", () => {
    const [p] = offer(laterChildSa, esp("aes128gcm16-modp2048"), spi);
    const chosen = choose(firstChildSa, esp("aes128gcm16-x25519"), [p!]);
    expect(chosen.ok && chosen.value.suite.group).toBe(0);
  });

  it("never takes a transform with an attribute that nobody understands", () => {
    const [p] = offer(firstIkeSa, ike("aes128gcm16-prfsha256-x25519"));
    const unknownAttributes = [{ type: 99, shortForm: true, value: Uint8Array.of(0, 1) }];
    const transforms = p!.transforms.map((t) => (t.type === T.PRF ? { ...t, unknownAttributes } : t));
    expect(choose(firstIkeSa, ike("aes128gcm16-prfsha256-x25519"), [{ ...p!, transforms }]).ok).toBe(false);
  });

  it.each([
    [
      "aes128gcm16-prfsha256-x25519",
      "aes256gcm16-prfsha256-x25519",
      "encryption: ours aes128gcm16, theirs aes256gcm16",
    ],
    ["aes128-sha256-x25519", "aes128-sha512-prfsha256-x25519", "integrity: ours sha256, theirs sha512"],
    ["aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha512-x25519", "PRF: ours prfsha256, theirs prfsha512"],
    [
      "aes128gcm16-prfsha256-x25519-ecp256",
      "aes128gcm16-prfsha256-modp2048",
      "DH group: ours x25519 or ecp256, theirs modp2048",
    ],
  ])("%s against %s: %s", (ours, theirs, difference) => {
    const result = choose(firstIkeSa, ike(ours), offer(firstIkeSa, ike(theirs)));
    expect(!result.ok && result.error).toEqual({ ours: [ours], theirs: [theirs], difference });
  });

  it("names the difference of the nearest pair, not of the first", () => {
    const result = choose(
      firstIkeSa,
      ike("aes128-sha1-modp1024", "aes256gcm16-prfsha384-x25519"),
      offer(firstIkeSa, ike("aes192-sha512-modp4096", "aes256gcm16-prfsha384-modp4096")),
    );
    expect(!result.ok && result.error.difference).toBe("DH group: ours x25519, theirs modp4096");
  });

  it("says that PFS is wanted by one side only", () => {
    const pfs = choose(laterChildSa, esp("aes128gcm16-x25519"), offer(laterChildSa, esp("aes128gcm16"), spi));
    expect(!pfs.ok && pfs.error.difference).toBe("DH group: ours x25519, theirs none");
    const none = choose(
      laterChildSa,
      esp("aes128gcm16"),
      offer(laterChildSa, esp("aes128gcm16-x25519"), spi),
    );
    expect(!none.ok && none.error.difference).toBe("DH group: ours none, theirs x25519");
  });
});

describe("checking an answer", () => {
  const settings = ike("aes128gcm16-aes256gcm16-prfsha256-x25519-modp2048");
  const offered = offer(firstIkeSa, settings);
  const good: Proposal = {
    ...offered[0]!,
    transforms: offered[0]!.transforms.filter((t) => t.keyBits !== 256 && t.id !== 14),
  };
  const check = (answer: Proposal[]) => checkAnswer(firstIkeSa, offered, answer);

  it("accepts one transform of each offered type", () => {
    const result = check([good]);
    expect(result.ok && formatSuite(result.value)).toBe("aes128gcm16-prfsha256-x25519");
  });

  it("accepts an explicit NONE for what was left out", () => {
    expect(check([{ ...good, transforms: [...good.transforms, { type: T.INTEG, id: 0 }] }]).ok).toBe(true);
  });

  it.each([
    ["no proposal", []],
    ["two proposals", [good, good]],
    ["a number that was not offered", [{ ...good, number: 2 }]],
    ["another protocol", [{ ...good, protocolId: 3 }]],
    ["an SPI", [{ ...good, spi: new Uint8Array(8) }]],
    ["two transforms of one type", [{ ...good, transforms: offered[0]!.transforms }]],
    ["a type left out", [{ ...good, transforms: good.transforms.slice(1) }]],
    [
      "a key length that was not offered",
      [{ ...good, transforms: good.transforms.map((t) => ({ ...t, keyBits: 192 })) }],
    ],
    [
      "an integrity algorithm beside AEAD",
      [{ ...good, transforms: [...good.transforms, { type: T.INTEG, id: 12 }] }],
    ],
  ] as const)("refuses %s", (_, answer) => {
    expect(check([...answer] as Proposal[]).ok).toBe(false);
  });
});

it("groups of several proposals come once each, preferred first", () => {
  expect(groupsOf(ike("aes128gcm16-prfsha256-ecp256-x25519", "aes128-sha256-x25519-modp2048"))).toEqual([
    19, 31, 14,
  ]);
});
