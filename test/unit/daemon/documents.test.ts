import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { defaultStateDirectory } from "../../../src/api/config-file.ts";
import { defaultConfigFile, defaultControlSocket } from "../../../src/api/control-protocol.ts";
import { exitCode as cliExitCode } from "../../../src/cli/exit-codes.ts";
import { exitCode as daemonExitCode } from "../../../src/daemon/exit-codes.ts";
import { hostRouting } from "../../../src/daemon/host-routing.ts";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const operations = read("docs/operations.md");

describe("docs/operations.md", () => {
  it("lists every exit code of both programs, and no other", () => {
    const section = operations.slice(operations.indexOf("## Exit codes"));
    const documented = [...section.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]));
    const codes = new Set([...Object.values(cliExitCode), ...Object.values(daemonExitCode)]);
    expect(documented).toEqual([...codes].sort((a, b) => a - b));
  });

  it("names the table, the rule's priority and the protocol number", () => {
    expect(operations).toContain(`| ${hostRouting.table}: published routes`);
    expect(operations).toContain(`priority ${hostRouting.rulePriority}:`);
    expect(operations).toContain(`| rtm_protocol of its routes and rules | ${hostRouting.protocol} |`);
  });

  it("names the default paths", () => {
    for (const path of [defaultConfigFile, defaultControlSocket, defaultStateDirectory])
      expect(operations).toContain(path);
  });
});

describe("systemd/culvert.service", () => {
  const unit = read("systemd/culvert.service");
  const value = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(unit)?.[1];

  it("starts node with the options of the daemon's first line, and so do `npm start` and the testbed", () => {
    const options = /^#!\/usr\/bin\/env -S node (.+)\n/.exec(read("src/daemon/main.ts"))?.[1];
    expect(value("ExecStart")).toBe(`/usr/bin/node ${options} /opt/culvert/dist/src/daemon/main.js`);
    for (const file of ["scripts/verbs.mjs", "testbed/culvert.ts"])
      expect(read(file)).toContain(`"${options}"`);
  });

  it("gives two capabilities and no way to more", () => {
    expect(value("AmbientCapabilities")).toBe("CAP_NET_ADMIN CAP_NET_RAW");
    expect(value("CapabilityBoundingSet")).toBe("CAP_NET_ADMIN CAP_NET_RAW");
    expect(value("NoNewPrivileges")).toBe("yes");
  });

  it("does not start again after what a new attempt cannot mend", () => {
    expect(value("RestartPreventExitStatus")?.split(" ").map(Number)).toEqual([
      daemonExitCode.usage,
      daemonExitCode.config,
    ]);
  });

  it("provides the directories of the default paths", () => {
    expect(defaultControlSocket.startsWith(`/run/${value("RuntimeDirectory")}/`)).toBe(true);
    expect(defaultStateDirectory).toBe(`/var/lib/${value("StateDirectory")}`);
  });

  it("waits longer for the end than the daemon takes", () => {
    expect(Number(value("TimeoutStopSec"))).toBeGreaterThan(3);
  });
});
