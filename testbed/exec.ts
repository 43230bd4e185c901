/**
 * Running commands for the testbed: a short command to its end (`run`, `must`), or a long one as a `Program` whose
 * output is kept and can be waited for. Everything runs as an argument vector, never through a shell.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

export interface RunOptions {
  /** Network namespace to run in; the host's when absent. */
  readonly netns?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly input?: string | undefined;
  /** Milliseconds until the command is killed; 60,000 when absent. */
  readonly timeoutMs?: number | undefined;
}

export interface RunResult {
  /** Exit code; 128 + signal number is not imitated: a command that a signal ended has −1. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that had to succeed did not; the message holds its last lines. */
export class CommandFailed extends Error {
  readonly result: RunResult;
  constructor(argv: readonly string[], result: RunResult) {
    super(`${argv.join(" ")} ended with ${result.code}: ${tail(result.stderr || result.stdout, 12)}`);
    this.name = "CommandFailed";
    this.result = result;
  }
}

/** Runs `argv` to its end and returns what it printed, whatever its exit code. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [command, ...args] = inNamespace(argv, options.netns);
  return new Promise((resolve, reject) => {
    const input = options.input === undefined ? undefined : inputFile(options.input);
    const child = spawn(command!, args, {
      env: { ...process.env, LC_ALL: "C", ...options.env },
      stdio: [input ?? "ignore", "pipe", "pipe"],
    });
    if (input !== undefined) closeSync(input);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout!.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr!.on("data", (chunk: Buffer) => err.push(chunk));
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 60_000);
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({
        code: code ?? -1,
        stdout: Buffer.concat(out).toString("utf8"),
        stderr: Buffer.concat(err).toString("utf8"),
      });
    });
  });
}

/** Runs `argv` to its end and throws `CommandFailed` unless it exits with 0. */
export async function must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(argv, options);
  if (result.code !== 0) throw new CommandFailed(argv, result);
  return result.stdout;
}

/** A long-running command in its own process group, so that a Ctrl-C for us does not reach it behind our back. */
export class Program {
  readonly name: string;
  readonly exited: Promise<number>;
  #child: ChildProcess;
  #lines: string[] = [];
  #partial = "";
  #running = true;
  #watchers = new Set<() => void>();
  #answered: Promise<unknown> = Promise.resolve();

  constructor(name: string, argv: readonly string[], options: RunOptions = {}) {
    this.name = name;
    // The kernel ends the program when we die without a chance to (kill -9).
    const [command, ...args] = ["setpriv", "--pdeathsig", "KILL", ...inNamespace(argv, options.netns)];
    this.#child = spawn(command!, args, {
      detached: true,
      env: { ...process.env, LC_ALL: "C", ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    // One that ends before it has read everything is not our failure.
    this.#child.stdin!.on("error", () => {});
    const collect = (chunk: Buffer) => this.#collect(chunk.toString("utf8"));
    this.#child.stdout!.on("data", collect);
    this.#child.stderr!.on("data", collect);
    this.exited = new Promise((resolve) => {
      const end = (code: number) => {
        this.#running = false;
        for (const watcher of this.#watchers) watcher();
        resolve(code);
      };
      this.#child.on("error", (error) => {
        this.#lines.push(String(error));
        end(-1);
      });
      this.#child.on("close", (code) => end(code ?? -1));
    });
  }

  /** 0 when it could not be started. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#running;
  }

  /** What it printed to both streams: the last 20,000 lines. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** Resolves with the first line, old or new, that matches; rejects when the program ends or time is up. */
  waitForLine(pattern: RegExp, timeoutMs = 15_000): Promise<string> {
    let scanned = 0;
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        this.#watchers.delete(check);
      };
      const check = () => {
        const found = this.#lines.slice(scanned).find((line) => pattern.test(line));
        scanned = this.#lines.length;
        if (found !== undefined) {
          stop();
          resolve(found);
        } else if (!this.#running) {
          stop();
          reject(new Error(`${this.name} ended before printing ${pattern}: ${this.tail()}`));
        }
      };
      const timer = setTimeout(() => {
        stop();
        reject(new Error(`${this.name} did not print ${pattern} in ${timeoutMs} ms: ${this.tail()}`));
      }, timeoutMs);
      this.#watchers.add(check);
      check();
    });
  }

  /** Resolves with the next line that it prints from now on. */
  nextLine(timeoutMs = 15_000): Promise<string> {
    const from = this.#lines.length;
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        this.#watchers.delete(check);
      };
      const check = () => {
        const line = this.#lines[from];
        if (line === undefined && this.#running) return;
        stop();
        if (line !== undefined) resolve(line);
        else reject(new Error(`${this.name} ended: ${this.tail()}`));
      };
      const timer = setTimeout(() => {
        stop();
        reject(new Error(`${this.name} printed nothing in ${timeoutMs} ms: ${this.tail()}`));
      }, timeoutMs);
      this.#watchers.add(check);
    });
  }

  /**
   * Writes one line to its standard input and resolves with the next line that it prints. A question waits until the
   * one before it is answered, so that many may be asked at once.
   */
  ask(line: string): Promise<string> {
    const answer = this.#answered.then(() => {
      const next = this.nextLine();
      this.#child.stdin!.write(`${line}\n`);
      return next;
    });
    this.#answered = answer.catch(() => undefined);
    return answer;
  }

  tail(count = 15): string {
    return this.#lines.slice(-count).join("\n");
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#running && this.#child.pid !== undefined) this.#child.kill(signal);
  }

  /** Asks it to end, insists after `graceMs`; resolves when it is gone. */
  async stop(graceMs = 5_000): Promise<number> {
    this.signal("SIGTERM");
    const timer = setTimeout(() => this.signal("SIGKILL"), graceMs);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }

  #collect(text: string): void {
    const pieces = (this.#partial + text).split("\n");
    this.#partial = pieces.pop()!;
    this.#lines.push(...pieces);
    if (this.#lines.length > 40_000) this.#lines.splice(0, 20_000);
    for (const watcher of this.#watchers) watcher();
  }
}

/** Start time of a process in clock ticks since boot (proc(5), field 22): with the pid it names one process for ever. */
export function processStartTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name may hold spaces and parentheses: fields count from the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export function tail(text: string, lines: number): string {
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A nameless file to read `text` from. Node's pipes are sockets, and nft reads its rules from no socket. */
function inputFile(text: string): number {
  const path = join(mkdtempSync(join(tmpdir(), "culvert-input-")), "input");
  writeFileSync(path, text, { mode: 0o600 });
  const descriptor = openSync(path, "r");
  rmSync(dirname(path), { recursive: true });
  return descriptor;
}

function inNamespace(argv: readonly string[], netns: string | undefined): readonly string[] {
  return netns === undefined ? argv : ["ip", "netns", "exec", netns, ...argv];
}
