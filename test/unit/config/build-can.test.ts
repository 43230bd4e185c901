import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { espDefaults, ikeDefaults } from "../../../src/config/defaults.ts";
import { EncryptionAlgorithm, encr, integ, parseProposal } from "../../../src/registry/index.ts";

const table = readFileSync(new URL("../../../native/tables/esp_algorithms.def", import.meta.url), "utf8");

describe("what the configuration accepts for ESP", () => {
  it("is what the data plane's table has", () => {
    const native = [...table.matchAll(/^ESP_CIPHER\(\w+, (\d+), (\d+),.*?, (yes|no), "/gm)].map((m) => ({
      id: Number(m[1]),
      bits: Number(m[2]),
      wantsIntegrity: m[3] === "yes",
    }));
    const integrity = [...table.matchAll(/^ESP_INTEGRITY\(\w+, (\d+),/gm)]
      .map((m) => Number(m[1]))
      .filter((id) => id !== 0);
    expect(native.length).toBeGreaterThan(2);
    // A cipher that needs integrity is of no use before there is one.
    const usable = native.filter((row) => !row.wantsIntegrity || integrity.length > 0);
    const accepted = Object.values(encr)
      .filter((row) => row.implemented.esp)
      .flatMap((row) => row.keyBits.map((bits) => ({ id: row.id as number, bits: bits as number })));
    const names = (rows: readonly { readonly id: number; readonly bits: number }[]) =>
      rows.map(({ id, bits }) => `${EncryptionAlgorithm.nameOf(id)} ${bits}`).sort();
    expect(names(accepted)).toEqual(names(usable));
    const acceptedIntegrity = Object.values(integ).filter((row) => row.implemented.esp);
    expect(acceptedIntegrity.map((row) => row.id).sort()).toEqual(integrity.sort());
  });
});

describe("what KEYMAT is cut into and packets are sized by", () => {
  it("is the data plane's: key, salt, IV, ICV, block", () => {
    const native = [
      ...table.matchAll(/^ESP_CIPHER\(\w+, (\d+), (\d+), (\d+), (\d+), (\d+), (\d+), (\w+),/gm),
    ].map((m) => [...m.slice(1, 7).map(Number), m[7]]);
    const ours = Object.values(encr).flatMap((row) =>
      row.keyBits.map((bits) => [
        row.id,
        bits,
        row.saltBytes,
        row.ivBytes,
        row.icvBytes,
        row.block,
        row.mode,
      ]),
    );
    expect(native.map(String).sort()).toEqual(ours.map(String).sort());
    const nativeIntegrity = [...table.matchAll(/^ESP_INTEGRITY\(\w+, (\d+), (\d+), (\d+), (\w+),/gm)]
      .map((m) => [...m.slice(1, 4).map(Number), m[4]])
      .filter(([id]) => id !== 0);
    const ourIntegrity = Object.values(integ).map((row) => [
      row.id,
      row.keyBytes * 8,
      row.icvBytes,
      row.hash,
    ]);
    expect(nativeIntegrity.map(String).sort()).toEqual(ourIntegrity.map(String).sort());
  });
});

describe("default proposals", () => {
  it.each([
    ["ike", ikeDefaults],
    ["esp", espDefaults],
  ] as const)("for %s are strong, run in this build, and are in order of strength", (use, list) => {
    const parsed = list.map((text) => parseProposal(text, use));
    for (const proposal of parsed) expect([proposal.implemented, proposal.weak]).toEqual([true, []]);
    const aead = parsed.filter((p) => p.integrity.length === 0).map((p) => p.encryption[0]!.keyBits!);
    expect(aead).toEqual([...aead].sort((a, b) => b - a));
    expect(parsed.slice(0, aead.length).every((p) => p.integrity.length === 0)).toBe(true);
  });
});
