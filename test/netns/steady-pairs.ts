/** Two gateways with a tunnel between them, for "traffic never stops": the test here and the soak in test/fuzz. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Culvert, repository } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import {
  deaths,
  type Freeze,
  type Rekey,
  rekeyByCulvert,
  rekeyByStrongSwan,
  type Steady,
  type SteadyOptions,
  sasOf,
  steadyTraffic,
} from "../../testbed/steady.ts";
import { StrongSwan } from "../../testbed/strongswan.ts";
import { Testbed } from "../../testbed/testbed.ts";
import { buildTopology } from "../../testbed/topology.ts";
import { waitForPing } from "../../testbed/traffic.ts";

export interface PairOptions extends Omit<SteadyOptions, "rekey"> {
  readonly peer: "culvert" | "strongSwan";
  readonly esp: string;
  /** Of B: whether the peer of A begins the first IKE SA. */
  readonly bInitiates?: boolean;
  readonly udp?: boolean;
  readonly workers?: number;
  /** More keys of \`ipsec\` on both sides. */
  readonly ipsec?: Readonly<Record<string, unknown>>;
  /** Wait until everything that lingers is gone, which takes 10 s; otherwise only until the old SAs are. */
  readonly untilForgotten?: boolean;
}

export interface PairResult extends Steady {
  /** Why packets died, and where, while traffic ran. */
  readonly deaths: Readonly<Record<string, number>>;
  /** Of the lost ones, those that strongSwan's own queues refused: its socket has room for hardly a hundred. */
  readonly lostByPeer: number;
  /** What A made, by its log. */
  readonly made: { readonly children: number; readonly ikeSas: number };
  /** Failure records of every culvert, by code. */
  readonly failures: readonly string[];
  /** Collisions that strongSwan found, by its log. */
  readonly collisions: number | undefined;
  /** Afterwards: on each side IKE SAs, CHILD_SAs, and with culvert what is installed. */
  readonly left: readonly { readonly ike: number; readonly children: number; readonly installed?: number }[];
}

/** Builds the pair in a bed of its own, runs the traffic, lets it settle, and tells what happened. */
export async function steadyPair(o: PairOptions): Promise<PairResult> {
  const bed = await Testbed.open();
  try {
    return await run(bed, o);
  } finally {
    await bed.close();
  }
}

async function run(bed: Testbed, o: PairOptions): Promise<PairResult> {
  const topology = await buildTopology(bed);
  const { a, b } = topology;
  const culvert = (name: "a" | "b", start: "immediately" | "passive") => {
    const [own, other] = name === "a" ? [a, b] : [b, a];
    return Culvert.start(bed, {
      netns: own.gateway,
      name,
      localAddress: own.outerAddress,
      remoteAddress: other.outerAddress,
      remoteSubnets: [other.subnet],
      psk: "the same on both ends",
      ikeProposals: ["aes256gcm16-prfsha384-x25519"],
      espProposals: [o.esp],
      forceEncapsulation: o.udp ?? true,
      start,
      ...(o.workers === undefined ? {} : { workers: o.workers }),
      ...(o.ipsec === undefined ? {} : { connection: { ipsec: { proposals: [o.esp], ...o.ipsec } } }),
    });
  };
  const culverts: Culvert[] = [];
  let rekeyB: Rekey;
  let freezeB: readonly Freeze[] = [];
  let peer: StrongSwan | undefined;
  if (o.peer === "culvert") {
    culverts.push(await culvert("b", o.bInitiates ? "immediately" : "passive"));
    rekeyB = rekeyByCulvert(culverts[0]!);
    freezeB = [culverts[0]!.program];
  } else {
    peer = await StrongSwan.start(bed, {
      netns: b.gateway,
      name: "strongswan",
      localAddress: b.outerAddress,
      remoteAddress: a.outerAddress,
      localId: b.outerAddress,
      remoteId: a.outerAddress,
      localSubnets: [b.subnet],
      remoteSubnets: [a.subnet],
      psk: "the same on both ends",
      ikeProposals: ["aes256gcm16-prfsha384-x25519"],
      espProposals: [o.esp],
      // Small, so that what a rekey says travels in fragments.
      fragmentSize: 300,
    });
    rekeyB = rekeyByStrongSwan(peer);
    // Not charon: its socket has room for hardly a hundred datagrams.
  }
  culverts.unshift(await culvert("a", o.bInitiates ? "passive" : "immediately"));
  const [left] = culverts;
  if (peer && o.bInitiates) await peer.initiate();
  await left!.waitUp();
  await waitForPing(a.host, b.hostAddress);
  // A pause of the scheduler, on a machine that others use too, must not overflow the queue in front of a gateway.
  for (const { netns } of culverts)
    await must(["ip", "-n", netns, "link", "set", "culvert0", "txqueuelen", "20000"]);
  const before = await deaths(topology, ...culverts);
  const made = () => {
    const count = (message: string) => left!.program.lines.filter((line) => line.includes(message)).length;
    return { children: count('"CHILD_SA rekeyed"'), ikeSas: count('"IKE SA rekeyed"') };
  };
  const rekey = { a: rekeyByCulvert(left!), b: rekeyB, freeze: [left!.program, ...freezeB] };
  const steady = await steadyTraffic(bed, topology, { ...o, rekey }).catch((error: unknown) => {
    keepLogs(culverts, peer);
    throw error;
  });
  const after = await deaths(topology, ...culverts);
  const rekeyed = made();
  await settled(culverts, o.untilForgotten === true);
  if (steady.toA.lost + steady.toB.lost > 0) keepLogs(culverts, peer);
  const died = Object.entries(after)
    .map(([where, count]) => [where, count - (before[where] ?? 0)] as const)
    .filter(([, count]) => count > 0);
  return {
    ...steady,
    deaths: Object.fromEntries(died),
    lostByPeer: peer
      ? died.reduce((sum, [where, count]) => sum + (/^gB (udp|ipsec0)/.test(where) ? count : 0), 0)
      : 0,
    made: rekeyed,
    collisions: peer && readFileSync(peer.logFile, "utf8").match(/detected \S+ collision/g)?.length,
    failures: culverts.flatMap(({ name, program }) =>
      program.lines
        .filter((line) => line.includes('"connection failed"'))
        .map((line) => `${name}: ${(JSON.parse(line) as { code: string }).code}`),
    ),
    left: [
      ...(await Promise.all(culverts.map(async (c) => sasOf(await c.status())))),
      ...(peer ? [strongSwanSas(await peer.sas())] : []),
    ],
  };
}

/** Answers are kept for 10 s, inbound SAs linger for 3, a collision is tried again after 10. */
async function settled(culverts: readonly Culvert[], untilForgotten: boolean): Promise<void> {
  for (const until = performance.now() + 60_000; performance.now() < until; await delay(250)) {
    const sas = (await Promise.all(culverts.map((c) => c.status()))).map(sasOf);
    if (sas.every((s) => (s.ike === 1 || !untilForgotten) && s.children === 1 && s.installed === 2)) return;
  }
}

/** A loss is explained by what both sides logged: `build/logs/never-stops-*.log`. */
function keepLogs(culverts: readonly Culvert[], peer: StrongSwan | undefined): void {
  const folder = join(repository, "build/logs");
  mkdirSync(folder, { recursive: true });
  for (const { name, program } of culverts)
    writeFileSync(join(folder, `never-stops-${name}.log`), program.lines.join("\n"));
  if (peer) copyFileSync(peer.logFile, join(folder, "never-stops-strongswan.log"));
}

function strongSwanSas(list: string): { ike: number; children: number } {
  return {
    ike: list.match(/ESTABLISHED/g)?.length ?? 0,
    children: list.match(/INSTALLED/g)?.length ?? 0,
  };
}
