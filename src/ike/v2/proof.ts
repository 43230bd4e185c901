/**
 * Does the peer know what we know? A responder is done when it sends its answer, its peer when it gets it. In between,
 * nothing that works may be given up in favour of what the peer may not have yet.
 */
import type { Instant } from "../../core/time.ts";
import { liveness } from "./exchanges/informational.ts";
import type { IkeSa } from "./ike-sa.ts";

/** The peer has used `sa` after IKE_AUTH, or one of its CHILD_SAs: it has our answer. */
export function prove(sa: IkeSa, now: Instant): void {
  if (sa.proven) return;
  sa.proven = true;
  if (sa.children.size > 0) sa.host.emit({ kind: "outboundChanged", sa });
  sa.host.onProven(sa, now);
}

/** Closes `loser`, which we have made, as soon as the peer is known to have `survivor`. */
export function giveWay(loser: IkeSa, survivor: IkeSa, now: Instant): void {
  loser.survivor = survivor;
  if (survivor.proven) loser.requestDelete(now, "duplicate");
  else survivor.initiate(now, liveness());
}
