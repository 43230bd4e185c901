/** What the path benchmark compares: ways from hA to hB, each brought up and taken down on the same network. */
import { Culvert } from "../../testbed/culvert.ts";
import { hasOpenVpn, startOpenVpnPair } from "../../testbed/openvpn.ts";
import { StrongSwan, strongSwanMissing } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import { routeInTheClear, type Site, type Topology } from "../../testbed/topology.ts";
import { hasWireGuardGo, startWireGuardPair } from "../../testbed/wireguard.ts";
import { startNullPair } from "./null-pair.ts";

export interface PathCase {
  readonly name: string;
  /** Undefined when it can run here; otherwise why not. */
  readonly missing: () => Promise<string | undefined>;
  /** Brings it up; resolves with what takes it down. */
  readonly start: (bed: Testbed, topology: Topology) => Promise<() => Promise<void>>;
}

export const pathCases: readonly PathCase[] = [
  {
    name: "direct forwarding, no encryption",
    missing: async () => undefined,
    start: async (_bed, topology) => {
      await routeInTheClear(topology, "add");
      return () => routeInTheClear(topology, "del");
    },
  },
  {
    name: "culvert, ENCR_NULL in UDP, no ICV",
    missing: async () => undefined,
    start: startNullPair,
  },
  {
    name: "culvert, AES-GCM-128 in UDP",
    missing: async () => undefined,
    start: (bed, topology) => startCulvertPair(bed, topology, true),
  },
  {
    name: "culvert, AES-GCM-128, raw ESP",
    missing: async () => undefined,
    start: (bed, topology) => startCulvertPair(bed, topology, false),
  },
  {
    name: "culvert, AES-CBC-128 + SHA-1 in UDP",
    missing: async () => undefined,
    start: (bed, topology) => startCulvertPair(bed, topology, true, ["aes128-sha1"]),
  },
  {
    name: "culvert, AES-CBC-256 + SHA-256 in UDP",
    missing: async () => undefined,
    start: (bed, topology) => startCulvertPair(bed, topology, true, ["aes256-sha256"]),
  },
  {
    name: "strongSwan kernel-libipsec, AES-GCM-128",
    missing: async () => (strongSwanMissing() ? "strongSwan is not installed" : undefined),
    start: startStrongSwanPair,
  },
  {
    name: "wireguard-go, ChaCha20-Poly1305",
    missing: async () => ((await hasWireGuardGo()) ? undefined : "wireguard-go is not installed"),
    start: startWireGuardPair,
  },
  {
    name: "OpenVPN, AES-GCM-128",
    missing: async () => ((await hasOpenVpn()) ? undefined : "openvpn or openssl is not installed"),
    start: startOpenVpnPair,
  },
];

async function startCulvertPair(
  bed: Testbed,
  { a, b }: Topology,
  forceEncapsulation: boolean,
  proposals: readonly string[] = espProposals,
) {
  const end = (own: Site, peer: Site, start: "immediately" | "passive") =>
    Culvert.start(bed, {
      netns: own.gateway,
      name: `culvert-${own.outerAddress}-${forceEncapsulation ? "udp" : "esp"}`,
      localAddress: own.outerAddress,
      remoteAddress: peer.outerAddress,
      remoteSubnets: [peer.subnet],
      psk,
      ikeProposals,
      espProposals: proposals,
      forceEncapsulation,
      start,
    });
  const responder = await end(b, a, "passive");
  const initiator = await end(a, b, "immediately");
  await initiator.waitUp();
  return async () => {
    await initiator.program.stop();
    await responder.program.stop();
  };
}

async function startStrongSwanPair(bed: Testbed, { a, b }: Topology) {
  const end = (own: Site, peer: Site) =>
    StrongSwan.start(bed, {
      netns: own.gateway,
      name: `strongswan-${own.outerAddress}`,
      localAddress: own.outerAddress,
      remoteAddress: peer.outerAddress,
      localId: own.outerAddress,
      remoteId: peer.outerAddress,
      localSubnets: [own.subnet],
      remoteSubnets: [peer.subnet],
      psk,
      ikeProposals,
      espProposals,
    });
  const responder = await end(b, a);
  const initiator = await end(a, b);
  const { code, stdout, stderr } = await initiator.initiate();
  if (code !== 0) throw new Error(`strongSwan could not initiate:\n${stdout}${stderr}`);
  return async () => {
    await initiator.program.stop();
    await responder.program.stop();
  };
}

const psk = "a benchmark's, both ends are on this host";
const ikeProposals = ["aes256gcm16-prfsha384-x25519"];
const espProposals = ["aes128gcm16"];
