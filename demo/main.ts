/**
 * `npm run demo`: four network namespaces, two gateways, a tunnel, traffic through it, one screen that shows what
 * happened. Everything it makes goes away with it, also on Ctrl-C; what a kill -9 leaves, the next run removes.
 */
import type { ConnectionStatus } from "../src/gateway/contract.ts";
import { Culvert } from "../testbed/culvert.ts";
import { StrongSwan } from "../testbed/strongswan.ts";
import { Testbed } from "../testbed/testbed.ts";
import { buildTopology, type Topology } from "../testbed/topology.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../testbed/traffic.ts";
import { type DemoOptions, parseOptions, usage } from "./options.ts";
import { type DemoResult, renderScreen } from "./screen.ts";

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === "help") {
    process.stdout.write(usage);
    return 0;
  }
  const bed = await Testbed.open();
  try {
    const result = await runDemo(bed, options);
    if (options.json) {
      const { handshakeMs, ping: pinged, forward, ikeSuite, espSuite, peer } = result;
      const suite = `${ikeSuite} / ${espSuite}`;
      const { lossPercent: pingLossPercent } = pinged;
      const line = { handshakeMs, pingLossPercent, tcpGbps: round(forward.gbps), suite, peer };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    } else {
      process.stdout.write(`\n${renderScreen(result)}\n`);
    }
    return result.ping.lossPercent === 0 ? 0 : 1;
  } finally {
    await bed.close();
  }
}

async function runDemo(bed: Testbed, options: DemoOptions): Promise<DemoResult> {
  say("four network namespaces: hA, gA, gB, hB");
  const topology = await buildTopology(bed);
  const { a, b } = topology;
  const remote = options.peer === "culvert" ? "culvertd" : "strongSwan";
  say(`gateways: culvertd on gA, ${remote} on gB`);
  const site = await startGateways(bed, topology, options);
  say(`handshake, ${options.initiator === "culvert" ? "culvert" : remote} initiates`);
  await site.initiate();
  const connection = await site.local.waitUp();
  await waitForPing(a.host, b.hostAddress, 5_000);
  say("ping");
  const pinged = await ping(a.host, b.hostAddress, { count: 50, intervalMs: 20 });
  await iperfServer(bed, b.host);
  const { seconds } = options;
  say(`TCP hA → hB, ${seconds} s`);
  const forward = await iperfTcp(a.host, b.hostAddress, { seconds });
  say(`TCP hB → hA, ${seconds} s`);
  const reverse = await iperfTcp(a.host, b.hostAddress, { seconds, reverse: true });
  const status = await site.local.status();
  const drops = status.drops.map(({ reason, packets }) => ({ where: "gA", reason, packets }));
  if (site.peer instanceof Culvert) {
    const peerStatus = await site.peer.status();
    drops.push(...peerStatus.drops.map(({ reason, packets }) => ({ where: "gB", reason, packets })));
  }
  const { encapsulation, suite: espSuite } = child(connection);
  return {
    peer: options.peer,
    initiator: options.initiator,
    encapsulation,
    ikeSuite: connection.tunnels[0]?.ike?.suite ?? "",
    espSuite,
    handshakeMs: round(connection.tunnels[0]?.ike?.handshakeMs ?? Number.NaN),
    ping: pinged,
    seconds,
    forward,
    reverse,
    traffic: status.traffic,
    drops,
  };
}

interface Gateways {
  readonly local: Culvert;
  readonly peer: Culvert | StrongSwan;
  readonly initiate: () => Promise<void>;
}

/** The responder first, so that the first message finds it; the initiator starts at once or when told. */
async function startGateways(bed: Testbed, { a, b }: Topology, options: DemoOptions): Promise<Gateways> {
  const culvertFirst = options.initiator === "culvert";
  const common = { psk, ikeProposals, espProposals, forceEncapsulation: options.encapsulation === "udp" };
  const onA = {
    ...common,
    netns: a.gateway,
    name: "site-a",
    localAddress: a.outerAddress,
    remoteAddress: b.outerAddress,
    remoteSubnets: [b.subnet],
    start: "passive",
  } as const;
  const onB = {
    ...common,
    netns: b.gateway,
    name: "site-b",
    localAddress: b.outerAddress,
    remoteAddress: a.outerAddress,
    remoteSubnets: [a.subnet],
  };
  if (options.peer === "culvert") {
    const local = await Culvert.start(bed, onA);
    const peer = await Culvert.start(bed, { ...onB, start: "passive" });
    const starter = culvertFirst ? local : peer;
    return { local, peer, initiate: () => up(starter) };
  }
  const ids = { localId: b.outerAddress, remoteId: a.outerAddress, localSubnets: [b.subnet] };
  const peer = await StrongSwan.start(bed, { ...onB, ...ids });
  const local = await Culvert.start(bed, onA);
  const initiate = async () => {
    if (culvertFirst) return up(local);
    const { code, stdout, stderr } = await peer.initiate();
    if (code !== 0) throw new Error(`strongSwan could not initiate:\n${stdout}${stderr}`);
  };
  return { local, peer, initiate };
}

async function up(culvert: Culvert): Promise<void> {
  const { code, stdout, stderr } = await culvert.cli(["up", "peer"]);
  if (code !== 0) throw new Error(`culvert up:\n${stdout}${stderr}\n${culvert.program.tail()}`);
}

function child(connection: ConnectionStatus): ConnectionStatus["tunnels"][number]["children"][number] {
  const found = connection.tunnels[0]?.children[0];
  if (found === undefined) throw new Error("the connection is up without a CHILD_SA");
  return found;
}

/** Progress goes to stderr: stdout is the screen, or the line of JSON. */
function say(text: string): void {
  process.stderr.write(`  ${text}\n`);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

const psk = "demo: not a secret, both ends are on this host";
const ikeProposals = ["aes256gcm16-prfsha384-x25519"];
const espProposals = ["aes128gcm16-x25519"];

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`\nculvert demo: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);
