/** Vendor IDs: what each side can do beyond RFC 2409, said in the first message of each. */
import { type VendorIdName, vendorIdBytes, vendorIdOf } from "../../registry/index.ts";
import { type IsakmpPayload, type IsakmpVendorPayload, isakmpPayloadsOf } from "../../wire/v1/index.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { NatDialect } from "./isakmp-sa.ts";

/** What a peer says that it can do, and we look at. */
export interface Abilities {
  /** RFC 3706. */
  readonly dpd: boolean;
  /** [MS-IKEE]. */
  readonly fragmentation: boolean;
  /** The best that it has in common with us; undefined: none, or it is not to be used. */
  readonly nat: NatDialect | undefined;
}

/** What we send, preferred first. A first message has all of them, and an answer what the peer has, too. */
export function vendorPayloads(peer: PeerSettings, theirs?: Abilities): IsakmpVendorPayload[] {
  const names: VendorIdName[] = [];
  if (!theirs || theirs.dpd) names.push("DPD");
  if (!theirs || theirs.fragmentation) names.push("FRAGMENTATION");
  if (peer.natTraversal) {
    if (!theirs) names.push("RFC_3947", "NAT_T_03", "NAT_T_02_NEWLINE", "NAT_T_02");
    else if (theirs.nat === "rfc") names.push("RFC_3947");
    // Which of the drafts it is makes no difference to what follows.
    else if (theirs.nat === "draft") names.push("NAT_T_03", "NAT_T_02_NEWLINE", "NAT_T_02");
  }
  return names.map((name) => ({ kind: "VID", data: vendorIdBytes(name) }));
}

export function abilitiesOf(
  payloads: readonly IsakmpPayload[],
  natTraversal: PeerSettings["natTraversal"],
): Abilities {
  const names = new Set(isakmpPayloadsOf(payloads, "VID").map(({ data }) => vendorIdOf(data)));
  const draft = names.has("NAT_T_03") || names.has("NAT_T_02") || names.has("NAT_T_02_NEWLINE");
  const nat = names.has("RFC_3947") ? "rfc" : draft ? "draft" : undefined;
  return {
    dpd: names.has("DPD"),
    fragmentation: names.has("FRAGMENTATION"),
    nat: natTraversal ? nat : undefined,
  };
}
