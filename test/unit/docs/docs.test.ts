import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { defaultProposals } from "../../../src/config/ikev1.ts";
import { configSchema } from "../../../src/config/index.ts";
import { unsupportedInConnection, unsupportedInFile } from "../../../src/config/unsupported.ts";
import { type FailureCode, failureReasons } from "../../../src/core/failure-reasons.ts";
import { eventTypes } from "../../../src/gateway/gateway-events.ts";
import { dh, encr, integ, kem, prf } from "../../../src/registry/index.ts";
import { metricRows } from "../../../src/telemetry/metrics.ts";
import { countingRandom, input, load, problems } from "../config/helpers.ts";
import { schemaKeys } from "./schema-keys.ts";

const read = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../../${path}`, import.meta.url)), "utf8");

/** Cells of all rows whose table has `columns` as its head. */
function rows(markdown: string, columns: readonly string[]): string[][] {
  const lines = markdown.split("\n");
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const found: string[][] = [];
  for (const [i, line] of lines.entries()) {
    if (cells(line).join() !== columns.join()) continue;
    for (let j = i + 2; lines[j]?.startsWith("|"); j++) found.push(cells(lines[j]!));
  }
  return found;
}

const code = (text: string) => `\`${text}\``;

describe("docs/configuration.md", () => {
  const document = read("docs/configuration.md");
  const documented = rows(document, ["key", "type", "default", "allowed", "meaning"]);

  it("has every key of the schema and no other, each once", () => {
    const keys = schemaKeys().map((key) => code(key.path));
    expect(keys.length).toBeGreaterThan(50);
    expect(documented.map(([key]) => key).sort()).toEqual([...keys].sort());
  });

  it.each(schemaKeys())("says of $path what the schema says", ({ path, type, fallback, allowed }) => {
    const [, documentedType, documentedDefault, documentedRule, meaning] = documented.find(
      ([key]) => key === code(path),
    )!;
    expect([documentedType, documentedRule]).toEqual([type, allowed]);
    // Without a fixed default the document says in words, in parentheses, what happens.
    if (fallback === undefined) expect(documentedDefault).toMatch(/^\(.+\)$/);
    else expect(documentedDefault).toBe(fallback === "required" ? fallback : code(fallback));
    expect(meaning!.length).toBeGreaterThan(5);
  });

  it("has every algorithm keyword, where it can be used, and why it is weak", () => {
    const cell = (allowed: boolean, implemented: boolean) =>
      allowed ? (implemented ? "yes" : "not yet") : "no";
    const words = (list: readonly string[] | Readonly<Record<string, unknown>>) =>
      (Array.isArray(list) ? (list as readonly string[]) : Object.keys(list)).map(code).join(" ");
    const kinds = [
      ["encryption", Object.values(encr)],
      ["integrity", Object.values(integ)],
      ["PRF", Object.values(prf)],
      ["DH group", Object.values(dh)],
      ["additional key exchange", Object.values(kem)],
    ] as const;
    const expected = kinds.flatMap(([kind, list]) =>
      list.map((row) => [
        [words(row.keywords), words(row.synonyms)].filter((text) => text !== "").join(", also "),
        kind,
        cell(row.ike, row.implemented.ike),
        cell(row.esp, row.implemented.esp),
        row.weak ?? "",
      ]),
    );
    expect(rows(document, ["keywords", "kind", "IKE", "IPsec", "weak because"])).toEqual(expected);
  });

  it("has the default proposals of each version", () => {
    const list = (version: "ikev1" | "ikev2", use: "ike" | "esp") =>
      defaultProposals(version, use)
        .map(({ text }) => code(text))
        .join(" ");
    const expected = (["ikev2", "ikev1"] as const).map((v) => [code(v), list(v, "ike"), list(v, "esp")]);
    expect(rows(document, ["`ike.version`", "`ike.proposals`", "`ipsec.proposals`"])).toEqual(expected);
  });

  it("lists what this build refuses", () => {
    const keys = [...unsupportedInConnection, ...unsupportedInFile].map((row) => code(row.key));
    expect(rows(document, ["key", "refused", "why"]).map(([key]) => key)).toEqual(keys);
  });

  it("shows examples that fit together and are accepted, apart from what this build refuses", () => {
    const examples = [...document.matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1]!);
    expect(examples.length).toBeGreaterThan(8);
    const [gateway, customerGateways, connections, ...rest] = examples as [
      string,
      string,
      string,
      ...string[],
    ];
    const routes = rest.pop()!;
    const whole = (more: string) =>
      `${gateway}${customerGateways}${connections}  hq-backup:\n    customerGateway: branch\n${more}${routes}`;
    for (const more of ["", ...rest]) {
      const found = problems(whole(more)).filter((line) => !line.includes("(this build has no"));
      expect(found).toEqual([]);
    }
  });
});

describe("docs/culvert.example.yaml", () => {
  const text = read("docs/culvert.example.yaml");

  it("is a good configuration that deserves no warning, and makes one key", () => {
    const config = load(text);
    expect(config.warnings).toEqual([]);
    expect(config.connections.map((c) => c.name)).toEqual([
      "hq-branch",
      "hq-branch-lte",
      "hq-depot",
      "hq-vans",
    ]);
    expect(config.generatedPsks.map((g) => g.connection)).toEqual(["hq-vans"]);
  });

  it("shows every section", () => {
    for (const section of Object.keys(configSchema.shape))
      expect(text).toMatch(new RegExp(`^${section}:`, "m"));
  });
});

describe("README.md", () => {
  it("shows a configuration that is accepted", () => {
    const example = /```yaml\n([\s\S]*?)```/.exec(read("README.md"))![1]!;
    expect(problems(example, input(example, { random: countingRandom() }))).toEqual([]);
  });
});

describe("docs/failures.md", () => {
  const sections = read("docs/failures.md").split(/^## /m).slice(1);
  const codes = Object.keys(failureReasons) as FailureCode[];

  it("has every failure code and no other, in the table's order", () => {
    expect(sections.map((section) => section.split("\n")[0])).toEqual(codes);
  });

  it.each(codes)("says of %s what the table says, and what to do", (name) => {
    const [, , text, , ...advice] = sections.find((section) => section.startsWith(`${name}\n`))!.split("\n");
    expect(text).toBe(`> ${failureReasons[name]}`);
    expect(advice.join(" ").length).toBeGreaterThan(80);
  });
});

describe("docs/operations.md", () => {
  it("has every metric and no other, in the table's order", () => {
    const documented = rows(read("docs/operations.md"), ["metric", "type", "labels", "meaning"]);
    expect(documented).toEqual(
      metricRows.map(({ name, type, labels, help }) => [code(name), type, labels.map(code).join(", "), help]),
    );
  });

  it("has every type of event and no other", () => {
    const documented = rows(read("docs/operations.md"), ["type", "meaning", "more keys"]);
    expect(documented.map(([type, meaning]) => [type, meaning])).toEqual(
      Object.entries(eventTypes).map(([type, meaning]) => [code(type), meaning]),
    );
  });
});

describe("docs/drops.md", () => {
  const table = [...read("native/tables/drops.def").matchAll(/^DROP\((\w+), (\w+), "(.*)"\)$/gm)].map((m) =>
    m.slice(1),
  );
  const documented = rows(read("docs/drops.md"), ["reason", "severity", "what happened", "when it grows"]);

  it("has every drop reason and no other, in the table's order and words", () => {
    expect(table.length).toBe(read("native/tables/drops.def").match(/^DROP\(/gm)!.length);
    expect(documented.map((row) => row.slice(0, 3))).toEqual(
      table.map(([name, ...rest]) => [code(name!), ...rest]),
    );
  });

  it("says for each what to do when it grows", () => {
    for (const [reason, , , advice] of documented) expect(advice!.length, reason).toBeGreaterThan(10);
  });
});

describe("links between the documents", () => {
  it.each(["configuration.md", "failures.md", "drops.md"])("lead somewhere: docs/%s", (name) => {
    for (const [, target] of read(`docs/${name}`).matchAll(/\]\(([^)#:]+)\)/g))
      expect(existsSync(new URL(`../../../docs/${target}`, import.meta.url)), target).toBe(true);
  });
});
