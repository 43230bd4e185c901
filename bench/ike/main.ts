/**
 * `bench -- ike`: full handshakes per second, per group. Two IKE endpoints in one process hand their datagrams to each
 * other: IKE_SA_INIT and IKE_AUTH with PSK and one CHILD_SA, fresh key pairs on both sides, then both are closed. One
 * core does the work of both ends; no sockets, no waiting. What a gateway alone can do is about twice the figure.
 */

import type { BenchReport } from "../main.ts";
import type { BenchOptions } from "../options.ts";
import { markdownTable, median } from "../report.ts";
import { type Handshake, handshakes } from "./pair.ts";

export interface IkeResult {
  readonly group: string;
  readonly proposal: string;
  readonly handshakesPerSecond: number;
}

export async function benchIke(options: BenchOptions): Promise<BenchReport> {
  const wanted = groups.filter((group) => options.only === undefined || group.includes(options.only));
  if (wanted.length === 0) throw new Error(`no group is named like ${options.only}: ${groups.join(" ")}`);
  const rates = new Map<string, number[]>(wanted.map((group) => [group, []]));
  for (let run = 1; run <= options.runs; run += 1) {
    for (const group of wanted) {
      process.stderr.write(`  run ${run} of ${options.runs}: ${group}\n`);
      rates.get(group)!.push(rateOf(handshakes(proposalWith(group)), options.seconds));
    }
  }
  const results: IkeResult[] = wanted.map((group) => ({
    group,
    proposal: proposalWith(group),
    handshakesPerSecond: median(rates.get(group)!),
  }));
  const base = results.find(({ group }) => group === "x25519")?.handshakesPerSecond;
  const rows = results.map(({ group, proposal, handshakesPerSecond: rate }) => [
    group,
    proposal,
    rate.toFixed(rate < 100 ? 1 : 0),
    (1000 / rate).toFixed(2),
    base === undefined ? "–" : (rate / base).toFixed(2),
  ]);
  const text = [
    markdownTable(["group", "proposal", "handshakes/s", "ms each", "× x25519"], rows),
    "",
    "Both ends of IKE_SA_INIT and IKE_AUTH (PSK, one CHILD_SA) on one core in one process, without I/O; a gateway does",
    `one end. Medians of ${options.runs} interleaved runs of ${options.seconds} s each.`,
  ].join("\n");
  return { data: results, text };
}

/** Handshakes per second over `seconds`, after as many uncounted ones as warm the compiler up. */
function rateOf(handshake: Handshake, seconds: number): number {
  const warmUntil = performance.now() + 300;
  while (performance.now() < warmUntil) handshake();
  const started = performance.now();
  const until = started + seconds * 1000;
  let count = 0;
  while (performance.now() < until) {
    handshake();
    count += 1;
  }
  return (1000 * count) / (performance.now() - started);
}

const proposalWith = (group: string) => `aes256gcm16-prfsha384-${group}`;
const groups = [
  "x25519",
  "ecp256",
  "ecp384",
  "ecp521",
  "modp1024",
  "modp1536",
  "modp2048",
  "modp3072",
  "modp4096",
];
