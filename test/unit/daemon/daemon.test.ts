import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Config } from "../../../src/config/index.ts";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import type { DataPlaneEvent, SaSpec } from "../../../src/core/dataplane.ts";
import { Secret } from "../../../src/core/secret.ts";
import { Daemon, type DaemonParts } from "../../../src/daemon/daemon.ts";
import { exitCode, StartError } from "../../../src/daemon/exit-codes.ts";
import { serviceManager } from "../../../src/daemon/systemd.ts";
import type { ConnectionStatus } from "../../../src/gateway/contract.ts";
import { EventLog } from "../../../src/telemetry/event-log.ts";
import {
  configOf,
  exampleConfig,
  FakeClock,
  FakeDataPlane,
  FakeKernel,
  FakeMachine,
  fakeLog,
} from "./fakes.ts";

let directory: string;
let daemon: Daemon | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "culvert-daemon-"));
});

afterEach(() => {
  vi.useRealTimers();
  daemon?.stop("test");
  daemon?.stop("test");
  daemon = undefined;
  rmSync(directory, { recursive: true });
});

function setUp(change: Partial<DaemonParts> = {}) {
  const machine = new FakeMachine();
  const kernel = new FakeKernel();
  const dataPlane = new FakeDataPlane();
  const clock = new FakeClock();
  const logged = fakeLog();
  const seam: { events: (events: readonly DataPlaneEvent[]) => void } = { events: () => {} };
  const config = configOf(exampleConfig);
  const keylogged: string[] = [];
  const controlPath = join(directory, "control.sock");
  const parts: DaemonParts = {
    version: "1.2.3",
    configFile: "/etc/culvert/culvert.yaml",
    controlPath,
    config,
    warnings: [],
    log: logged.log,
    events: new EventLog(() => new Date(0)),
    clock,
    resolve: (name, done) =>
      name === "known.example" ? done([IpAddress.parse("198.51.100.7")], undefined) : done([], "ENOTFOUND"),
    kernel,
    keylog: (table, line) => keylogged.push(`${table} ${line}`),
    manager: serviceManager(kernel, { NOTIFY_SOCKET: "/run/notify" }, process.pid),
    openDataPlane: (onEvents) => {
      seam.events = onEvents;
      return dataPlane;
    },
    fwmark: 0x2125,
    createMachine: () => machine,
    hostAddresses: () => configOf(exampleConfig).gateway.addresses,
    reloadConfig: () => configOf(exampleConfig),
    ...change,
  };
  const start = async () => {
    daemon = await Daemon.start(parts);
    return daemon;
  };
  return { ...logged, keylogged, machine, kernel, dataPlane, clock, seam, controlPath, start };
}

/** One request, one answer. */
function ask(path: string, request: object): Promise<{ ok: boolean; result?: unknown; error?: unknown }> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      text += chunk.toString("utf8");
      if (!text.includes("\n")) return;
      socket.destroy();
      resolve(JSON.parse(text));
    });
    socket.write(`${JSON.stringify({ v: 1, id: 1, ...request })}\n`);
  });
}

const connection = (name: string, state: ConnectionStatus["state"]): ConnectionStatus => ({
  name,
  state,
  sinceMs: 0,
  weak: [],
  tunnels: [],
  lastFailure: undefined,
  failures: [],
  warnings: [],
  counts: { handshakesInitiated: 0, handshakesAnswered: 0, ikeRekeys: 0, childRekeys: 0, failures: {} },
});

const sa = (): SaSpec => ({
  direction: "inbound",
  spi: 0x1234,
  connection: 0,
  local: IpAddress.parse("192.0.2.1"),
  remote: IpAddress.parse("198.51.100.7"),
  encapsulation: { kind: "esp" },
  encr: 20,
  encrKeyBits: 128,
  integ: 0,
  encrKey: new Secret(Uint8Array.of(1, 2, 3)),
  integKey: new Secret(new Uint8Array(0)),
  esn: true,
  replayWindow: 64,
  localSelectors: [],
  remoteSelectors: [],
  softBytes: 0,
  hardBytes: 0,
  softPackets: 0,
  hardPackets: 0,
});

describe("culvertd's life", () => {
  it("brings the device up, starts the gateway and tells systemd that it is ready", async () => {
    const { machine, kernel, start, lines } = setUp({ warnings: ["IPv4 forwarding is off"] });
    machine.connections = [connection("hq-branch", "connecting")];
    await start();
    // 1500 − 20 − 8 − 8 − 8 − 16 = 1440, a multiple of 4, − 2.
    expect(kernel.links).toEqual([{ name: "culvert0", mtu: 1438, up: true }]);
    expect(machine.inputs).toEqual([{ kind: "start" }]);
    expect(kernel.notifications).toEqual(["READY=1\nSTATUS=0 of 1 connections up"]);
    expect(lines()).toEqual(["info culvertd started", "warn IPv4 forwarding is off"]);
  });

  it("cleans up what a killed daemon left", async () => {
    const { kernel, start } = setUp();
    kernel.routes = [{ prefix: "10.9.0.0/16", device: "culvert9", table: 2125, protocol: 125 }];
    await start();
    expect(kernel.routes).toEqual([]);
  });

  it("touches no route while device and ports may be another daemon's", async () => {
    const { kernel, start } = setUp({
      openDataPlane: () => {
        throw new StartError(exitCode.unavailable, "no /dev/net/tun", "modprobe tun");
      },
    });
    const left = { prefix: "10.9.0.0/16", device: "culvert0", table: 2125, protocol: 125 };
    kernel.routes = [left];
    await expect(start()).rejects.toThrow("no /dev/net/tun");
    expect(kernel.routes).toEqual([left]);
    expect(existsSync(join(directory, "control.sock"))).toBe(false);
  });

  it("does not touch a running daemon's routes when it is the second", async () => {
    const first = setUp();
    await first.start();
    const second = setUp();
    second.kernel.routes = [{ prefix: "10.2.0.0/16", device: "culvert0", table: 2125, protocol: 125 }];
    await expect(second.start()).rejects.toMatchObject({ code: exitCode.busy });
    expect(second.kernel.calls).toBe(0);
  });

  it("closes what it opened when the device cannot be set up", async () => {
    const { kernel, dataPlane, controlPath, start } = setUp();
    kernel.failing.set("setLink", "EPERM");
    await expect(start()).rejects.toThrow("EPERM");
    expect(dataPlane.closed).toBe(true);
    expect(existsSync(controlPath)).toBe(false);
  });

  it("feeds data plane events in order and performs every kind of output", async () => {
    const { machine, dataPlane, kernel, seam, start, lines, keylogged } = setUp();
    await start();
    const spec = sa();
    const endpoint = { address: IpAddress.parse("192.0.2.1"), port: 500 };
    machine.onInput = (input) => {
      if (input.kind !== "dataPlane") return;
      machine.emit(
        { kind: "sendIke", local: endpoint, remote: endpoint, datagram: Uint8Array.of(9) },
        { kind: "sendKeepalive", local: endpoint, remote: endpoint },
        { kind: "keylog", table: "esp_sa", line: '"row"' },
        { kind: "installSa", sa: spec },
        { kind: "publish", plan: { policyRoutes: [], destinationRoutes: [], connections: [] } },
        { kind: "kernelRoutes", destinations: [Prefix.parse("10.2.0.0/16")] },
        { kind: "log", level: "info", message: "SA up", fields: {} },
        { kind: "removeSa", direction: "inbound", spi: 0x1234, remote: spec.remote },
      );
    };
    seam.events([{ kind: "peerMoved", spi: 1, remote: endpoint }]);
    expect(dataPlane.told).toEqual([
      { sendIke: [9] },
      { sendKeepalive: "192.0.2.1:500 192.0.2.1:500" },
      { installSa: 0x1234, key: [1, 2, 3] },
      { publish: { policyRoutes: [], destinationRoutes: [], connections: [] } },
      { removeSa: 0x1234 },
    ]);
    expect(keylogged).toEqual(['esp_sa "row"']);
    expect(kernel.routes.map((route) => route.prefix)).toEqual(["10.2.0.0/16"]);
    expect(lines().slice(1)).toEqual(["info SA up", "debug IPsec SA removed"]);
  });

  it("wipes its copy of the keys, also when the data plane refuses the SA, and tells the gateway", async () => {
    const { machine, dataPlane, start } = setUp();
    await start();
    const specs = [sa(), sa()];
    machine.onInput = (input) => {
      if (input.kind === "command") machine.emit({ kind: "installSa", sa: specs.shift()! });
    };
    await daemonCommand();
    dataPlane.refuses = new Error("no room");
    await daemonCommand();
    expect(dataPlane.told).toHaveLength(1);
    expect(machine.inputs.at(-1)).toEqual({
      kind: "refusedSa",
      direction: "inbound",
      spi: 0x1234,
      remote: sa().remote,
      reason: "no room",
    });

    async function daemonCommand() {
      machine.connections = [connection("hq-branch", "down")];
      const spec = specs[0]!;
      await ask(join(directory, "control.sock"), { verb: "up", connection: "hq-branch" });
      expect(spec.encrKey.length).toBe(0);
    }
  });

  it("removes an SA that cannot move with its IKE SA, and tells the gateway", async () => {
    const { machine, dataPlane, seam, start } = setUp();
    await start();
    const { local, remote, spi } = sa();
    const path = { local, remote: IpAddress.parse("203.0.113.9"), encapsulation: { kind: "esp" } } as const;
    machine.onInput = (input) => {
      if (input.kind !== "dataPlane") return;
      machine.emit({ kind: "updateSa", direction: "outbound", spi, remote, path });
    };
    dataPlane.refuses = new Error("EEXIST");
    seam.events([{ kind: "saInUse", spi: 1 }]);
    expect(dataPlane.told).toEqual([{ removeSa: spi }]);
    expect(machine.inputs.at(-1)).toEqual({
      kind: "refusedSa",
      direction: "outbound",
      spi,
      remote: path.remote,
      reason: "EEXIST",
    });
  });

  it("answers names that resolve and names that do not", async () => {
    const { machine, seam, start, lines } = setUp();
    await start();
    machine.onInput = (input) => {
      if (input.kind === "dataPlane")
        machine.emit(
          { kind: "resolve", name: "known.example" },
          { kind: "resolve", name: "unknown.example" },
        );
    };
    seam.events([{ kind: "pathMtu", remote: IpAddress.parse("192.0.2.1"), mtu: 1400 }]);
    expect(machine.inputs.slice(2)).toEqual([
      { kind: "resolved", name: "known.example", addresses: [IpAddress.parse("198.51.100.7")] },
      { kind: "resolved", name: "unknown.example", addresses: [] },
    ]);
    expect(lines().at(-1)).toBe("warn peer name did not resolve");
  });

  it("logs a failure record once, with both sides' offers and the remedy", async () => {
    const { machine, start, text } = setUp();
    machine.onInput = () =>
      machine.emit({
        kind: "failure",
        record: {
          code: "NO_PROPOSAL_CHOSEN_IKE",
          connection: "hq-branch",
          peer: "198.51.100.7",
          ours: ["aes256"],
          theirs: ["aes128"],
          difference: "key length",
          remedy: "add aes128",
        },
      });
    await start();
    expect(text().match(/NO_PROPOSAL_CHOSEN_IKE/g)).toHaveLength(1);
    expect(text()).toContain('"remedy":"add aes128"');
  });

  it("puts deleted routes back while it runs, and tells systemd when a connection comes up", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
    const { machine, kernel, start } = setUp();
    machine.onInput = () =>
      machine.emit({ kind: "kernelRoutes", destinations: [Prefix.parse("10.2.0.0/16")] });
    await start();
    kernel.routes = [];
    machine.connections = [connection("hq-branch", "up")];
    vi.advanceTimersByTime(2000);
    expect(kernel.routes).toHaveLength(1);
    expect(kernel.notifications.at(-1)).toBe("STATUS=1 of 1 connections up");
    const told = kernel.notifications.length;
    vi.advanceTimersByTime(10_000);
    expect(kernel.notifications).toHaveLength(told);
  });

  it("tells the gateway every 30 s what the data plane has installed", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
    const { machine, dataPlane, start } = setUp();
    await start();
    const remote = IpAddress.parse("203.0.113.9");
    dataPlane.sas = [{ direction: "inbound", spi: 256, connection: 0, packets: 1, bytes: 100, remote }];
    vi.advanceTimersByTime(60_000);
    expect(machine.inputs.filter(({ kind }) => kind === "installed")).toEqual([
      { kind: "installed", sas: dataPlane.sas },
      { kind: "installed", sas: dataPlane.sas },
    ]);
  });

  it("pings systemd's watchdog at half its time", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
    const watched = new FakeKernel();
    const environment = { NOTIFY_SOCKET: "/run/notify", WATCHDOG_USEC: "30000000" };
    const { start } = setUp({ manager: serviceManager(watched, environment, process.pid) });
    await start();
    vi.advanceTimersByTime(45_000);
    expect(watched.notifications.filter((text) => text === "WATCHDOG=1")).toHaveLength(3);
  });
});

describe("stopping", () => {
  const published = { kind: "kernelRoutes", destinations: [Prefix.parse("10.2.0.0/16")] } as const;

  it("asks the gateway first, and removes routes, rules, device and socket when it is done", async () => {
    const { machine, kernel, dataPlane, controlPath, start } = setUp();
    machine.onInput = (input) => machine.emit(input.kind === "shutdown" ? { kind: "stopped" } : published);
    const running = await start();
    expect(kernel.rules).toHaveLength(1);
    running.stop("SIGTERM");
    expect(await running.ended).toBe(exitCode.ok);
    expect(machine.inputs.at(-1)).toEqual({ kind: "shutdown" });
    expect([kernel.routes, kernel.rules, dataPlane.closed, existsSync(controlPath)]).toEqual([
      [],
      [],
      true,
      false,
    ]);
    expect(kernel.notifications.at(-1)).toBe("STOPPING=1");
  });

  it("does not wait longer than 3 s for peers that are gone", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
    const { machine, kernel, start } = setUp();
    machine.onInput = () => machine.emit(published);
    const running = await start();
    running.stop("SIGTERM");
    vi.advanceTimersByTime(2999);
    expect(kernel.routes).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(await running.ended).toBe(exitCode.ok);
    expect(kernel.routes).toEqual([]);
  });

  it("ends at once on the second signal, clean on the host all the same", async () => {
    const { machine, kernel, start } = setUp();
    machine.onInput = () => machine.emit(published);
    const running = await start();
    running.stop("SIGINT");
    running.stop("SIGINT");
    expect(await running.ended).toBe(exitCode.failed);
    expect([kernel.routes, kernel.rules]).toEqual([[], []]);
  });

  it("takes no more commands while it stops", async () => {
    const { machine, controlPath, start } = setUp();
    const running = await start();
    machine.connections = [connection("hq-branch", "up")];
    running.stop("SIGTERM");
    const answer = await ask(controlPath, { verb: "up", connection: "hq-branch" });
    expect(answer).toMatchObject({ ok: false, error: { code: "UNAVAILABLE" } });
  });

  it("leaves the host clean after a bug", async () => {
    const { machine, kernel, start, lines } = setUp();
    machine.onInput = () => machine.emit(published);
    const running = await start();
    running.crash(new Error("bug"));
    expect(await running.ended).toBe(exitCode.failed);
    expect(kernel.rules).toEqual([]);
    expect(lines()).toContain("error culvertd crashed: please report this");
  });
});

describe("control verbs", () => {
  it("status: daemon, device, connections, traffic and the drops that happened", async () => {
    const { machine, dataPlane, controlPath, start } = setUp({ warnings: ["IPv4 forwarding is off"] });
    await start();
    machine.connections = [connection("hq-branch", "up")];
    dataPlane.dropped = { replayed: 3, bad_icv: 0 };
    machine.ikeDrops = { malformed: 5, payloads: 0 };
    expect(await ask(controlPath, { verb: "status" })).toMatchObject({
      ok: true,
      result: {
        daemon: { version: "1.2.3", pid: process.pid, nowMs: 1000, warnings: ["IPv4 forwarding is off"] },
        tun: { name: "culvert0", mtu: 1438 },
        gateway: { name: "hq", connections: [{ name: "hq-branch", state: "up" }] },
        drops: [
          { reason: "replayed", severity: "warn", text: "about replayed", packets: 3 },
          { reason: "ike_malformed", severity: "warn", text: "the bytes are not an IKE message", packets: 5 },
        ],
      },
    });
  });

  it.each(["up", "down", "reset"] as const)(
    "%s reaches the gateway once, for a connection there is",
    async (verb) => {
      const { machine, controlPath, start } = setUp();
      await start();
      machine.connections = [connection("hq-branch", "down")];
      expect(await ask(controlPath, { verb, connection: "hq-branch" })).toMatchObject({
        result: { acceptedAtMs: 1000 },
      });
      expect(await ask(controlPath, { verb, connection: "other" })).toMatchObject({
        error: { code: "UNKNOWN_CONNECTION", message: "no connection is named other; configured: hq-branch" },
      });
      expect(machine.inputs.slice(1)).toEqual([
        { kind: "command", command: { verb, connection: "hq-branch" } },
      ]);
    },
  );

  it("rekey reaches the gateway when the connection is up, and is refused otherwise", async () => {
    const { machine, controlPath, start } = setUp();
    await start();
    const rekey = { verb: "rekey", connection: "hq-branch", ike: true };
    machine.connections = [connection("hq-branch", "waiting")];
    expect(await ask(controlPath, rekey)).toMatchObject({
      error: {
        code: "NOT_UP",
        message: "hq-branch is waiting: there is nothing to rekey; culvert up hq-branch",
      },
    });
    machine.connections = [connection("hq-branch", "up")];
    expect(await ask(controlPath, rekey)).toMatchObject({ result: { acceptedAtMs: 1000 } });
    expect(await ask(controlPath, { verb: "rekey", connection: "hq-branch" })).toMatchObject({
      error: { code: "BAD_REQUEST" },
    });
    expect(machine.inputs.slice(1)).toEqual([{ kind: "command", command: rekey }]);
  });

  it("log: the newest records; counters and dump: what the data plane says", async () => {
    const { log, controlPath, start } = setUp();
    await start();
    log.write("info", "one");
    log.write("info", "two");
    const answer = await ask(controlPath, { verb: "log", lines: 1, follow: false });
    expect(answer).toMatchObject({ result: { records: [{ msg: "two" }] } });
    expect(await ask(controlPath, { verb: "counters" })).toMatchObject({
      result: { counters: { "tun.packets": 4 }, drops: [] },
    });
    expect(await ask(controlPath, { verb: "dump" })).toMatchObject({ result: { dataPlane: { workers: 1 } } });
  });
});

describe("what a connection carried", () => {
  it("is the sum of its SAs, those that were rekeyed away included", async () => {
    const { machine, dataPlane, seam, controlPath, start } = setUp();
    await start();
    const spec = sa();
    machine.onInput = (input) => {
      if (input.kind !== "dataPlane") return;
      machine.emit(
        { kind: "installSa", sa: spec },
        // The fake's final totals: 3 packets, 300 bytes.
        { kind: "removeSa", direction: "inbound", spi: spec.spi, remote: spec.remote },
        { kind: "removeSa", direction: "inbound", spi: 0x9999, remote: spec.remote },
      );
    };
    seam.events([{ kind: "pathMtu", remote: spec.remote, mtu: 1400 }]);
    dataPlane.sas = [
      { direction: "inbound", spi: 7, connection: 0, packets: 10, bytes: 1000, remote: spec.remote },
      { direction: "outbound", spi: 8, connection: 0, packets: 2, bytes: 20, remote: spec.remote },
    ];
    const expected = {
      connection: "hq-branch",
      inbound: { packets: 13, bytes: 1300 },
      outbound: { packets: 2, bytes: 20 },
    };
    expect(await ask(controlPath, { verb: "status" })).toMatchObject({
      result: { connectionTraffic: [expected] },
    });
    expect(await ask(controlPath, { verb: "status" })).toMatchObject({
      result: { connectionTraffic: [expected] },
    });
  });
});

describe("SIGHUP", () => {
  const restartNeeded = async (path: string) => {
    const { result } = await ask(path, { verb: "status" });
    return (result as { daemon: { restartNeeded: string[] } }).daemon.restartNeeded;
  };

  it("says that nothing changed", async () => {
    const { controlPath, start, lines } = setUp();
    (await start()).reload();
    expect(lines().at(-1)).toBe("info configuration unchanged");
    expect(await restartNeeded(controlPath)).toEqual([]);
  });

  it("names what a restart would change, and changes nothing", async () => {
    const changed: Config = configOf(exampleConfig.replace("10.2.0.0/16", "10.3.0.0/16"), "another key");
    const { machine, controlPath, start, lines } = setUp({ reloadConfig: () => changed });
    (await start()).reload();
    expect(lines().at(-1)).toBe("warn configuration changed: restart the daemon to apply it");
    expect(await restartNeeded(controlPath)).toEqual(["connection hq-branch", "routes"]);
    expect(machine.inputs).toEqual([{ kind: "start" }]);
    expect(changed.connections[0]!.psk.length).toBe(0);
  });

  it("keeps the running configuration when the new one has problems", async () => {
    const { start, lines } = setUp({ reloadConfig: () => undefined });
    (await start()).reload();
    expect(lines().at(-1)).toBe("warn configuration not reloaded: it has problems, the running one stays");
  });
});
