/**
 * Many tunnels in one process: two culvertd, joined by a cable, with thousands of connections between them, all of
 * which one side starts at once. The other side accepts peers from any address and knows them by their identities:
 * its harder case.
 */
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { Testbed } from "../../testbed/testbed.ts";
import { cpuSeconds, residentBytes } from "./process.ts";

export interface ScaleResult {
  readonly tunnels: number;
  /** From the start of a gateway with that configuration to its first answer. */
  readonly startSeconds: number;
  /** From the start of the initiator to the last tunnel's being up on both sides. */
  readonly upSeconds: number;
  /** Resident memory with the configuration read and no tunnel. */
  readonly emptyBytes: number;
  readonly initiator: ScaleSide;
  readonly responder: ScaleSide;
  /** By reason; first messages that found the door closed would show. */
  readonly responderDrops: Readonly<Record<string, number>>;
}

export interface ScaleSide {
  /**
   * Resident memory of the process with all of them, configuration included; and its growth since there were none,
   * both after the garbage was collected.
   */
  readonly totalBytes: number;
  readonly bytesPerTunnel: number;
  /** CPU of bringing all up, in ms per tunnel. */
  readonly upMsPerTunnel: number;
  /** Share of one CPU while nothing happens but liveness checks. */
  readonly idleCpu: number;
}

export interface ScaleOptions {
  readonly tunnels: number;
  /** How long the idle cost is measured. */
  readonly idleSeconds: number;
}

export async function benchScale(options: ScaleOptions): Promise<ScaleResult> {
  const bed = await Testbed.open();
  try {
    return await measure(bed, options);
  } finally {
    await bed.close();
  }
}

async function measure(bed: Testbed, { tunnels, idleSeconds }: ScaleOptions): Promise<ScaleResult> {
  const a = await bed.namespace("a");
  const b = await bed.namespace("b");
  await must(["ip", "-n", a, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", b]);
  for (const [netns, role] of [
    [a, "initiator"],
    [b, "responder"],
  ] as const) {
    await must(["ip", "-n", netns, "address", "add", `${addresses[role]}/24`, "dev", "wan"]);
    await must(["ip", "-n", netns, "link", "set", "wan", "up"]);
  }
  const readingAt = performance.now();
  const responder = await gateway(bed, b, "responder", tunnels);
  const startSeconds = (performance.now() - readingAt) / 1000;
  const empty = await lean(responder);
  const startedAt = monotonicMs();
  const initiator = await gateway(bed, a, "initiator", tunnels);
  const upSeconds = Math.max(
    await allUp(initiator, tunnels, startedAt),
    await allUp(responder, tunnels, startedAt),
  );
  const busy = { initiator: usage(initiator), responder: usage(responder) };
  await delay(settleMs);
  const before = { initiator: usage(initiator), responder: usage(responder) };
  await delay(1000 * idleSeconds);
  const after = { initiator: usage(initiator), responder: usage(responder) };
  const full = { initiator: await lean(initiator), responder: await lean(responder) };
  const side = (name: "initiator" | "responder"): ScaleSide => ({
    totalBytes: after[name].bytes,
    bytesPerTunnel: (full[name].bytes - empty.bytes) / tunnels,
    upMsPerTunnel: (1000 * (busy[name].cpu - empty.cpu)) / tunnels,
    idleCpu: (after[name].cpu - before[name].cpu) / idleSeconds,
  });
  const { gateway: state } = await responder.status();
  return {
    ...{ tunnels, startSeconds, upSeconds, emptyBytes: empty.bytes },
    initiator: side("initiator"),
    responder: side("responder"),
    responderDrops: Object.fromEntries(Object.entries(state.ike.drops).filter(([, count]) => count > 0)),
  };
}

function gateway(bed: Testbed, netns: string, role: Role, tunnels: number): Promise<Culvert> {
  return Culvert.start(bed, {
    ...{
      netns,
      name: role,
      localAddress: addresses[role],
      remoteAddress: "any",
      psk: "shared by ten thousand",
    },
    ...{ remoteSubnets: [], logLevel: "warn", file: configuration(role, tunnels), startMs: limitMs },
    nodeArguments: collectOnSignal,
  });
}

function configuration(role: Role, tunnels: number): Record<string, unknown> {
  const other = role === "initiator" ? "responder" : "initiator";
  const names = Array.from({ length: tunnels }, (_, i) => `c${i}`);
  const prefix = (i: number) => `10.${role === "initiator" ? 128 : 0}.${i >> 8}.${i & 255}/32`;
  const connection = (name: string) => ({
    ...{ customerGateway: "peer", psk: { file: "psk" }, routing: "destination" },
    start: role === "initiator" ? "immediately" : "passive",
    ike: {
      proposals: [ikeProposal],
      localId: `${name}.${role}.example`,
      remoteId: `${name}.${other}.example`,
    },
    ipsec: { proposals: [espProposal] },
  });
  return {
    gateway: { name: role, addresses: [addresses[role]], workers: 1 },
    customerGateways: { peer: { address: role === "initiator" ? addresses.responder : "any" } },
    connections: Object.fromEntries(names.map((name) => [name, connection(name)])),
    routes: {
      destination: names.map((name, i) => ({ destination: prefix(i), connection: name, publish: false })),
    },
  };
}

/**
 * Waits until all are up, and says when the last one was, in seconds after `startedAt`: the gateway's own clock tells,
 * which is that of this process too. How often it was asked would only blur it.
 */
async function allUp(culvert: Culvert, tunnels: number, startedAt: number): Promise<number> {
  const until = startedAt + limitMs;
  for (;;) {
    const askedAt = monotonicMs();
    const { gateway: state } = await culvert.status();
    const standing = state.connections.filter((connection) => connection.state === "up");
    process.stderr.write(`  ${culvert.name}: ${standing.length} of ${tunnels} up\n`);
    if (standing.length === tunnels)
      return (standing.reduce((last, { sinceMs }) => Math.max(last, sinceMs), 0) - startedAt) / 1000;
    if (monotonicMs() > until)
      throw new Error(`${standing.length} of ${tunnels} tunnels are up:\n${culvert.program.tail()}`);
    // Asking for the state of all connections costs the gateway time, but less than the answer took to come.
    await delay(Math.min(Math.max(pollMs, 20 * (monotonicMs() - askedAt)), maxPollMs));
  }
}

/** After its garbage is collected: what remains is in use. */
async function lean(culvert: Culvert): Promise<ReturnType<typeof usage>> {
  process.kill(culvert.program.pid, "SIGUSR2");
  await delay(collectMs);
  return usage(culvert);
}

/** Garbage of reading the configuration, or of the bring-up, is no tunnel's memory. */
const collectOnSignal = [
  "--expose-gc",
  ...["--import", "data:text/javascript,process.on('SIGUSR2',()=>{gc();setTimeout(gc,500)})"],
];

/** CLOCK_MONOTONIC, as culvertd reads it. */
const monotonicMs = () => Number(process.hrtime.bigint() / 1000n) / 1000;

const usage = ({ program: { pid } }: Culvert) => ({ cpu: cpuSeconds(pid), bytes: residentBytes(pid) });

type Role = keyof typeof addresses;
const addresses = { initiator: "192.0.2.1", responder: "192.0.2.2" };
const ikeProposal = "aes256gcm16-prfsha384-x25519";
const espProposal = "aes128gcm16";
const limitMs = 600_000;
const pollMs = 1000;
const maxPollMs = 5000;
/** Two collections and what they give back to the system. */
const collectMs = 3000;
/** Until what the bring-up has left behind, replaced timers and garbage, is gone. */
const settleMs = 15_000;
