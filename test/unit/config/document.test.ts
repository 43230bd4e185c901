import { describe, expect, it } from "vitest";
import { formatProblem, parseConfig } from "../../../src/config/index.ts";
import { file, input, load, problems } from "./helpers.ts";

describe("the YAML of a configuration", () => {
  it.each([
    ["gateway:\n  name: [hq\n", /^culvert\.yaml:3: valid YAML \(.+\)$/],
    ["gateway:\n  name: 'hq\n", /valid YAML \(a character is missing/],
    ["gateway:\n\tname: hq\n", /^culvert\.yaml:2: valid YAML \(indentation is spaces, not tabs\)$/],
    ["gateway: {}\n---\ngateway: {}\n", /^culvert\.yaml:2: .*one YAML document in the file$/],
    ["gateway: *nothing\n", /^culvert\.yaml:1: gateway: an anchor that was set before it$/],
    ["gateway: !<tag:x> {}\n", /^culvert\.yaml:1: valid YAML \(tags are not used here\)$/],
    ["gateway:\n  name: @hq\n", /^culvert\.yaml:2: valid YAML \(a text that begins so needs quotes\)$/],
    ["? {a: b}\n: c\n", /^culvert\.yaml:1: keys that are plain text$/],
    ["__proto__: {name: x}\n", /^culvert\.yaml:1: keys that are plain text$/],
    [
      "- a\n- b\n",
      /^culvert\.yaml:1: a list: a mapping with the keys gateway, customerGateways, connections, routes$/,
    ],
    ["hello", /^culvert\.yaml:1: hello: a mapping with the keys /],
  ])("is judged with its line: %j", (text, expected) => {
    const found = problems(text);
    expect(found).toContainEqual(expect.stringMatching(expected));
    for (const line of found) expect(line).not.toContain("\n");
  });

  it("points at the line and the column of the value", () => {
    const result = parseConfig(input("gateway:\n  addresses: [192.0.2.1,\n    10.0.0]\n"));
    expect(result.ok ? [] : result.error).toEqual([
      {
        file: "culvert.yaml",
        line: 3,
        column: 5,
        path: "gateway.addresses[1]",
        value: "10.0.0",
        rule: "an IPv4 or IPv6 address of this host",
      },
    ]);
  });

  it("may repeat parts with anchors", () => {
    const source = `gateway: {addresses: [192.0.2.1]}
customerGateways: {a: {address: 198.51.100.1}, b: {address: 198.51.100.2}}
connections:
  one: {customerGateway: a, dpd: &slow {intervalSeconds: 60}}
  two: {customerGateway: b, dpd: *slow}
`;
    expect(load(source).connections.map((c) => c.dpd.intervalSeconds)).toEqual([60, 60]);
  });

  it("takes the nearest anchor before an alias, as YAML says", () => {
    const source = `gateway: {addresses: [&a 192.0.2.1, &a 192.0.2.2], name: hq}
customerGateways: {x: {address: any}}
connections: {c: {customerGateway: x, ike: {localId: *a}}}
`;
    expect(load(source).connections[0]!.ike.localId).toMatchObject({ kind: "address" });
    expect(`${(load(source).connections[0]!.ike.localId as { address: unknown }).address}`).toBe("192.0.2.2");
  });

  it("ends an alias that contains itself", () => {
    expect(problems("gateway: &g {tun: *g}\n")).toContainEqual(
      expect.stringMatching(/^culvert\.yaml:1: gateway(\.tun)+: an alias that ends$/),
    );
  });

  it("bounds what aliases expand to", () => {
    const levels = Array.from({ length: 9 }, (_, i) => {
      const inner = i === 0 ? "x" : `*l${i - 1}`;
      return `l${i}: &l${i} [${Array.from({ length: 10 }, () => inner).join(", ")}]`;
    });
    expect(problems(levels.join("\n"))).toEqual(["culvert.yaml:1: at most 500000 values"]);
  });

  it("bounds the file and its nesting", () => {
    expect(problems(`a: ${"x".repeat(4 * 1024 * 1024)}`)).toEqual([
      "culvert.yaml:1: 4194307 bytes: at most 4194304 bytes",
    ]);
    expect(problems("[".repeat(100_000))).toEqual([
      "culvert.yaml:1: at most 32 mappings and lists in each other",
    ]);
    expect(problems(Array.from({ length: 40 }, (_, i) => `${" ".repeat(i)}k:`).join("\n"))).toEqual([
      "culvert.yaml:33: at most 32 mappings and lists in each other",
    ]);
  });

  it("shows control characters and bidirectional marks escaped, and long values cut", () => {
    const shown = (value: string) =>
      problems(`gateway: {addresses: [192.0.2.1], name: ${JSON.stringify(value)}}`)[0]!;
    expect(shown("a\u001b[31mb\nc")).toContain('gateway.name: "a\\u001b[31mb\\nc": a name of');
    expect(shown("a\u202eb")).toContain('gateway.name: "a\\u202eb": a name of');
    expect(shown("x".repeat(1000)).length).toBeLessThan(200);
  });

  it("quotes names in paths when they would not read one way", () => {
    expect(
      problems(file({ connection: "customerGateway: branch", rest: "  a.b: {customerGateway: x1}" })),
    ).toEqual([
      'culvert.yaml:13: connections."a.b".customerGateway: x1: a customer gateway of this file (it has branch, depot, roaming)',
    ]);
  });

  it("leaves out what a problem does not have", () => {
    const at = { file: "c.yaml", line: 3, column: 1 };
    expect(formatProblem({ ...at, path: "", value: undefined, rule: "r" })).toBe("c.yaml:3: r");
    expect(formatProblem({ ...at, path: "a.b", value: "1", rule: "r" })).toBe("c.yaml:3: a.b: 1: r");
  });
});
