import { createConnection } from "node:net";
import { expect, it } from "vitest";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must, processStartTime, run } from "../../testbed/exec.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

describeInNamespaces("culvertd that dies", [], () => {
  it("of kill -9 leaves nothing that its next start does not clean up, and the tunnel comes back", async () => {
    const { bed, a, b } = await network();
    const pristine = await kernelState(a.gateway);
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const running = await kernelState(a.gateway);
    expect(running).not.toEqual(pristine);

    culvert.program.signal("SIGKILL");
    await culvert.program.exited;
    await culvert.restart();
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    expect(await kernelState(a.gateway)).toEqual(running);

    await culvert.program.stop();
    expect(await kernelState(a.gateway)).toEqual(pristine);
  });

  it("of SIGTERM deletes its SAs on the peer and leaves the host as it was", async () => {
    const { bed, a, b } = await network();
    const pristine = await kernelState(a.gateway);
    const responder = await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await culvert.waitUp();
    expect(await culvert.program.stop()).toBe(0);
    expect(await kernelState(a.gateway)).toEqual(pristine);
    await responder.waitFor("down", ({ state }) => state !== "up");
    await expect(connects(culvert.controlSocket)).resolves.toBe(false);
  });

  it("is not started twice on one control socket, and the second start harms nothing", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const options = gatewayOn(a, b, "a");
    const first = await Culvert.start(bed, options);
    await first.waitUp();
    const second = await run(
      [
        process.execPath,
        "dist/src/daemon/main.js",
        "--config",
        first.configFile,
        "--control",
        first.controlSocket,
      ],
      { netns: a.gateway },
    );
    expect(second.code).not.toBe(0);
    expect(second.stdout + second.stderr).not.toBe("");
    expect(processStartTime(first.program.pid)).toBeDefined();
    await waitForPing(a.host, b.hostAddress);
  });
});

/** Everything of the kernel's that culvertd changes: links, routes of every table, rules, sockets. */
async function kernelState(netns: string): Promise<Record<string, string>> {
  // The kernel takes a TUN device and its sockets away a moment after the process is gone.
  await delay(100);
  const show = async (...argv: string[]) => stable(await must(argv, { netns }));
  return {
    links: (await must(["ip", "-o", "link"], { netns })).replaceAll(
      /^\d+: (\S+): .*? (mtu \d+) .*$/gm,
      "$1 $2",
    ),
    routes: await show("ip", "route", "show", "table", "all"),
    routes6: await show("ip", "-6", "route", "show", "table", "all"),
    rules: await show("ip", "rule"),
    rules6: await show("ip", "-6", "rule"),
    sockets: await show("ss", "-Hlnuw"),
  };
}

/** Without what differs between two equal states: interface numbers, counters, order. */
function stable(text: string): string {
  const lines = text
    .split("\n")
    .map((line) =>
      line
        .replace(/^\d+: /, "")
        .replace(/(link-netnsid|expires|qlen|pref) \S+/g, "")
        .trim(),
    )
    .filter((line) => line !== "" && !line.includes("fe80::") && !line.includes("ff00::/8"));
  return lines.sort().join("\n");
}

function connects(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
