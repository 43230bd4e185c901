import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemRandom } from "../../../src/api/system-random.ts";
import { openCrashSecret } from "../../../src/daemon/crash-secret.ts";

describe("the secret of Quick Crash Detection", () => {
  let state: string;
  let file: string;
  beforeEach(() => {
    state = join(mkdtempSync(join(tmpdir(), "culvert-qcd-")), "state");
    file = join(state, "qcd-secret");
  });
  afterEach(() => rmSync(join(state, ".."), { recursive: true, force: true }));

  const open = () => Buffer.from(openCrashSecret(state, systemRandom).reveal());

  it("is made once, kept for its owner only, and the same at every start", () => {
    const first = open();
    expect(first).toHaveLength(32);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(open().equals(first)).toBe(true);
    expect(readFileSync(file).equals(first)).toBe(true);
  });

  it("is made anew when others could read it", () => {
    const first = open();
    chmodSync(file, 0o640);
    const second = open();
    expect(second.equals(first)).toBe(false);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it.each([0, 31, 33])("is made anew when the file has %d octets", (octets) => {
    mkdirSync(state);
    writeFileSync(file, new Uint8Array(octets), { mode: 0o600 });
    expect(open()).toHaveLength(32);
  });

  it("is not read through a symbolic link, which is replaced", () => {
    mkdirSync(state);
    const other = join(state, "other");
    writeFileSync(other, new Uint8Array(32).fill(9), { mode: 0o600 });
    symlinkSync(other, file);
    expect(open().equals(Buffer.alloc(32, 9))).toBe(false);
    expect(readFileSync(other).equals(Buffer.alloc(32, 9))).toBe(true);
  });

  it("says why when the directory cannot be made", () => {
    writeFileSync(state, "a file");
    expect(() => openCrashSecret(state, systemRandom)).toThrow(/ENOTDIR|EEXIST/);
  });
});
