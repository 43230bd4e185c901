/**
 * `bench -- path`: every way from hA to hB on one network in one run, so that the ratios hold although the absolutes
 * belong to the machine. The runs are interleaved (each goes through all cases) so that a slow minute hits all alike.
 */
import { Testbed } from "../../testbed/testbed.ts";
import { buildTopology, type Topology } from "../../testbed/topology.ts";
import { iperfServer, iperfTcp, roundTrips, waitForPing } from "../../testbed/traffic.ts";
import { udpLimit } from "../../testbed/udp.ts";
import type { BenchReport } from "../main.ts";
import type { BenchOptions } from "../options.ts";
import { markdownTable, median } from "../report.ts";
import { type PathCase, pathCases } from "./cases.ts";

/**
 * One case in one run. TCP in Gb/s of payload, UDP in packets per second, the idle path's median round trip in
 * microseconds; NaN where it was not measured.
 */
interface Sample {
  readonly rtt: number;
  readonly tcp1: number;
  readonly tcp1Reverse: number;
  readonly tcp4: number;
  readonly tcp4Reverse: number;
  readonly udp1300: number;
  readonly udp64: number;
  /** The UDP figures that the sender, not the path, has limited. */
  readonly senderLimited: readonly string[];
}

export interface PathResult extends Sample {
  readonly name: string;
  readonly runs: number;
  /** Why there are no figures. */
  readonly skipped: string | undefined;
}

export async function benchPath(options: BenchOptions): Promise<BenchReport> {
  const cases = pathCases.filter(({ name }) => options.only === undefined || name.includes(options.only));
  if (cases.length === 0) throw new Error(`no case is named like ${options.only}`);
  const samples = new Map<PathCase, Sample[]>(cases.map((each) => [each, []]));
  const skipped = new Map<PathCase, string>();
  for (const each of cases) {
    const why = await each.missing();
    if (why !== undefined) skipped.set(each, why);
  }
  const bed = await Testbed.open();
  try {
    const topology = await buildTopology(bed);
    await iperfServer(bed, topology.b.host);
    for (let run = 1; run <= options.runs; run += 1) {
      for (const each of cases) {
        if (skipped.has(each)) continue;
        process.stderr.write(`  run ${run} of ${options.runs}: ${each.name} ...`);
        const started = performance.now();
        samples.get(each)!.push(await measure(bed, topology, each, options));
        process.stderr.write(` ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
      }
    }
  } finally {
    await bed.close();
  }
  const results = cases.map((each) => summarise(each.name, samples.get(each)!, skipped.get(each)));
  return { data: results, text: render(results, options) };
}

async function measure(
  bed: Testbed,
  topology: Topology,
  each: PathCase,
  options: BenchOptions,
): Promise<Sample> {
  const { a, b } = topology;
  const stop = await each.start(bed, topology);
  try {
    await waitForPing(a.host, b.hostAddress);
    const { seconds } = options;
    const tcp = async (streams: number, reverse: boolean) =>
      (await iperfTcp(a.host, b.hostAddress, { seconds, streams, reverse })).gbps;
    const senderLimited: string[] = [];
    const udp = async (bytes: number) => {
      if (!options.udp) return Number.NaN;
      const path = { from: a.host, to: b.host, address: b.hostAddress, bytes };
      const limit = await udpLimit(bed, path, { ms: 1000, maxLossPercent: 0.1 });
      if (limit.senderLimited) senderLimited.push(`udp${bytes}`);
      return limit.pps;
    };
    return {
      // First: what was just started is still idle, and nothing of a stream is left in a queue.
      rtt: median(await roundTrips(a.host, b.hostAddress, { count: 200, intervalMs: 5 })),
      tcp1: await tcp(1, false),
      tcp1Reverse: await tcp(1, true),
      tcp4: await tcp(4, false),
      tcp4Reverse: await tcp(4, true),
      udp1300: await udp(1300),
      udp64: await udp(64),
      senderLimited,
    };
  } finally {
    await stop();
  }
}

function summarise(name: string, samples: readonly Sample[], skipped: string | undefined): PathResult {
  const of = (pick: (sample: Sample) => number) => median(samples.map(pick));
  return {
    name,
    runs: samples.length,
    skipped,
    rtt: of((s) => s.rtt),
    tcp1: of((s) => s.tcp1),
    tcp1Reverse: of((s) => s.tcp1Reverse),
    tcp4: of((s) => s.tcp4),
    tcp4Reverse: of((s) => s.tcp4Reverse),
    udp1300: of((s) => s.udp1300),
    udp64: of((s) => s.udp64),
    senderLimited: [...new Set(samples.flatMap((s) => s.senderLimited))],
  };
}

/** Absolutes, and beside the first column the ratio to strongSwan: the peer that everyone can measure. */
function render(results: readonly PathResult[], options: BenchOptions): string {
  const base = results.find(({ name }) => name.startsWith("strongSwan"));
  const direct = results.find(({ name }) => name.startsWith("direct"));
  const ratio = (value: number, of: number | undefined) =>
    of === undefined || !Number.isFinite(value / of) ? "" : ` (${(value / of).toFixed(1)}×)`;
  const rows = results.map((r) => {
    if (r.skipped !== undefined) return [`${r.name}: ${r.skipped}`, "", "", "", "", "", "", ""];
    const added = direct === undefined || direct === r ? "" : ` (+${(r.rtt - direct.rtt).toFixed(0)})`;
    const gbps = (value: number, of: number | undefined) => `${value.toFixed(2)}${ratio(value, of)}`;
    const kpps = (value: number, of: number | undefined, key: string) => {
      if (!Number.isFinite(value)) return "–";
      const atLeast = r.senderLimited.includes(key) ? "≥ " : "";
      return `${atLeast}${(value / 1000).toFixed(0)}${ratio(value, of)}`;
    };
    return [
      r.name,
      gbps(r.tcp1, base?.tcp1),
      gbps(r.tcp1Reverse, base?.tcp1Reverse),
      gbps(r.tcp4, base?.tcp4),
      gbps(r.tcp4Reverse, base?.tcp4Reverse),
      kpps(r.udp1300, base?.udp1300, "udp1300"),
      kpps(r.udp64, base?.udp64, "udp64"),
      `${r.rtt.toFixed(0)}${added}`,
    ];
  });
  const titles = ["path", "TCP 1 →", "TCP 1 ←", "TCP 4 →", "TCP 4 ←", "UDP 1300", "UDP 64", "RTT"];
  return [
    markdownTable(titles, rows),
    "",
    `TCP in Gb/s of payload, 1 or 4 streams, hA to hB (→) and back (←), ${options.seconds} s each. UDP in thousand packets`,
    "per second of 1300 and 64 bytes of payload, the highest rate with less than 0.1 % loss; ≥ where the sender is the",
    "limit. The senders and receivers share the machine's cores with both gateways. UDP is sent by our own",
    "`bench/native/udp_stream.cc`: at 64 bytes iperf3, one system call per datagram, is slower than the paths it would",
    "measure. RTT: median of 200 echo requests on the idle path, one each 5 ms, in µs (and what it adds to direct",
    `forwarding). (n×) is the ratio to strongSwan in the same column. Medians of ${options.runs} interleaved runs.`,
  ].join("\n");
}
