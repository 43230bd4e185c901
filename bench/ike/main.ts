/**
 * `bench -- ike`, in three parts: the CPU time per handshake as responder, beside strongSwan (`responders.ts`); many
 * tunnels in one process (`scale.ts`); and full handshakes per second without I/O, which follows.
 *
 * Two IKE endpoints in one process hand their datagrams to each
 * other: IKE_SA_INIT and IKE_AUTH with PSK and one CHILD_SA, fresh key pairs on both sides, then both are closed. One
 * core does the work of both ends; no sockets, no waiting. What a gateway alone can do is about twice the figure.
 */

import type { BenchReport } from "../main.ts";
import type { BenchOptions } from "../options.ts";
import { markdownTable, median } from "../report.ts";
import { type Handshake, handshakes } from "./pair.ts";
import { compareResponders, type ResponderResult } from "./responders.ts";
import { benchScale, type ScaleResult, type ScaleSide } from "./scale.ts";

export interface IkeResult {
  readonly group: string;
  readonly proposal: string;
  readonly handshakesPerSecond: number;
}

/** `--only` takes a part's name (`responder`, `scale`, `rate`) or a group's. */
export async function benchIke(options: BenchOptions): Promise<BenchReport> {
  const { only } = options;
  const part = (name: string) => only === undefined || only === name || !parts.includes(only);
  const groupOptions = only !== undefined && parts.includes(only) ? { ...options, only: undefined } : options;
  const wanted = groups.filter(
    (group) => groupOptions.only === undefined || group.includes(groupOptions.only),
  );
  if (wanted.length === 0)
    throw new Error(`no part or group is named ${only}: ${[...parts, ...groups].join(" ")}`);
  const responders = part("responder")
    ? await compareResponders({
        groups: wanted,
        runs: options.runs,
        handshakes: handshakesPerSecond * options.seconds,
      })
    : undefined;
  const scale =
    part("scale") && groupOptions.only === undefined
      ? await benchScale({ tunnels: options.tunnels, idleSeconds })
      : undefined;
  const rates = part("rate") ? await benchRates(groupOptions) : undefined;
  const texts = [
    ...(responders ? [respondersText(responders, options)] : []),
    ...(scale ? [scaleText(scale)] : []),
    ...(rates ? [rates.text] : []),
  ];
  return { data: { responders, scale, rates: rates?.data }, text: texts.join("\n\n") };
}

function respondersText(results: readonly ResponderResult[], { runs, seconds }: BenchOptions): string {
  const rows = results.map(({ group, culvertMs, strongSwanMs }) => [
    group,
    culvertMs.toFixed(2),
    strongSwanMs.toFixed(2),
    (culvertMs / strongSwanMs).toFixed(2),
  ]);
  return [
    "### The responder's CPU time",
    "",
    markdownTable(["group", "culvert, ms", "strongSwan, ms", "culvert ÷ strongSwan"], rows),
    "",
    "CPU time of the whole process, user and kernel, per handshake as responder: strongSwan 5.9 initiates IKE_SA_INIT,",
    "IKE_AUTH with PSK and one CHILD_SA (aes256gcm16-prfsha384, aes128gcm16, ESP in user space on both), and deletes.",
    `One after the other, ${handshakesPerSecond * seconds} per measurement, medians of ${runs} interleaved runs, after a warm-up. culvertd`,
    "logs at its default level, strongSwan at its lowest but one (SA up, SA down).",
  ].join("\n");
}

function scaleText(result: ScaleResult): string {
  const { tunnels, startSeconds, upSeconds, emptyBytes, initiator, responder, responderDrops } = result;
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
  const row = (title: string, cell: (side: ScaleSide) => string) => [title, cell(initiator), cell(responder)];
  return [
    `### ${tunnels} tunnels in one process`,
    "",
    markdownTable(
      ["", "initiator", "responder"],
      [
        row("memory of the process ÷ tunnels, KiB", (side) => (side.totalBytes / tunnels / 1024).toFixed(1)),
        row("growth per tunnel, KiB", (side) => (side.bytesPerTunnel / 1024).toFixed(1)),
        row("CPU to bring one up, ms", (side) => side.upMsPerTunnel.toFixed(2)),
        row("CPU with liveness checks only, of one core", (side) => percent(side.idleCpu)),
      ],
    ),
    "",
    `All up ${upSeconds.toFixed(0)} s after the initiator's start, its ${startSeconds.toFixed(0)} s of reading the configuration included; each side is one`,
    `culvertd with ${tunnels} connections, the responder's with peers at any address. Growth is resident memory beyond`,
    `the ${(emptyBytes / 2 ** 20).toFixed(0)} MiB of a gateway that has read its configuration, garbage collected. Liveness checks every 10 s (the default).`,
    `Datagrams that the responder dropped: ${JSON.stringify(responderDrops)}.`,
  ].join("\n");
}

async function benchRates(options: BenchOptions): Promise<BenchReport> {
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
    "### Handshakes per second, without I/O",
    "",
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
const parts = ["responder", "scale", "rate"];
/** Of one measurement, per `--seconds`: what both responders manage in about a second. */
const handshakesPerSecond = 100;
const idleSeconds = 20;
const groups = [
  "x25519",
  "ecp256",
  "ecp384",
  "ecp521",
  "modp1024",
  "modp1536",
  "modp2048",
  "modp2048s256",
  "modp3072",
  "modp4096",
];
