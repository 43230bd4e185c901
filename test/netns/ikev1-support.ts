/** Options for IKEv1 on both sides, as `support.ts` has them for IKEv2. */
import type { CulvertOptions } from "../../testbed/culvert.ts";
import type { StrongSwan, StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Site } from "../../testbed/topology.ts";
import { gatewayOn, strongSwanOn } from "./support.ts";

const ikeProposals = ["aes256-sha384-ecp256"];

/** A culvertd that talks IKEv1, in main mode unless told otherwise, with ESP in UDP: kernel-libipsec knows nothing else. */
export function ikev1On(
  own: Site,
  peer: Site,
  name: string,
  overrides: Partial<CulvertOptions> = {},
): CulvertOptions {
  const settings = { ikev1: "main", ikeProposals, forceEncapsulation: true } as const;
  return gatewayOn(own, peer, name, { ...settings, ...overrides });
}

export function ikev1Peer(
  bed: Testbed,
  own: Site,
  peer: Site,
  overrides: Partial<StrongSwanOptions> = {},
): Promise<StrongSwan> {
  return strongSwanOn(bed, own, peer, { ikev1: "main", ikeProposals, ...overrides });
}
