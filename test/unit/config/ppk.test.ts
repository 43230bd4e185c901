import { describe, expect, it } from "vitest";
import { bytes, file, load, problems } from "./helpers.ts";

const key = "0123456789abcdef0123456789abcdef";
const withPpk = (ppk: string) =>
  file({}).replace("psk: {file: psk/branch}", `psk: {file: psk/branch}\n    ike: {ppk: ${ppk}}`);
const at = "culvert.yaml:12: connections.hq-branch.ike.ppk";

describe("a postquantum preshared key (RFC 8784)", () => {
  it("is read from its own file, and is required unless the file says otherwise", () => {
    const { ppk } = load(withPpk("{id: branch-1, file: psk/x.ppk}")).connections[0]!.ike;
    expect(ppk).toMatchObject({ id: "branch-1", required: true });
    expect(ppk!.secret.length).toBe(64);
    expect(load(withPpk("{id: a, file: x.ppk, required: false}")).connections[0]!.ike.ppk).toMatchObject({
      required: false,
    });
    expect(load(file({})).connections[0]!.ike.ppk).toBeUndefined();
  });

  it("is taken from the configuration, when only its owner may read that", () => {
    const text = withPpk(`{id: a, value: ${key}}`);
    const { ppk } = load(text, { fileMode: 0o600 }).connections[0]!.ike;
    expect(new TextDecoder().decode(ppk!.secret.reveal())).toBe(key);
    expect(problems(text, { fileMode: 0o644 })).toEqual([
      `${at}.value: [secret], 32 characters: {file: …}, or a configuration file that only its owner may read: chmod 600 (its mode is 0644)`,
    ]);
  });

  it.each([
    ["{file: x.ppk}", `${at}.id: missing: a name of 1 to 64 printable characters`],
    ["{id: a}", `${at}: file or value, which is 32 to 256 printable characters`],
    [`{id: a, file: x.ppk, value: ${key}}`, `${at}: file or value, not both`],
    [
      "{id: a, value: too short a key}",
      `${at}.value: [secret], 15 characters: 32 to 256 printable characters`,
    ],
  ])("%s is refused", (ppk, problem) => {
    expect(problems(withPpk(ppk))).toEqual([problem]);
  });

  it("is refused from a file that others may read, and wiped where it was read into", () => {
    const read = bytes(key);
    const readSecret = (path: string) =>
      path === "x.ppk"
        ? ({ ok: true, bytes: read, mode: 0o640 } as const)
        : ({ ok: true, bytes: bytes(key), mode: 0o600 } as const);
    expect(problems(withPpk("{id: a, file: x.ppk}"), { readSecret })).toEqual([
      `${at}.file: x.ppk: a file that only its owner may read: chmod 600 (its mode is 0640)`,
    ]);
    expect(read.every((b) => b === 0)).toBe(true);
  });

  it.each([key, `{${key}}`, `[${key}]`, `{id: a, vaule: ${key}}`, `{id: a, value: [${key}]}`])(
    "is never shown, however it is misspelt: case %#",
    (ppk) => {
      const found = problems(withPpk(ppk), { fileMode: 0o600 });
      expect(found.length).toBeGreaterThan(0);
      expect(found.join("\n")).not.toContain(key);
    },
  );
});
