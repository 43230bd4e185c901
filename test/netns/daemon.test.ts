import { chownSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import { Culvert, configuration, repository } from "../../testbed/culvert.ts";
import { must, run } from "../../testbed/exec.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Site } from "../../testbed/topology.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

const daemon = join(repository, "dist/src/daemon/main.js");
const cli = join(repository, "dist/src/cli/main.js");

describeInNamespaces("the routes that culvertd publishes", [], () => {
  it("come back when somebody deletes them, and leave other routes of their table alone", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(a, b, "a", { start: "passive" }));
    const ip = (...args: string[]) => must(["ip", "-n", a.gateway, ...args]);
    await ip("route", "add", "203.0.113.0/24", "dev", "lan", "table", "2125");
    await ip("route", "del", b.subnet, "dev", "culvert0", "table", "2125");
    await ip("rule", "del", "priority", "2125");
    await expect.poll(() => ip("route", "show", "table", "2125"), { timeout: 5000 }).toContain(b.subnet);
    expect(await ip("rule")).toContain("not from all fwmark 0x2125 lookup 2125 proto 125");
    expect(await ip("route", "show", "table", "2125")).toContain("203.0.113.0/24");
  });

  it("may be the default route: the LAN, and the packets to the peer itself, stay out of the tunnel", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const local = await Culvert.start(bed, gatewayOn(a, b, "a", { remoteSubnets: ["0.0.0.0/0", "::/0"] }));
    await local.waitUp();
    await waitForPing(a.host, b.hostAddress);
    const way = async (to: string) => must(["ip", "-n", a.gateway, "route", "get", to]);
    expect(await way("203.0.113.9")).toContain("dev culvert0");
    expect(await way(a.hostAddress)).toContain("dev lan");
    expect(await way(a.hostAddress6)).toContain("dev lan");
    await must(["ping", "-c", "1", "-W", "5", a.hostAddress], { netns: a.gateway });
  });
});

describeInNamespaces("culvertd on a host", [], () => {
  it("needs CAP_NET_ADMIN and CAP_NET_RAW only, on sockets that systemd opened", async () => {
    const { bed, a, b } = await network();
    const peer = await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const home = await ownDirectory(bed);
    const config = configFor(home, a, b);
    const control = join(home, "control.sock");
    const activated = bed.start(
      "activated culvertd",
      [
        "python3",
        "-c",
        socketActivation,
        ...unprivileged("+net_admin,+net_raw"),
        process.execPath,
        daemon,
      ].concat(["--config", config, "--control", control, "--state", home]),
      { netns: a.gateway },
    );
    await activated.waitForLine(/culvertd started/);
    const up = await must([process.execPath, cli, "up", "peer", "--control", control]);
    expect(up).toContain("peer is up");
    await waitForPing(a.host, b.hostAddress);
    expect(await peer.connection()).toMatchObject({ state: "up" });
    expect(await activated.stop()).toBe(0);
    expect(await must(["ip", "-n", a.gateway, "rule"])).not.toContain("2125");
  });

  it("tells systemd when it is ready, how it is, and that it stops", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const socket = join(bed.directory, "notify");
    const listener = bed.start("notify socket", ["python3", "-u", "-c", notifyListener, socket]);
    await listener.waitForLine(/listening/);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    const options = ["--config", culvert.configFile, "--control", culvert.controlSocket];
    await culvert.program.stop();
    const notifying = bed.start("culvertd under systemd", [process.execPath, daemon, ...options], {
      netns: a.gateway,
      env: { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" },
    });
    await listener.waitForLine(/READY=1 STATUS=. of 1 connections up/);
    await listener.waitForLine(/STATUS=1 of 1 connections up/);
    await listener.waitForLine(/WATCHDOG=1/);
    await notifying.stop();
    await listener.waitForLine(/STOPPING=1/);
  });

  it("keeps the key that it made for a connection without one, and says where", async () => {
    const { bed, a, b } = await network();
    const { connections, ...rest } = configuration(gatewayOn(a, b, "a")) as {
      connections: { peer: Record<string, unknown> };
    };
    const { psk: _, ...peer } = connections.peer;
    const config = bed.file("made/culvert.yaml", stringify({ ...rest, connections: { peer } }));
    const state = join(bed.directory, "state");
    const start = () =>
      bed.start(
        "culvertd",
        [process.execPath, daemon, "--config", config, "--control", `${config}.sock`, "--state", state],
        { netns: a.gateway },
      );
    const first = start();
    await first.waitForLine(/culvertd started/);
    await first.stop();
    const path = join(state, "psk/peer.psk");
    const made = readFileSync(path, "utf8");
    expect(made).toMatch(/^[A-Za-z0-9]{32,}$/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(first.lines.join("\n")).toContain(`"file":"${path}"`);
    expect(first.lines.join("\n")).not.toContain(made);
    const second = start();
    await second.waitForLine(/culvertd started/);
    expect(await second.stop()).toBe(0);
    expect(readFileSync(path, "utf8")).toBe(made);
  });
});

describeInNamespaces("culvertd that cannot start says why in one line, and changes nothing", [], () => {
  interface Case {
    readonly what: string;
    readonly code: number;
    readonly line: RegExp;
    readonly prepare?: (bed: Testbed, a: Site) => Promise<unknown>;
    readonly capabilities?: string;
    readonly local?: string;
  }

  it.each<Case>([
    {
      what: "without CAP_NET_ADMIN",
      code: 77,
      line: /^culvertd: .*Operation not permitted; run with CAP_NET_ADMIN$/,
      capabilities: "+net_raw",
    },
    {
      what: "without CAP_NET_RAW",
      code: 77,
      line: /^culvertd: .*Operation not permitted; run with CAP_NET_RAW$/,
      capabilities: "+net_admin",
    },
    {
      what: "without the right to port 500",
      code: 77,
      line: /^culvertd: UDP port 500 .*Permission denied; .*CAP_NET_BIND_SERVICE, or pass the socket in/,
      capabilities: "+net_admin,+net_raw",
    },
    {
      what: "with another IKE daemon on port 500",
      code: 69,
      line: /^culvertd: UDP port 500 on 192\.0\.2\.1: Address already in use; is strongSwan/,
      prepare: async (bed, a) => {
        const other = bed.start("other", ["python3", "-u", "-c", portHolder, "192.0.2.1", "500"], {
          netns: a.gateway,
        });
        await other.waitForLine(/bound/);
      },
    },
    {
      what: "with an address that is not this host's",
      code: 69,
      line: /^culvertd: .*192\.0\.2\.77: .*; the address is not on this host/,
      local: "192.0.2.77",
    },
    {
      what: "with its device in another's hands",
      code: 69,
      line: /^culvertd: TUN device culvert0: .*; another process holds it/,
      prepare: async (bed, a) => {
        const holder = bed.start("other", ["python3", "-u", "-c", deviceHolder], { netns: a.gateway });
        await holder.waitForLine(/attached/);
      },
    },
  ])("$what", async ({ code, line, prepare, capabilities, local }) => {
    const { bed, a, b } = await network();
    await prepare?.(bed, a);
    const home = await ownDirectory(bed);
    const config = configFor(home, { ...a, outerAddress: local ?? a.outerAddress }, b);
    const before = await must(["ip", "-n", a.gateway, "rule"]);
    const argv = [process.execPath, daemon, "--config", config, "--control", join(home, "control.sock")];
    const ended = await run([...(capabilities ? unprivileged(capabilities) : []), ...argv], {
      netns: a.gateway,
    });
    expect(ended.stderr.trim()).toMatch(line);
    expect(ended.code).toBe(code);
    expect(await must(["ip", "-n", a.gateway, "rule"])).toBe(before);
    if (!prepare) expect(await must(["ip", "-n", a.gateway, "link"])).not.toContain("culvert0");
  });

  it("with a configuration that has problems, one per line", async () => {
    const { bed, a } = await network();
    const config = bed.file("bad.yaml", "gateway: {addresses: [nowhere]}\nconnections: 7\n");
    const ended = await run([process.execPath, daemon, "--config", config], { netns: a.gateway });
    expect(ended.code).toBe(78);
    expect(ended.stderr.trim().split("\n")).toEqual([
      expect.stringMatching(/bad\.yaml:1: gateway\.addresses\[0\]: nowhere: /),
      expect.stringMatching(/bad\.yaml:2: connections: 7: /),
    ]);
  });

  it("as the second daemon of a namespace, whatever its control socket, and the first goes on", async () => {
    const { bed, a, b } = await network();
    await Culvert.start(bed, gatewayOn(b, a, "b", { start: "passive" }));
    const first = await Culvert.start(bed, gatewayOn(a, b, "a"));
    await first.waitUp();
    const argv = [process.execPath, daemon, "--config", first.configFile, "--control"];
    const same = await run([...argv, first.controlSocket], { netns: a.gateway });
    expect([same.code, same.stderr]).toEqual([75, expect.stringContaining("another culvertd answers at")]);
    const routes = await must(["ip", "-n", a.gateway, "route", "show", "table", "2125"]);
    const other = await run([...argv, `${first.controlSocket}2`], { netns: a.gateway });
    expect([other.code, other.stderr]).toEqual([69, expect.stringContaining("another process holds it")]);
    expect(await must(["ip", "-n", a.gateway, "route", "show", "table", "2125"])).toBe(routes);
    await waitForPing(a.host, b.hostAddress);
  });
});

/** A directory of nobody's, who plays the user culvert. */
async function ownDirectory(bed: Testbed): Promise<string> {
  const home = join(bed.directory, "home");
  await must(["install", "-d", "-o", nobody, "-g", nobody, "-m", "700", home]);
  // The bed's own directory is root's alone: nobody may pass through, not look.
  await must(["chmod", "711", bed.directory]);
  return home;
}

/** `peer` with the shared key, in files of nobody's. */
function configFor(home: string, own: Site, peer: Site): string {
  const options = gatewayOn(own, peer, "a", { start: "passive" });
  const write = (name: string, content: string): string => {
    const path = join(home, name);
    writeFileSync(path, content, { mode: 0o600 });
    chownSync(path, Number(nobody), Number(nobody));
    return path;
  };
  write("psk", options.psk);
  return write("culvert.yaml", stringify(configuration(options)));
}

/** Runs what follows as nobody, with these capabilities only. */
const unprivileged = (capabilities: string): string[] => [
  "setpriv",
  `--reuid=${nobody}`,
  `--regid=${nobody}`,
  "--clear-groups",
  "--inh-caps",
  capabilities,
  "--ambient-caps",
  capabilities,
  "--bounding-set",
  `-all,${capabilities}`,
];

const nobody = "65534";

/** What systemd does for culvert.socket: binds port 500, and hands the sockets over as descriptors 3 and 4. */
const socketActivation = `
import os, socket, sys
v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
v4.bind(("0.0.0.0", 500))
v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
v6.bind(("::", 500))
v4, v6 = os.dup(v4.fileno()), os.dup(v6.fileno())
os.dup2(v4, 10); os.dup2(v6, 11); os.dup2(10, 3); os.dup2(11, 4)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[1], sys.argv[1:])
`;

const notifyListener = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listening")
while True: print(s.recv(4096).decode().replace("\\n", " "))
`;

const portHolder = `
import signal, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("bound")
signal.pause()
`;

const deviceHolder = `
import fcntl, os, signal, struct
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"culvert0", 0x0001 | 0x1000 | 0x0100))
print("attached")
signal.pause()
`;
