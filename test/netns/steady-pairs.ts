/** Two gateways with a tunnel between them, for "traffic never stops": the test here and the soak in test/fuzz. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
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
import { buildTopology, type Topology } from "../../testbed/topology.ts";
import { waitForPing } from "../../testbed/traffic.ts";

type Kind = "culvert" | "strongSwan";

export interface PairOptions extends Omit<SteadyOptions, "rekey"> {
  /** A is culvert unless this says something else. */
  readonly a?: Kind;
  /** What B is. */
  readonly peer: Kind;
  readonly esp: string;
  /** IKEv2 when absent. */
  readonly ikev1?: "main" | "aggressive";
  /** B begins the first IKE SA. */
  readonly bInitiates?: boolean;
  readonly udp?: boolean;
  readonly workers?: number;
  /** More keys of `ipsec` on both sides. */
  readonly ipsec?: Readonly<Record<string, unknown>>;
  /**
   * What to wait for afterwards: until the old SAs are gone (when absent), until everything that lingers is, which takes
   * 10 s, or for nothing.
   */
  readonly until?: "replaced" | "forgotten" | "traffic ended";
}

export interface PairResult extends Steady {
  /** Why packets died, and where, while traffic ran. */
  readonly deaths: Readonly<Record<string, number>>;
  /** Of the lost ones, those that strongSwan's own queues refused: its socket has room for hardly a hundred. */
  readonly lostByPeer: number;
  /** What A made, by its log. */
  readonly made: Made;
  /** Failure records of every culvert, by code. */
  readonly failures: readonly string[];
  /** Collisions that strongSwan found, by its log. */
  readonly collisions: number | undefined;
  /** Afterwards: on each side IKE SAs, CHILD_SAs, and with culvert what is installed. */
  readonly left: readonly { readonly ike: number; readonly children: number; readonly installed?: number }[];
}

interface Made {
  readonly children: number;
  readonly ikeSas: number;
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

/** One of the two gateways, whichever program it is. */
interface Gateway {
  readonly rekey: Rekey;
  readonly freeze: readonly Freeze[];
  readonly culvert?: Culvert;
  readonly strongSwan?: StrongSwan;
  made(): Made;
}

async function run(bed: Testbed, o: PairOptions): Promise<PairResult> {
  const topology = await buildTopology(bed);
  const { a, b } = topology;
  const b1 = await start(bed, topology, "b", o.peer, o);
  const a1 = await start(bed, topology, "a", o.a ?? "culvert", o);
  const both = [a1, b1];
  const culverts = both.flatMap(({ culvert }) => culvert ?? []);
  const strongSwans = both.flatMap(({ strongSwan }) => strongSwan ?? []);
  const first = o.bInitiates ? b1 : a1;
  await first.strongSwan?.initiate();
  await a1.culvert?.waitUp();
  await waitForPing(a.host, b.hostAddress);
  // A pause of the scheduler, on a machine that others use too, must not overflow the queue in front of a gateway.
  for (const { netns } of culverts)
    await must(["ip", "-n", netns, "link", "set", "culvert0", "txqueuelen", "20000"]);
  const before = await deaths(topology, ...culverts);
  const madeBefore = a1.made();
  const rekey = { a: a1.rekey, b: b1.rekey, freeze: both.flatMap(({ freeze }) => freeze) };
  const steady = await steadyTraffic(bed, topology, { ...o, rekey }).catch((error: unknown) => {
    keepLogs(culverts, strongSwans);
    throw error;
  });
  const after = await deaths(topology, ...culverts);
  const made = a1.made();
  if (o.until !== "traffic ended") await settled(culverts, o.until === "forgotten");
  if (steady.toA.lost + steady.toB.lost > 0) keepLogs(culverts, strongSwans);
  const died = Object.entries(after)
    .map(([where, count]) => [where, count - (before[where] ?? 0)] as const)
    .filter(([, count]) => count > 0);
  const queues = [a1.strongSwan && "gA", b1.strongSwan && "gB"].filter((name) => name !== undefined);
  const ofPeer = new RegExp(`^(${queues.join("|")}) (udp|ipsec0)`);
  return {
    ...steady,
    deaths: Object.fromEntries(died),
    lostByPeer: died.reduce(
      (sum, [where, count]) => sum + (queues.length > 0 && ofPeer.test(where) ? count : 0),
      0,
    ),
    made: { children: made.children - madeBefore.children, ikeSas: made.ikeSas - madeBefore.ikeSas },
    collisions: strongSwans
      .map(({ logFile }) => readFileSync(logFile, "utf8").match(/detected \S+ collision/g)?.length ?? 0)
      .at(0),
    failures: culverts.flatMap(({ name, program }) =>
      program.lines
        .filter((line) => line.includes('"connection failed"'))
        .map((line) => `${name}: ${(JSON.parse(line) as { code: string }).code}`),
    ),
    left: [
      ...(await Promise.all(culverts.map(async (c) => sasOf(await c.status())))),
      ...(await Promise.all(strongSwans.map(async (s) => strongSwanSas(await s.sas())))),
    ],
  };
}

async function start(
  bed: Testbed,
  topology: Topology,
  name: "a" | "b",
  kind: Kind,
  o: PairOptions,
): Promise<Gateway> {
  const [own, other] = name === "a" ? [topology.a, topology.b] : [topology.b, topology.a];
  const initiates = (name === "b") === (o.bInitiates === true);
  const ike = o.ikev1 === undefined ? "aes256gcm16-prfsha384-x25519" : "aes256-sha384-ecp256";
  const common = {
    netns: own.gateway,
    localAddress: own.outerAddress,
    remoteAddress: other.outerAddress,
    remoteSubnets: [other.subnet],
    psk: "the same on both ends",
    ikeProposals: [ike],
    espProposals: [o.esp],
    ...(o.ikev1 === undefined ? {} : { ikev1: o.ikev1 }),
  };
  if (kind === "strongSwan") {
    const strongSwan = await StrongSwan.start(bed, {
      ...common,
      name: name === "a" ? "strongswan-a" : "strongswan",
      localId: own.outerAddress,
      remoteId: other.outerAddress,
      localSubnets: [own.subnet],
      // Small, so that what a rekey says travels in fragments.
      fragmentSize: 300,
    });
    const made = () => {
      const log = readFileSync(strongSwan.logFile, "utf8");
      const count = (what: RegExp) => log.match(what)?.length ?? 0;
      return { children: count(/ CHILD_SA \S+ established/g), ikeSas: count(/ IKE_SA \S+ established/g) };
    };
    // Not to be frozen: its socket has room for hardly a hundred datagrams.
    return { strongSwan, made, rekey: rekeyByStrongSwan(strongSwan), freeze: [] };
  }
  const culvert = await Culvert.start(bed, {
    ...common,
    name,
    forceEncapsulation: o.udp ?? true,
    start: initiates ? "immediately" : "passive",
    ...(o.workers === undefined ? {} : { workers: o.workers }),
    ...(o.ipsec === undefined ? {} : { connection: { ipsec: { proposals: [o.esp], ...o.ipsec } } }),
  });
  const made = () => {
    const count = (message: string) => culvert.program.lines.filter((line) => line.includes(message)).length;
    return { children: count('"CHILD_SA rekeyed"'), ikeSas: count('"IKE SA rekeyed"') };
  };
  return { culvert, made, rekey: rekeyByCulvert(culvert), freeze: [culvert.program] };
}

/** Answers are kept for 10 s, inbound SAs linger for 3, a collision is tried again after 10. */
async function settled(culverts: readonly Culvert[], untilForgotten: boolean): Promise<void> {
  for (const until = performance.now() + 60_000; performance.now() < until; await delay(250)) {
    const sas = (await Promise.all(culverts.map((c) => c.status()))).map(sasOf);
    if (sas.every((s) => (s.ike === 1 || !untilForgotten) && s.children === 1 && s.installed === 2)) return;
  }
}

/** A loss is explained by what both sides logged: `build/logs/never-stops-*.log`. */
function keepLogs(culverts: readonly Culvert[], strongSwans: readonly StrongSwan[]): void {
  const folder = join(repository, "build/logs");
  mkdirSync(folder, { recursive: true });
  for (const { name, program } of culverts)
    writeFileSync(join(folder, `never-stops-${name}.log`), program.lines.join("\n"));
  for (const { logFile } of strongSwans)
    copyFileSync(logFile, join(folder, `never-stops-${basename(dirname(logFile))}.log`));
}

function strongSwanSas(list: string): { ike: number; children: number } {
  return {
    ike: list.match(/ESTABLISHED/g)?.length ?? 0,
    children: list.match(/INSTALLED/g)?.length ?? 0,
  };
}
