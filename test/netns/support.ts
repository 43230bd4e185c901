/** What every test in this folder needs: a bed that closes itself, and one honest way to be skipped. */
import { afterEach, describe } from "vitest";
import type { CulvertOptions } from "../../testbed/culvert.ts";
import { run } from "../../testbed/exec.ts";
import {
  StrongSwan,
  type StrongSwanOptions,
  strongSwan6Root,
  strongSwanMissing,
} from "../../testbed/strongswan.ts";
import { obstacleToNamespaces, Testbed } from "../../testbed/testbed.ts";
import { buildTopology, type Site, type Topology, type TopologyOptions } from "../../testbed/topology.ts";

type Need = "strongswan" | "strongswan6" | "tshark" | "scapy" | "ike-scan";

/**
 * `describe` for tests that build networks. Where that is impossible all of them are skipped, and the reason is
 * printed. A missing build is a failure, not a reason.
 */
export function describeInNamespaces(title: string, needs: readonly Need[], body: () => void): void {
  const reason = obstacle ?? needs.map((need) => missing[need]).find((why) => why !== undefined);
  if (reason !== undefined) process.stderr.write(`skipped: ${title}: ${reason}\n`);
  describe.skipIf(reason !== undefined)(title, () => {
    afterEach(closeBeds);
    body();
  });
}

const open: Testbed[] = [];

/** A fresh bed with the network in it; closed after the test. */
export async function network(options: TopologyOptions = {}): Promise<{ bed: Testbed } & Topology> {
  const bed = await Testbed.open();
  open.push(bed);
  return { bed, ...(await buildTopology(bed, options)) };
}

/** Options of a culvertd on `own` that talks to `peer`; tests override what they are about. */
export function gatewayOn(
  own: Site,
  peer: Site,
  name: string,
  overrides: Partial<CulvertOptions> = {},
): CulvertOptions {
  return {
    netns: own.gateway,
    name,
    localAddress: own.outerAddress,
    remoteAddress: peer.seenAddress,
    remoteSubnets: [peer.subnet],
    psk: sharedKey,
    ikeProposals: [ikeProposal],
    espProposals: [espProposal],
    ...overrides,
  };
}

/** A strongSwan on `own` that talks to `peer`; tests override what they are about. */
export function strongSwanOn(
  bed: Testbed,
  own: Site,
  peer: Site,
  overrides: Partial<StrongSwanOptions> = {},
): Promise<StrongSwan> {
  return StrongSwan.start(bed, {
    netns: own.gateway,
    name: "strongswan",
    localAddress: own.outerAddress,
    remoteAddress: peer.seenAddress,
    localId: own.outerAddress,
    remoteId: peer.outerAddress,
    localSubnets: [own.subnet],
    remoteSubnets: [peer.subnet],
    psk: sharedKey,
    ikeProposals: [ikeProposal],
    espProposals: [espProposal],
    ...overrides,
  });
}

export const sharedKey = "the same on both ends";
export const ikeProposal = "aes256gcm16-prfsha384-x25519";
export const espProposal = "aes128gcm16";

async function closeBeds(): Promise<void> {
  for (const bed of open.splice(0)) await bed.close();
}

async function absent(command: string): Promise<boolean> {
  return (await run(["sh", "-c", 'command -v "$0"', command])).code !== 0;
}

/** The root with strongSwan 6, where there is one. */
export const strongSwan6 = strongSwan6Root();

const obstacle = await obstacleToNamespaces();
const missing: Readonly<Record<Need, string | undefined>> = {
  strongswan: strongSwanMissing() ? "strongSwan with kernel-libipsec is not installed" : undefined,
  strongswan6:
    strongSwan6 === undefined ? "CULVERT_STRONGSWAN6_ROOT names no root with strongSwan 6" : undefined,
  scapy:
    (await run(["/usr/bin/python3", "-c", "import scapy, cryptography"]).catch(() => undefined))?.code === 0
      ? undefined
      : "python3-scapy or python3-cryptography is not installed",
  "ike-scan": (await absent("ike-scan")) ? "ike-scan is not installed" : undefined,
  tshark: (await absent("tshark")) ? "tshark is not installed" : undefined,
};
