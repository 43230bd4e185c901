/** Ping and iperf3 between two namespaces, with their answers as numbers. */
import { CommandFailed, delay, type Program, type RunResult, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly lossPercent: number;
  /** Milliseconds; undefined when nothing came back. */
  readonly averageMs: number | undefined;
}

/**
 * Sends `count` echo requests, one each `intervalMs`. `size` is the ICMP payload; `dontFragment` sets DF; `source` is
 * the address to send from where the kernel's choice is not the one wanted.
 */
export async function ping(
  netns: string,
  destination: string,
  options: {
    count?: number;
    intervalMs?: number;
    size?: number;
    dontFragment?: boolean;
    source?: string;
  } = {},
): Promise<PingResult> {
  const { count = 20, intervalMs = 20, size = 56 } = options;
  const df = options.dontFragment === true ? ["-M", "do"] : [];
  const from = options.source === undefined ? [] : ["-I", options.source];
  const timing = ["-c", `${count}`, "-i", `${intervalMs / 1000}`, "-W", "2"];
  const argv = ["ping", "-q", ...timing, "-s", `${size}`, ...df, ...from];
  const result = await run([...argv, destination], { netns, timeoutMs: count * intervalMs + 30_000 });
  const counts = /(\d+) packets transmitted, (\d+) received/.exec(result.stdout);
  if (counts === null) throw new CommandFailed(argv, result);
  const sent = Number(counts[1]);
  const received = Number(counts[2]);
  const rtt = /= [\d.]+\/([\d.]+)\//.exec(result.stdout);
  return {
    sent,
    received,
    lossPercent: sent === 0 ? 100 : (100 * (sent - received)) / sent,
    averageMs: rtt === null ? undefined : Number(rtt[1]),
  };
}

/** Round-trip times in microseconds, as many as came back, of `count` echo requests one each `intervalMs`. */
export async function roundTrips(
  netns: string,
  destination: string,
  { count, intervalMs }: { readonly count: number; readonly intervalMs: number },
): Promise<number[]> {
  const argv = ["ping", "-n", "-c", `${count}`, "-i", `${intervalMs / 1000}`, "-W", "1", destination];
  const { stdout } = await run(argv, { netns, timeoutMs: count * intervalMs + 30_000 });
  return [...stdout.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => 1000 * Number(ms));
}

/** One echo request each 100 ms until one is answered. Throws when none is within `timeoutMs`. */
export async function waitForPing(
  netns: string,
  destination: string,
  timeoutMs = 15_000,
  source?: string,
): Promise<void> {
  const from = source === undefined ? [] : ["-I", source];
  const until = performance.now() + timeoutMs;
  while (performance.now() < until) {
    const once = await run(["ping", "-q", "-c", "1", "-W", "0.1", ...from, destination], { netns });
    if (once.code === 0) return;
  }
  throw new Error(`no echo reply from ${destination} in ${timeoutMs} ms`);
}

/** Starts an iperf3 server that serves until the bed closes. */
export async function iperfServer(bed: Testbed, netns: string, port = 5201): Promise<Program> {
  const server = bed.start("iperf3 server", ["iperf3", "-s", "--forceflush", "-p", `${port}`], { netns });
  await server.waitForLine(/Server listening/);
  return server;
}

export interface TcpResult {
  readonly gbps: number;
  readonly retransmits: number;
}

/** TCP goodput as the receiver saw it. `reverse`: the server sends. */
export async function iperfTcp(
  netns: string,
  server: string,
  options: { seconds: number; streams?: number; reverse?: boolean; omitSeconds?: number },
): Promise<TcpResult> {
  const argv = ["iperf3", "-c", server, "-J", "-t", `${options.seconds}`, "-P", `${options.streams ?? 1}`];
  argv.push("-O", `${options.omitSeconds ?? 0}`, "--connect-timeout", "5000");
  if (options.reverse === true) argv.push("-R");
  return iperf(argv, netns, options.seconds + (options.omitSeconds ?? 0));
}

interface IperfJson {
  readonly error?: string;
  readonly end?: {
    readonly sum_received?: { readonly bits_per_second: number };
    readonly sum_sent?: { readonly retransmits?: number };
  };
}

/**
 * A server that is still closing the last test turns the next client away, or hangs up before the results: up to five
 * tries, 200 ms apart.
 */
async function iperf(argv: readonly string[], netns: string, seconds: number): Promise<TcpResult> {
  for (let attempt = 1; ; attempt += 1) {
    const result = await run(argv, { netns, timeoutMs: (seconds + 20) * 1000 });
    const { error, end } = parse(argv, result);
    const received = end?.sum_received;
    if (error === undefined && received !== undefined) {
      return { gbps: received.bits_per_second / 1e9, retransmits: end?.sum_sent?.retransmits ?? 0 };
    }
    const passing = error === undefined || /busy|control message/.test(error);
    if (attempt === 5 || !passing) throw new Error(`iperf3: ${error ?? "no result"}`);
    await delay(200);
  }
}

function parse(argv: readonly string[], result: RunResult): IperfJson {
  try {
    return JSON.parse(result.stdout) as IperfJson;
  } catch {
    throw new CommandFailed(argv, result);
  }
}
