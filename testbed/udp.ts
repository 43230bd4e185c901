/** UDP at a chosen rate between two namespaces, and the search for the highest rate that arrives. */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./culvert.ts";
import { delay, must } from "./exec.ts";
import type { Testbed } from "./testbed.ts";

export interface UdpTrial {
  readonly sent: number;
  readonly received: number;
  /** Packets per second that the sender really reached. */
  readonly pps: number;
  readonly lossPercent: number;
}

export interface UdpPath {
  readonly from: string;
  readonly to: string;
  readonly address: string;
  /** UDP payload. */
  readonly bytes: number;
}

/** Sends at `pps` for `ms` and counts what arrives. */
export async function udpTrial(bed: Testbed, path: UdpPath, pps: number, ms: number): Promise<UdpTrial> {
  const tool = await builtTool();
  const sink = bed.start("udp sink", [tool, "receive", "5999", `${path.bytes}`], { netns: path.to });
  await sink.waitForLine(/^ready$/);
  const argv = [tool, "send", path.address, "5999", `${path.bytes}`, `${Math.round(pps)}`, `${ms}`];
  const sender = JSON.parse(await must(argv, { netns: path.from })) as { sent: number; seconds: number };
  // What is still in queues may arrive.
  await delay(150);
  await sink.stop();
  const { received } = JSON.parse(sink.lines.at(-1) ?? "{}") as { received: number };
  const lossPercent = sender.sent === 0 ? 100 : (100 * (sender.sent - received)) / sender.sent;
  return { sent: sender.sent, received, pps: sender.sent / sender.seconds, lossPercent };
}

export interface UdpStream {
  readonly sent: number;
  /** Different datagrams that arrived; what is missing to `sent` was lost. */
  readonly distinct: number;
  /** Arrived behind one that was sent later, or twice. */
  readonly late: number;
  readonly lost: number;
  /** Where numbers were missing when a later one came, even if they came late: the first 64. */
  readonly gaps: readonly { readonly first: number; readonly count: number; readonly atMs: number }[];
}

/** Sends numbered datagrams at `pps` for `ms`, and accounts for each of them. Streams of one bed need their own ports. */
export async function udpStream(
  bed: Testbed,
  path: UdpPath & { readonly port: number },
  pps: number,
  ms: number,
): Promise<UdpStream> {
  const tool = await builtTool();
  const port = `${path.port}`;
  const sink = bed.start(`udp sink ${port}`, [tool, "receive", port, `${path.bytes}`], { netns: path.to });
  await sink.waitForLine(/^ready$/);
  const argv = [tool, "send", path.address, port, `${path.bytes}`, `${pps}`, `${ms}`];
  const { sent } = JSON.parse(await must(argv, { netns: path.from, timeoutMs: ms + 60_000 })) as {
    sent: number;
  };
  // What is still in queues may arrive.
  await delay(500);
  await sink.stop();
  const { distinct, late, gaps } = JSON.parse(sink.lines.at(-1) ?? "{}") as {
    distinct: number;
    late: number;
    gaps: [number, number, number][];
  };
  const named = gaps.map(([first, count, atMs]) => ({ first, count, atMs }));
  return { sent, distinct, late, lost: sent - distinct, gaps: named };
}

export interface UdpLimit {
  /** Highest rate seen with less loss than the limit, packets per second. */
  readonly pps: number;
  /** True when nothing was lost at the highest rate that the sender reaches: the path can do more than this says. */
  readonly senderLimited: boolean;
}

/**
 * Bisects for the highest rate with less than `maxLossPercent` loss, to within a tenth. A rate that fails is
 * tried twice more: on a shared machine one pause of a scheduler loses a burst at any rate.
 */
export async function udpLimit(
  bed: Testbed,
  path: UdpPath,
  options: { readonly ms: number; readonly maxLossPercent: number },
): Promise<UdpLimit> {
  let good = 0;
  const passes = async (pps: number): Promise<"yes" | "no" | "sender"> => {
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const trial = await udpTrial(bed, path, pps, options.ms);
      if (trial.lossPercent >= options.maxLossPercent) continue;
      good = Math.max(good, trial.pps);
      return trial.pps < 0.95 * pps ? "sender" : "yes";
    }
    return "no";
  };
  let low = 0;
  let high = 20_000;
  for (; ; high *= 2) {
    const verdict = await passes(high);
    if (verdict === "sender") return { pps: good, senderLimited: true };
    if (verdict === "no") break;
    low = high;
  }
  while (high - low > 0.1 * high && high > 500) {
    const middle = (low + high) / 2;
    const verdict = await passes(middle);
    if (verdict === "sender") return { pps: good, senderLimited: true };
    if (verdict === "yes") low = middle;
    else high = middle;
  }
  return { pps: good, senderLimited: false };
}

let tool: Promise<string> | undefined;

function builtTool(): Promise<string> {
  tool ??= buildTool();
  return tool;
}

/** Compiles bench/native/udp_stream.cc when it is newer than the last build. */
async function buildTool(): Promise<string> {
  const source = join(repository, "bench/native/udp_stream.cc");
  const tool = join(repository, "build/bench/udp_stream");
  if (existsSync(tool) && statSync(tool).mtimeMs > statSync(source).mtimeMs) return tool;
  mkdirSync(join(tool, ".."), { recursive: true });
  await must(["g++", "-std=c++20", "-O2", "-o", tool, source]);
  return tool;
}
