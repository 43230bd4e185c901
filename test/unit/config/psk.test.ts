import { describe, expect, it } from "vitest";
import type { ParseInput } from "../../../src/config/index.ts";
import { bytes, file, load, problems } from "./helpers.ts";

const secret = "hunter2-hunter2-hunter2";
const withFile = (read: ReturnType<ParseInput["readSecret"]>) => ({ readSecret: () => read });
const pskText = (config: ReturnType<typeof load>) =>
  new TextDecoder().decode(config.connections[0]!.psk.reveal());
const inFile = (psk: string) => file({}).replace("psk: {file: psk/branch}", `psk: ${psk}`);

describe("a pre-shared key in a file", () => {
  it("is read from the path that the configuration names", () => {
    const asked: string[] = [];
    const config = load(file({}), {
      readSecret: (path) => {
        asked.push(path);
        return { ok: true, bytes: bytes(secret), mode: 0o400 };
      },
    });
    expect(asked).toEqual(["psk/branch"]);
    expect(pskText(config)).toBe(secret);
    expect(config.generatedPsks).toEqual([]);
  });

  it.each(["\n", "\r\n"])("may end its line with %j", (end) => {
    expect(pskText(load(file({}), withFile({ ok: true, bytes: bytes(secret + end) })))).toBe(secret);
  });

  it.each([
    [bytes(""), "[secret], 0 characters: 1 to 100 printable characters"],
    [bytes("\n"), "[secret], 0 characters: 1 to 100 printable characters"],
    [bytes("x".repeat(101)), "[secret], 101 characters: 1 to 100 printable characters"],
    [
      bytes(`${secret}\n${secret}\n`),
      "[secret], 47 bytes, some of them not printable: 1 to 100 printable characters (ASCII, on one line)",
    ],
    [
      bytes("p\u00e4ss"),
      "[secret], 5 bytes, some of them not printable: 1 to 100 printable characters (ASCII, on one line)",
    ],
  ])("is 1 to 100 printable characters: case %#", (content, message) => {
    expect(problems(file({}), withFile({ ok: true, bytes: content }))).toEqual([
      `culvert.yaml:11: connections.hq-branch.psk.file: ${message}`,
    ]);
  });

  it("takes 100 characters, and every printable one", () => {
    expect(problems(file({}), withFile({ ok: true, bytes: bytes("x".repeat(100)) }))).toEqual([]);
    const printable = String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 0x20 + i));
    expect(pskText(load(file({}), withFile({ ok: true, bytes: bytes(printable) })))).toBe(printable);
  });

  it.each([0o640, 0o604, 0o644, 0o660, 0o777])("may be readable by its owner only, not %o", (mode) => {
    expect(problems(file({}), withFile({ ok: true, bytes: bytes(secret), mode }))).toEqual([
      `culvert.yaml:11: connections.hq-branch.psk.file: psk/branch: a file that only its owner may read: chmod 600 (its mode is 0${mode.toString(8)})`,
    ]);
  });

  it("must be readable", () => {
    expect(problems(file({}), withFile({ ok: false, problem: "no such file" }))).toEqual([
      "culvert.yaml:11: connections.hq-branch.psk.file: psk/branch: a readable file (no such file)",
    ]);
  });

  it("is wiped where it was read into", () => {
    const read = bytes(secret);
    load(file({}), withFile({ ok: true, bytes: read }));
    expect([...read].every((b) => b === 0)).toBe(true);
    const refused = bytes(secret);
    problems(file({}), withFile({ ok: true, bytes: refused, mode: 0o644 }));
    expect([...refused].every((b) => b === 0)).toBe(true);
  });
});

describe("a pre-shared key in the configuration", () => {
  it("is taken from a file of mode 0600", () => {
    expect(pskText(load(inFile(`{value: ${secret}}`), { fileMode: 0o600 }))).toBe(secret);
    expect(pskText(load(inFile("{value: 0123456789012345678901}")))).toBe("0123456789012345678901");
    expect(pskText(load(inFile("{value: true}")))).toBe("true");
  });

  it.each([
    [0o644, "chmod 600 (its mode is 0644)"],
    [0o640, "chmod 600 (its mode is 0640)"],
    [undefined, "its mode is unknown"],
  ])("is refused from a file of mode %s", (fileMode, why) => {
    expect(problems(inFile(`{value: ${secret}}`), { fileMode })).toEqual([
      `culvert.yaml:11: connections.hq-branch.psk.value: [secret], 23 characters: {file: …}, or a configuration file that only its owner may read: ${why}`,
    ]);
  });

  it("is 1 to 100 printable characters", () => {
    expect(problems(inFile(`{value: ${"x".repeat(101)}}`))).toEqual([
      "culvert.yaml:11: connections.hq-branch.psk.value: [secret], 101 characters: 1 to 100 printable characters",
    ]);
  });

  it("does not stand beside a file", () => {
    expect(problems(inFile(`{file: a, value: ${secret}}`))).toEqual([
      "culvert.yaml:11: connections.hq-branch.psk: file or value, not both",
    ]);
    expect(problems(inFile("{}"))).toEqual([
      "culvert.yaml:11: connections.hq-branch.psk: {file: …} or {value: …}, which is 1 to 100 printable characters",
    ]);
  });

  it.each([
    secret,
    `{${secret}}`,
    `[${secret}]`,
    `{value: [${secret}]}`,
    `{value: {${secret}: 1}}`,
    `{vaule: ${secret}}`,
    `{value: !${secret} x}`,
    `{value: *${secret}}`,
    `{value: &${secret}}`,
    `{value: "\\q${secret}"}`,
    `{value: ${secret}, value: ${secret}}`,
    `{${secret}: 1, ${secret}: 2}`,
    `{value: @${secret}}`,
    `{value: '${secret}}`,
    `{value: ${secret}\u0007}`,
    `{value: ${secret}${secret}${secret}${secret}${secret}}`,
    `{? {${secret}: 1} : 2}`,
  ])("is never shown, however it is misspelt: case %#", (psk) => {
    const found = problems(inFile(psk), { fileMode: 0o644 });
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).not.toContain("hunter2");
  });
});

describe("a connection without a pre-shared key", () => {
  const none = file({}).replace("    psk: {file: psk/branch}\n", "");

  it("gets one of at least 32 random characters, to be shown once", () => {
    const config = load(none);
    expect(config.generatedPsks.map((g) => g.connection)).toEqual(["hq-branch"]);
    expect(new TextDecoder().decode(config.generatedPsks[0]!.psk.reveal())).toBe(pskText(config));
    expect(pskText(config)).toMatch(/^[A-Za-z0-9]{32,100}$/);
    expect(new Set(pskText(config)).size).toBeGreaterThan(10);
  });

  it("keeps the one that the caller stored", () => {
    const config = load(none, { storedPsk: (name) => ({ ok: true, bytes: bytes(`stored for ${name}`) }) });
    expect(pskText(config)).toBe("stored for hq-branch");
    expect(config.generatedPsks).toEqual([]);
  });

  it("is not given another one silently when the stored one is damaged", () => {
    expect(
      problems(none, {
        storedPsk: () => ({ ok: true, bytes: bytes(`${"x".repeat(70)}\n${"y".repeat(70)}`) }),
      }),
    ).toEqual([
      "culvert.yaml:10: connections.hq-branch.psk: a psk here: the key kept for this connection is not 1 to 100 printable characters",
    ]);
  });

  it("reports a kept key that cannot be read, and makes no new one", () => {
    expect(problems(none, { storedPsk: () => ({ ok: false, problem: "permission denied" }) })).toEqual([
      expect.stringContaining("the key kept for this connection cannot be read (permission denied)"),
    ]);
  });
});
