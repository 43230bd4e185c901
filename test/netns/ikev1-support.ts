/** Options for IKEv1 on both sides, as `support.ts` has them for IKEv2. */
import type { CulvertOptions } from "../../testbed/culvert.ts";
import type { StrongSwan, StrongSwanOptions } from "../../testbed/strongswan.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Site } from "../../testbed/topology.ts";
import { gatewayOn, strongSwanOn } from "./support.ts";

/** What a connection's `ike` says; `mode` is main where it says nothing else. */
export const ikev1 = { version: "ikev1", proposals: ["aes256-sha384-ecp256"] };

/** A culvertd that talks IKEv1, with ESP in UDP: kernel-libipsec knows nothing else. */
export function ikev1On(
  own: Site,
  peer: Site,
  name: string,
  overrides: Partial<CulvertOptions> = {},
): CulvertOptions {
  return gatewayOn(own, peer, name, { ike: ikev1, forceEncapsulation: true, ...overrides });
}

export function ikev1Peer(
  bed: Testbed,
  own: Site,
  peer: Site,
  overrides: Partial<StrongSwanOptions> = {},
): Promise<StrongSwan> {
  return strongSwanOn(bed, own, peer, { version: 1, ikeProposals: ikev1.proposals, ...overrides });
}
