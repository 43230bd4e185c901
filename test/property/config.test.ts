import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import {
  configSchema,
  explainConfig,
  formatProblem,
  type ParseInput,
  parseConfig,
} from "../../src/config/index.ts";
import { overlappingPairs } from "../../src/config/overlap.ts";
import { readPartly } from "../../src/config/read.ts";
import { IpAddress, Prefix } from "../../src/core/address.ts";

const input = (text: string): ParseInput => ({
  text,
  file: "culvert.yaml",
  fileMode: 0o600,
  readSecret: () => ({ ok: true, bytes: new TextEncoder().encode("a key of twenty letters") }),
  random: { bytes: (length) => new Uint8Array(length).fill(7) },
});

const seed = `gateway:
  name: hq
  addresses: [192.0.2.1, "2001:db8::1"]   # outer
  tun: {name: culvert0, mtu: auto}
customerGateways:
  branch: {address: 198.51.100.7, asn: 123.456}
connections:
  hq-branch: &a
    customerGateway: branch
    routing: protected-data-flows
    localSubnets: [10.1.0.0/16]
    remoteSubnets:
      - 10.2.0.0/16
    psk: {value: 'a secret: of mine'}
    ike: {version: ikev2, proposals: [aes256gcm16-prfsha384-x25519], localId: {keyId: 0x0a}}
    ipsec: {lifetimeKilobytes: 2560, perSubnetPair: auto}
  two: {customerGateway: branch, dpd: {enabled: true}}
routes:
  destination:
    - {destination: 10.9.0.0/16, connection: two, weight: 100, publish: true}
`;

/** Edits as a typist and an attacker make them: cut, repeat, overwrite and insert pieces that mean something in YAML. */
const edit = fc.record({
  at: fc.nat(seed.length),
  cut: fc.integer({ min: 0, max: 12 }),
  insert: fc.oneof(
    fc.constantFrom(
      ..."[]{}:,&*!|>'\"%@`#-?\n\t \u0000\u2028",
      "<<",
      ": ",
      "- ",
      "*a",
      "&a ",
      "!!map ",
      "null",
      "~",
      "---\n",
      "...\n",
      "%YAML 9\n",
      "__proto__: ",
      "constructor: ",
    ),
    fc.string({ maxLength: 8 }),
    fc.string({ unit: "binary", maxLength: 8 }),
  ),
});
const mutated = fc
  .array(edit, { minLength: 1, maxLength: 6 })
  .map((edits) =>
    edits.reduce((text, { at, cut, insert }) => text.slice(0, at) + insert + text.slice(at + cut), seed),
  );

describe("parseConfig", () => {
  it("never throws, and says each problem in one printable line that names the file and a line of it", () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 5, arbitrary: mutated }, { weight: 1, arbitrary: fc.string({ unit: "binary" }) }),
        (text) => {
          const result = parseConfig(input(text));
          if (result.ok) return;
          expect(result.error.length).toBeGreaterThan(0);
          for (const problem of result.error) {
            const line = formatProblem(problem);
            expect(line).toMatch(/^culvert\.yaml:[1-9]\d*: [^\p{Cc}\u2028\u2029]+$/u);
            expect(problem.line).toBeLessThanOrEqual(text.split(/\r\n|\n|\r/).length);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("never shows a pre-shared key, whatever stands in its place", () => {
    const key = "Zq7xKw";
    const around = fc.array(fc.constantFrom(..."{}[]:,&*!|>'\"%@ \n-?#", "value: ", "file", "value"), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(around, around, (before, after) => {
        const text = seed.replace("{value: 'a secret: of mine'}", before.join("") + key + after.join(""));
        // Where the edit ends the mapping under psk, or names a file, the text is no longer in its place.
        fc.pre(!before.join("").includes("file") && !/[\n}]/.test(before.join("")) && !before.includes("#"));
        const result = parseConfig(input(text));
        const shown = result.ok ? JSON.stringify(result.value) : result.error.map(formatProblem).join("\n");
        expect(shown).not.toContain(key);
      }),
      { numRuns: 500 },
    );
  });
});

/** Values in the shape of the schema: all allowed by themselves, or, when `wicked`, some of them not. */
function files(wicked: boolean): fc.Arbitrary<unknown> {
  const nonsense = [null, true, -1, 0, 1.5, "", "x y", [], {}, [null], { a: 1 }, ["x"]];
  const loose = (good: fc.Arbitrary<unknown>) =>
    wicked
      ? fc.oneof(
          { weight: 12, arbitrary: good },
          { weight: 1, arbitrary: fc.constantFrom<unknown>(...nonsense) },
        )
      : good;
  const oneOf = (good: readonly unknown[], bad: readonly unknown[] = []) =>
    fc.constantFrom(...good, ...(wicked ? bad : []));
  const section = (shape: Record<string, fc.Arbitrary<unknown>>, required: readonly string[] = []) => {
    const values = Object.fromEntries(Object.entries(shape).map(([key, value]) => [key, loose(value)]));
    return loose(fc.record(values, { requiredKeys: wicked ? [] : [...required] }));
  };
  const some = (value: fc.Arbitrary<unknown>, low: number, high: number) =>
    fc.uniqueArray(value, { minLength: wicked ? 0 : low, maxLength: wicked ? high + 1 : high });
  const name = oneOf(["a", "constructor", "10"], ["b", "a b"]);
  const named = (value: fc.Arbitrary<unknown>) =>
    wicked
      ? fc.dictionary(name as fc.Arbitrary<string>, value)
      : fc.record({ a: value, constructor: value, "10": value });
  const local = some(oneOf(["10.1.0.0/16", "10.9.9.9"], ["10.0.0.1/8"]), 1, 2);
  const remote = some(oneOf(["10.2.0.0/16", "10.3.0.0/24"], ["10.1.0.0/16"]), 1, 2);
  return fc.record({
    gateway: section(
      {
        name,
        addresses: some(oneOf(["192.0.2.1", "2001:db8::1"], ["0.0.0.0"]), 1, 2).map((list) => [
          "192.0.2.9",
          ...list,
        ]),
        tun: section({ name, mtu: oneOf(["auto", 1400], [100]) }),
        workers: oneOf(["auto", 1], [99]),
        busyPollMicroseconds: oneOf([0, 50], [-1]),
        replayWindow: oneOf([64, 4096], [1]),
      },
      ["addresses"],
    ),
    customerGateways: named(
      section(
        {
          address: oneOf(["198.51.100.7", "any", "vpn.example"], ["100.64.0.1", "127.0.0.1"]),
          asn: oneOf([1, "1.10", 2.5], ["65536.0"]),
          allowSharedAddressSpace: fc.boolean(),
        },
        ["address"],
      ),
    ),
    connections: named(
      section(
        {
          customerGateway: name,
          ...(wicked ? { tunnels: some(name, 1, 2) } : {}),
          routing: oneOf(["destination"], ["protected-data-flows"]),
          localSubnets: local,
          remoteSubnets: remote,
          start: oneOf(["passive"], ["immediately"]),
          psk: section({ file: fc.constant("a") }, ["file"]),
          ike: section({
            proposals: some(oneOf(["aes128-sha256-modp2048", "aes128-sha1-modp1024"], ["aes128"]), 1, 2),
            lifetimeSeconds: oneOf([0, 60], [59]),
            localId: oneOf(["a", "a@b", { keyId: "x" }, { keyId: 7 }], ["a b"]),
          }),
          ipsec: section({
            lifetimeKilobytes: oneOf([0, 2560], [100]),
            perSubnetPair: oneOf(["auto", false, true], ["each"]),
          }),
          natTraversal: section({ enabled: fc.constant(true), forceEncapsulation: fc.boolean() }),
        },
        ["customerGateway"],
      ),
    ),
    routes: section({
      destination: some(
        section(
          {
            destination: oneOf(["10.1.0.0/16", "10.2.0.0/16", "fd00::/8"], ["10.1"]),
            connection: name,
            weight: oneOf([0], [50]),
          },
          ["destination", "connection", "weight"],
        ),
        0,
        1,
      ),
      policy: fc.constant([]),
    }),
  });
}
const fileValue = fc.oneof(files(false), files(true));

describe("readPartly", () => {
  it("finds a problem exactly when the schema itself does, and reads the same where there is none", () => {
    let good = 0;
    fc.assert(
      fc.property(fileValue, (value) => {
        let found = 0;
        const partly = readPartly(configSchema, value, { report: () => void found++, has: () => false });
        const strict = configSchema.safeParse(value);
        expect(found === 0).toBe(strict.success);
        if (strict.success) {
          good++;
          expect(partly).toEqual(strict.data);
        }
      }),
      { numRuns: 500 },
    );
    expect(good).toBeGreaterThan(50);
  });
});

describe("explainConfig", () => {
  it("is a fixed point: what it writes is read as what it was made of", () => {
    let good = 0;
    fc.assert(
      fc.property(fileValue, (value) => {
        const first = parseConfig(input(stringify(value)));
        if (!first.ok) return;
        good++;
        const explained = explainConfig(first.value);
        const second = parseConfig(input(stringify(explained)));
        expect(second.ok ? explainConfig(second.value) : second.error.map(formatProblem)).toEqual(explained);
      }),
      { numRuns: 500 },
    );
    expect(good).toBeGreaterThan(50);
  });
});

describe("overlappingPairs", () => {
  const prefix = fc
    .record({ bits: fc.nat(255), length: fc.integer({ min: 0, max: 8 }), v6: fc.boolean() })
    .map(({ bits, length, v6 }) => {
      const bytes = new Uint8Array(v6 ? 16 : 4);
      bytes[0] = bits;
      return new Prefix(IpAddress.fromBytes(bytes), length);
    });

  it("finds a pair that overlaps an earlier one exactly when comparing all with all does", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ local: prefix, remote: prefix }), { maxLength: 12 }), (pairs) => {
        const overlaps = (a: (typeof pairs)[number], b: (typeof pairs)[number]) =>
          a.local.overlaps(b.local) && a.remote.overlaps(b.remote);
        const found = overlappingPairs(pairs);
        for (const [a, b] of found) expect(a !== b && overlaps(a, b)).toBe(true);
        const widestFirst = [...pairs].sort((a, b) => a.remote.length - b.remote.length);
        const expected = widestFirst.filter((b, i) => widestFirst.slice(0, i).some((a) => overlaps(a, b)));
        expect([...new Set(found.map(([, b]) => b))]).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });
});
