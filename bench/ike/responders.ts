/**
 * The CPU time of a responder per handshake: strongSwan initiates IKE_SA_INIT, IKE_AUTH with PSK and one CHILD_SA, and
 * deletes, over and over, first with culvertd and then with another strongSwan as responder.
 *
 *     c ──────── i ──────── s          culvertd, the initiator, strongSwan
 *
 * Both responders hold every group in one configuration and run for the whole measurement; a batch with each is
 * uncounted, so that start-up and just-in-time compilation are, too.
 */
import { Culvert } from "../../testbed/culvert.ts";
import { must } from "../../testbed/exec.ts";
import { StrongSwan, strongSwanMissing } from "../../testbed/strongswan.ts";
import { Testbed } from "../../testbed/testbed.ts";
import { Vici } from "../../testbed/vici.ts";
import { median } from "../report.ts";
import { cpuSeconds } from "./process.ts";

export interface ResponderResult {
  readonly group: string;
  /** Milliseconds of CPU per handshake. */
  readonly culvertMs: number;
  readonly strongSwanMs: number;
}

export interface ResponderOptions {
  readonly groups: readonly string[];
  readonly runs: number;
  /** Handshakes of one measurement. */
  readonly handshakes: number;
}

/** Undefined, with the reason on stderr, where strongSwan is not installed. */
export async function compareResponders(options: ResponderOptions): Promise<ResponderResult[] | undefined> {
  if (strongSwanMissing()) {
    process.stderr.write("  strongSwan is not installed: no comparison with it\n");
    return undefined;
  }
  const bed = await Testbed.open();
  try {
    return await compare(bed, options);
  } finally {
    await bed.close();
  }
}

async function compare(bed: Testbed, options: ResponderOptions): Promise<ResponderResult[]> {
  const { groups, runs, handshakes } = options;
  const network = await threeInARow(bed);
  const ikeProposals = groups.map(proposalWith);
  const culvert = await Culvert.start(bed, {
    ...{ netns: network.c, name: "c", localAddress: "192.0.2.2", remoteAddress: "192.0.2.1" },
    ...{ localId: ids.responder, remoteId: ids.initiator, psk, remoteSubnets: ["10.1.0.0/16"] },
    ...{ localSubnets: ["10.2.0.0/16"], ikeProposals, espProposals: [esp], start: "passive", workers: 1 },
    forceEncapsulation: true,
  });
  const common = { psk, ikeProposals, espProposals: [esp], logLevel: 0 };
  const peer = await StrongSwan.start(bed, {
    ...{
      ...common,
      netns: network.s,
      name: "s",
      localAddress: "198.51.100.2",
      remoteAddress: "198.51.100.1",
    },
    ...{ localId: ids.responder, remoteId: ids.initiator },
    ...{ localSubnets: ["10.2.0.0/16"], remoteSubnets: ["10.1.0.0/16"] },
  });
  const initiator = await StrongSwan.start(bed, {
    ...{ ...common, netns: network.i, name: "i", localAddress: "192.0.2.1", remoteAddress: "192.0.2.2" },
    ...{ localId: ids.initiator, remoteId: ids.responder },
    ...{ localSubnets: ["10.1.0.0/16"], remoteSubnets: ["10.2.0.0/16"] },
  });
  const vici = await Vici.connect(initiator.viciSocket);
  for (const group of groups)
    for (const responder of responders) await loadConnection(vici, group, responder);

  const pids = { culvert: culvert.program.pid, strongswan: peer.program.pid };
  const figures = new Map(groups.map((group) => [group, { culvert: [], strongswan: [] } as Figures]));
  for (const responder of responders) {
    process.stderr.write(`  warming up ${responder}\n`);
    for (const group of groups) await shake(vici, group, responder, Math.ceil(warmUp / groups.length));
  }
  for (let run = 1; run <= runs; run += 1) {
    for (const group of groups) {
      process.stderr.write(`  run ${run} of ${runs}: ${group}\n`);
      for (const responder of responders) {
        const before = cpuSeconds(pids[responder]);
        await shake(vici, group, responder, handshakes);
        const used = cpuSeconds(pids[responder]) - before;
        figures.get(group)![responder].push((1000 * used) / handshakes);
      }
    }
  }
  vici.close();
  return groups.map((group) => ({
    group,
    culvertMs: median(figures.get(group)!.culvert),
    strongSwanMs: median(figures.get(group)!.strongswan),
  }));
}

/** Handshakes with each responder: after so many, just-in-time compilation has had its say. */
const warmUp = 6000;

type Responder = (typeof responders)[number];
type Figures = Record<Responder, number[]>;

async function shake(vici: Vici, group: string, responder: Responder, count: number): Promise<void> {
  const name = connectionOf(group, responder);
  for (let i = 0; i < count; i += 1) {
    await vici.ask("initiate", { ike: name, child: name, timeout: "10000" });
    await vici.ask("terminate", { ike: name, timeout: "10000" });
  }
}

async function loadConnection(vici: Vici, group: string, responder: Responder): Promise<void> {
  const net = responder === "culvert" ? "192.0.2" : "198.51.100";
  const name = connectionOf(group, responder);
  await vici.ask("load-conn", {
    [name]: {
      ...{ version: "2", mobike: "no", encap: "yes", proposals: [proposalWith(group)] },
      ...{ local_addrs: [`${net}.1`], remote_addrs: [`${net}.2`] },
      local: { auth: "psk", id: ids.initiator },
      remote: { auth: "psk", id: ids.responder },
      children: {
        [name]: { local_ts: ["10.1.0.0/16"], remote_ts: ["10.2.0.0/16"], esp_proposals: [esp] },
      },
    },
  });
}

async function threeInARow(bed: Testbed): Promise<{ c: string; i: string; s: string }> {
  const c = await bed.namespace("c");
  const i = await bed.namespace("i");
  const s = await bed.namespace("s");
  for (const [netns, net, device] of [
    [c, "192.0.2", "toC"],
    [s, "198.51.100", "toS"],
  ] as const) {
    await must(["ip", "-n", i, "link", "add", device, "type", "veth", "peer", "name", "wan", "netns", netns]);
    await must(["ip", "-n", i, "address", "add", `${net}.1/24`, "dev", device]);
    await must(["ip", "-n", i, "link", "set", device, "up"]);
    await must(["ip", "-n", netns, "address", "add", `${net}.2/24`, "dev", "wan"]);
    await must(["ip", "-n", netns, "link", "set", "wan", "up"]);
  }
  // libipsec makes a route for each CHILD_SA, and that needs an address inside the local selector.
  await must(["ip", "-n", i, "address", "add", "10.1.0.1/32", "dev", "lo"]);
  await must(["ip", "-n", s, "address", "add", "10.2.0.1/32", "dev", "lo"]);
  return { c, i, s };
}

const connectionOf = (group: string, responder: Responder) => `${responder}-${group}`;
const proposalWith = (group: string) => `aes256gcm16-prfsha384-${group}`;
const responders = ["culvert", "strongswan"] as const;
const ids = { initiator: "initiator.example", responder: "responder.example" };
const psk = "a benchmark's";
const esp = "aes128gcm16";
