/**
 * One run's hold on the machine: its namespaces, programs and private directory, and the promise that they go away.
 *
 * Three nets, each for the case that the one before it misses: `close()` in the normal course; handlers for SIGINT,
 * SIGTERM, SIGHUP and `exit`; and a record under /run from which the next run sweeps what a kill -9 left.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { must, Program, processStartTime, type RunOptions, run } from "./exec.ts";

interface RunRecord {
  readonly owner: ProcessId;
  readonly namespaces: string[];
  readonly programs: ProcessId[];
  readonly directories: string[];
}

interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

/** Where runs record what they hold. On a tmpfs: a reboot ends both the record and what it names. */
const stateDirectory = "/run/culvert-testbed";

let serial = 0;

export class Testbed {
  /** Unique among live runs on this machine; prefixes the names of namespaces. */
  readonly id: string;
  /** Private (0700) directory for configurations, sockets and logs. */
  readonly directory: string;
  readonly #recordFile: string;
  readonly #record: RunRecord;
  readonly #programs: Program[] = [];
  #closed = false;
  readonly #onExit = () => this.#sweepNow();
  readonly #onSignal = (signal: NodeJS.Signals) => {
    this.#sweepNow();
    process.exit(signal === "SIGINT" ? 130 : 143);
  };

  private constructor() {
    serial += 1;
    this.id = `culvert-${process.pid}-${serial}`;
    this.directory = mkdtempSync(join(tmpdir(), `${this.id}-`));
    this.#recordFile = join(stateDirectory, `${this.id}.json`);
    const startTime = processStartTime(process.pid) ?? "0";
    this.#record = {
      owner: { pid: process.pid, startTime },
      namespaces: [],
      programs: [],
      directories: [this.directory],
    };
    this.#save();
    process.on("exit", this.#onExit);
    for (const signal of signals) process.on(signal, this.#onSignal);
  }

  /** Sweeps what dead runs left, then opens a new one. Throws with the remedy when the machine does not allow it. */
  static async open(): Promise<Testbed> {
    const obstacle = await obstacleToNamespaces();
    if (obstacle !== undefined) throw new Error(obstacle);
    mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
    sweepStale();
    return new Testbed();
  }

  /**
   * Creates the namespace `<id>-<role>` with its loopback up and returns its name. Its devices use their IPv6
   * addresses at once: duplicate address detection holds neighbour discovery back for as much as two seconds.
   */
  async namespace(role: string): Promise<string> {
    const name = `${this.id}-${role}`;
    this.#record.namespaces.push(name);
    this.#save();
    await must(["ip", "netns", "add", name]);
    await must(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"], { netns: name });
    await must(["ip", "-n", name, "link", "set", "lo", "up"]);
    return name;
  }

  /** Starts a program that ends with this run. */
  start(name: string, argv: readonly string[], options: RunOptions = {}): Program {
    const program = new Program(name, argv, options);
    this.#programs.push(program);
    const startTime = processStartTime(program.pid);
    if (startTime !== undefined) {
      this.#record.programs.push({ pid: program.pid, startTime });
      this.#save();
    }
    return program;
  }

  /** Writes a file that only root may read and returns its path. `name` may hold a folder. */
  file(name: string, content: string): string {
    const path = join(this.directory, name);
    mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** Ends programs politely, newest first, then removes namespaces, files and the record. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    for (const program of this.#programs.toReversed()) await program.stop();
    this.#sweepNow();
  }

  #save(): void {
    mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
    writeFileSync(this.#recordFile, JSON.stringify(this.#record), { mode: 0o600 });
  }

  /** Synchronous: also the last act of a dying process. */
  #sweepNow(): void {
    if (this.#closed) return;
    this.#closed = true;
    process.off("exit", this.#onExit);
    for (const signal of signals) process.off(signal, this.#onSignal);
    sweep(this.#record);
    rmSync(this.#recordFile, { force: true });
  }
}

/** Undefined when namespaces can be made here; otherwise what is in the way and what to do about it. */
export async function obstacleToNamespaces(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "network namespaces need root: run the same command with sudo";
  const probe = `culvert-probe-${process.pid}`;
  const added = await run(["ip", "netns", "add", probe]).catch((error: unknown) => ({
    code: -1,
    stderr: String(error),
  }));
  if (added.code !== 0) {
    return `cannot make a network namespace (${added.stderr.trim()}): CAP_SYS_ADMIN is needed; in a container, --privileged`;
  }
  const tun = await run(["ip", "-n", probe, "tuntap", "add", "dev", "probe", "mode", "tun"]);
  await run(["ip", "netns", "del", probe]);
  if (tun.code === 0) return undefined;
  return `cannot make a TUN device (${tun.stderr.trim()}): load the tun module (modprobe tun); in a container, --device /dev/net/tun`;
}

/** Removes what runs whose owner is dead have left. Safe beside live runs. */
export function sweepStale(): number {
  let swept = 0;
  for (const name of readdirSync(stateDirectory)) {
    const path = join(stateDirectory, name);
    let record: RunRecord;
    try {
      record = JSON.parse(readFileSync(path, "utf8")) as RunRecord;
    } catch {
      // Half-written by a run that died in that moment, or removed by its owner just now.
      rmSync(path, { force: true });
      continue;
    }
    if (isAlive(record.owner)) continue;
    sweep(record);
    rmSync(path, { force: true });
    swept += 1;
  }
  return swept;
}

function sweep(record: RunRecord): void {
  for (const program of record.programs) {
    if (!isAlive(program)) continue;
    try {
      // Its process group: charon and openvpn fork.
      process.kill(-program.pid, "SIGKILL");
    } catch {
      // It ended between the look and the kill.
    }
  }
  for (const name of record.namespaces) {
    // Daemonised grandchildren are in no group of ours, but they are in the namespace.
    const pids = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
    for (const pid of (pids.stdout ?? "").split("\n").filter((line) => line !== "")) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // Gone already.
      }
    }
    spawnSync("ip", ["netns", "del", name]);
  }
  for (const directory of record.directories) rmSync(directory, { recursive: true, force: true });
}

function isAlive(id: ProcessId): boolean {
  return processStartTime(id.pid) === id.startTime;
}

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
