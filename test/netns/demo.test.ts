import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { renderScreen } from "../../demo/screen.ts";
import { repository } from "../../testbed/culvert.ts";
import { delay, must, processStartTime, run } from "../../testbed/exec.ts";
import { describeInNamespaces, network } from "./support.ts";

describeInNamespaces("npm run demo", ["strongswan"], () => {
  it.each([
    { args: [], peer: "culvert" },
    { args: ["--encap", "esp"], peer: "culvert" },
    { args: ["--peer", "strongswan"], peer: "strongswan" },
    { args: ["--peer", "strongswan", "--initiator", "peer"], peer: "strongswan" },
  ])("ends with one line of JSON: $args", async ({ args, peer }) => {
    const result = await run([process.execPath, demo, "--json", "--seconds", "1", ...args]);
    expect(result.code, result.stderr).toBe(0);
    const line = JSON.parse(result.stdout.trimEnd().split("\n").at(-1)!) as Record<string, unknown>;
    expect(line).toEqual({
      handshakeMs: expect.any(Number),
      pingLossPercent: 0,
      tcpGbps: expect.any(Number),
      suite: expect.stringContaining("aes128gcm16"),
      peer,
    });
    expect(line["tcpGbps"]).toBeGreaterThan(0);
  });

  it("leaves nothing when Ctrl-C ends it", async () => {
    const { child, pid, exited } = await runningDemo();
    child.kill("SIGINT");
    expect(await exited).toBe(130);
    await expectNothingOf(pid);
  });

  it("leaves nothing that the next run does not sweep away when kill -9 ends it", async () => {
    const { child, pid, exited } = await runningDemo();
    const programs = await programsOf(pid);
    expect(programs.length).toBeGreaterThan(1);
    child.kill("SIGKILL");
    await exited;
    expect(await must(["ip", "netns", "list"])).toContain(`culvert-${pid}-`);
    // Any run of anything that uses the testbed.
    await network();
    await expectNothingOf(pid);
    for (const program of programs) expect(processStartTime(program)).toBeUndefined();
  });

  it.each([
    [["--peer", "cisco"], "--peer cisco: one of culvert, strongswan"],
    [["--seconds", "0"], "--seconds 0: a whole number from 1 to 600"],
    [["--peer", "strongswan", "--encap", "esp"], "ESP in UDP only"],
    [["--nonsense"], "--nonsense"],
  ])("refuses %j in one sentence", async (args, sentence) => {
    const { code, stderr } = await run([process.execPath, demo, ...args]);
    expect(code).toBe(1);
    expect(stderr).toContain(sentence);
    expect(stderr).not.toContain("    at ");
  });

  it("fits on a screen of 80 columns and 24 lines", () => {
    const screen = renderScreen({
      peer: "strongswan",
      initiator: "peer",
      encapsulation: "udp",
      ikeSuite: "aes256-sha512-prfsha512-modp4096",
      espSuite: "aes256gcm16-modp4096-esn",
      handshakeMs: 12345,
      ping: { sent: 50, received: 49, lossPercent: 2, averageMs: 123.45 },
      seconds: 600,
      forward: { gbps: 123.456, retransmits: 0 },
      reverse: { gbps: 123.456, retransmits: 0 },
      traffic: (["inbound", "outbound"] as const).map((direction) => ({
        direction,
        spi: 0xffffffff,
        connection: 0,
        packets: 9_999_999_999,
        bytes: 9_999_999_999_999,
      })),
      drops: [{ where: "gA", reason: "ecn_not_supported", packets: 9_999_999_999 }],
    });
    const lines = screen.split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
  });
});

/** A demo that is in the middle of its TCP test. */
async function runningDemo() {
  const child = spawn(process.execPath, [demo, "--seconds", "60"], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (text.includes("TCP hA → hB")) resolve();
    });
    void exited.then(() => reject(new Error(`the demo ended early:\n${text}`)));
  });
  return { child, pid: child.pid!, exited };
}

async function programsOf(pid: number): Promise<number[]> {
  const { stdout } = await run(["ps", "-o", "pid=", "--ppid", `${pid}`]);
  return stdout.trim().split(/\s+/).map(Number);
}

async function expectNothingOf(pid: number): Promise<void> {
  // The kernel takes a killed process's namespace away a moment later.
  await delay(100);
  expect(await must(["ip", "netns", "list"])).not.toContain(`culvert-${pid}-`);
  const left = (folder: string) => readdirSync(folder).filter((name) => name.startsWith(`culvert-${pid}-`));
  expect(left(tmpdir())).toEqual([]);
  expect(left("/run/culvert-testbed")).toEqual([]);
}

const demo = join(repository, "dist/demo/main.js");
