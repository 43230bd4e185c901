/**
 * The limit of our own path: the same two data planes with ENCR_NULL and no integrity, so that a packet goes every way
 * that an encrypted one goes except through the cipher. Such an SA cannot be negotiated; the keys, none, are manual.
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { repository } from "../../testbed/culvert.ts";
import type { ManualGatewayOptions } from "../../testbed/manual-gateway.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Site, Topology } from "../../testbed/topology.ts";

export async function startNullPair(bed: Testbed, { a, b }: Topology): Promise<() => Promise<void>> {
  const end = async (own: Site, peer: Site, inboundSpi: number, outboundSpi: number) => {
    const options: ManualGatewayOptions = {
      local: own.outerAddress,
      remote: peer.outerAddress,
      encapsulation: "udp",
      inboundSpi,
      outboundSpi,
      encr: encrNull,
      encrKeyBits: 0,
      inboundKey: "",
      outboundKey: "",
      esn: false,
      localSubnet: own.subnet,
      remoteSubnet: peer.subnet,
      workers: availableParallelism(),
      tunMtu: 1438,
    };
    const script = join(repository, "dist/testbed/manual-gateway.js");
    const argv = [process.execPath, script, JSON.stringify(options)];
    const program = bed.start(`null gateway ${own.outerAddress}`, argv, { netns: own.gateway });
    await program.waitForLine(/^ready$/);
    return program;
  };
  const programs = [await end(a, b, spis.a, spis.b), await end(b, a, spis.b, spis.a)];
  return async () => {
    for (const program of programs) await program.stop();
  };
}

/** IANA IKEv2 transform type 1. */
const encrNull = 11;
const spis = { a: 0x1000, b: 0x2000 };
