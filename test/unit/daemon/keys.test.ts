import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfigFile, storedPskPath } from "../../../src/api/config-file.ts";
import { systemRandom } from "../../../src/api/system-random.ts";
import { Secret } from "../../../src/core/secret.ts";
import { KeyPool } from "../../../src/daemon/key-pool.ts";
import { openKeylog } from "../../../src/daemon/keylog.ts";
import { storePsk } from "../../../src/daemon/psk-store.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "culvert-keys-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe("a key that the daemon made", () => {
  it("is kept where only its owner reads it, and our copy is wiped", () => {
    const psk = Secret.fromText("made");
    const path = storePsk(directory, "hq-branch", psk);
    expect(readFileSync(path, "utf8")).toBe("made");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, "psk")).mode & 0o777).toBe(0o700);
    expect(psk.length).toBe(0);
  });

  it("stays in its directory whatever the connection's name is", () => {
    for (const name of [".", "..", "a.b", "-"]) storePsk(directory, name, Secret.fromText(name));
    expect(readdirSync(join(directory, "psk")).sort()).toEqual(
      ["-.psk", "...psk", "..psk", "a.b.psk"].sort(),
    );
  });

  it("replaces an older one and what a crash left half written", () => {
    storePsk(directory, "hq", Secret.fromText("old"));
    writeFileSync(`${storedPskPath(directory, "hq")}.new`, "half");
    expect(readFileSync(storePsk(directory, "hq", Secret.fromText("new")), "utf8")).toBe("new");
    expect(readdirSync(join(directory, "psk"))).toEqual(["hq.psk"]);
  });

  it("says what to do when it cannot be kept, and wipes it all the same", () => {
    writeFileSync(join(directory, "file"), "");
    const psk = Secret.fromText("made");
    expect(() => storePsk(join(directory, "file"), "hq", psk)).toThrow(/cannot be kept/);
    expect(psk.length).toBe(0);
  });

  it("is what the next start uses", () => {
    const file = join(directory, "c.yaml");
    writeFileSync(
      file,
      "gateway: {addresses: [192.0.2.1]}\ncustomerGateways: {b: {address: 198.51.100.7}}\nconnections: {hq: {customerGateway: b}}\n",
    );
    const first = loadConfigFile(file, directory, systemRandom);
    if (!first.ok) throw new Error(first.error.join("\n"));
    expect(first.value.generatedPsks).toHaveLength(1);
    const made = new TextDecoder().decode(first.value.generatedPsks[0]!.psk.reveal());
    storePsk(directory, "hq", first.value.generatedPsks[0]!.psk);
    const second = loadConfigFile(file, directory, systemRandom);
    if (!second.ok) throw new Error(second.error.join("\n"));
    expect(second.value.generatedPsks).toEqual([]);
    expect(new TextDecoder().decode(second.value.connections[0]!.psk.reveal())).toBe(made);
  });
});

describe("configuration files", () => {
  const load = (file: string) => {
    const loaded = loadConfigFile(file, directory, systemRandom);
    return loaded.ok ? [] : loaded.error;
  };

  it("that are no text, no file or not there are one problem each", () => {
    const binary = join(directory, "binary");
    writeFileSync(binary, Uint8Array.of(0xff, 0xfe));
    mkdirSync(join(directory, "folder"));
    expect(load(binary)).toEqual([`${binary}: is not UTF-8 text`]);
    expect(load(join(directory, "folder"))).toEqual([expect.stringContaining("is a directory")]);
    expect(load(join(directory, "none"))).toEqual([expect.stringContaining("no such file")]);
    expect(load("/dev/zero")).toEqual([expect.stringContaining("not a regular file")]);
  });

  it("name their key files relative to themselves", () => {
    const file = join(directory, "c.yaml");
    mkdirSync(join(directory, "psk"));
    writeFileSync(join(directory, "psk/b"), "a key of some length\n", { mode: 0o600 });
    const text =
      "gateway: {addresses: [192.0.2.1]}\ncustomerGateways: {b: {address: 198.51.100.7}}\nconnections: {hq: {customerGateway: b, psk: {file: FILE}}}\n";
    writeFileSync(file, text.replace("FILE", "psk/b"));
    expect(load(file)).toEqual([]);
    writeFileSync(file, text.replace("FILE", "/dev/zero"));
    expect(load(file)).toEqual([expect.stringContaining("not a regular file")]);
  });
});

describe("the pool of Diffie-Hellman pairs", () => {
  function open(groups: readonly number[], size = 2) {
    const idle: (() => void)[] = [];
    const made: { group: number; wiped: boolean }[] = [];
    const pool = new KeyPool({
      groups,
      size,
      whenIdle: (work) => idle.push(work),
      generate: (group) => {
        const pair = {
          group,
          wiped: false,
          wipe() {
            pair.wiped = true;
          },
        };
        made.push(pair);
        return pair;
      },
    });
    const run = () => {
      for (let work = idle.shift(); work; work = idle.shift()) work();
    };
    return { pool, made, idle, run };
  }

  it("is filled evenly, one pair per idle turn", () => {
    const { made, idle, run } = open([19, 31]);
    expect(made).toEqual([]);
    idle.shift()!();
    expect(made.map(({ group }) => group)).toEqual([19]);
    run();
    expect(made.map(({ group }) => group)).toEqual([19, 31, 19, 31]);
  });

  it("gives each pair out once and makes another in its place", () => {
    const { pool, made, run } = open([19], 1);
    run();
    const first = pool.take(19);
    expect(made).toHaveLength(1);
    run();
    const second = pool.take(19);
    expect(second).not.toBe(first);
    expect(made).toHaveLength(2);
  });

  it("makes one on the spot when it is empty or does not keep the group", () => {
    const { pool, made } = open([19]);
    expect(pool.take(19).group).toBe(19);
    expect(pool.take(14).group).toBe(14);
    expect(made).toHaveLength(2);
  });

  it("wipes what was never used", () => {
    const { pool, made, idle, run } = open([19]);
    run();
    const used = pool.take(19);
    pool.close();
    for (const work of idle) work();
    expect(made.filter((pair) => !pair.wiped)).toEqual([used]);
  });
});

describe("the key log", () => {
  it("is appended to, and closed to others even when it was open", () => {
    const path = join(directory, "keys.log");
    writeFileSync(path, "before\n", { mode: 0o644 });
    const keylog = openKeylog(path);
    keylog.write("esp_sa", '"IPv4","*"');
    keylog.close();
    expect(readFileSync(path, "utf8")).toBe('before\nuat:esp_sa:"IPv4","*"\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("names the remedy when it cannot be opened", () => {
    expect(() => openKeylog(directory)).toThrow(/key log .*EISDIR/);
  });
});
