/**
 * One IKE SA after another (RFC 7296 §2.8.2, §2.18): making the successor, and handing the CHILD_SAs over to it. These
 * are two steps, because of two successors that were made at once only one inherits.
 */

import type { Instant } from "../../core/time.ts";
import type { Role } from "../common/views.ts";
import { moveChildren } from "./child-sa.ts";
import { startLifetime } from "./exchanges/ike-auth.ts";
import { exportIkeKeys } from "./exchanges/ike-sa-init.ts";
import { presentToken } from "./exchanges/informational.ts";
import {
  returnRoutability,
  routabilityName,
  updateAddresses,
  updateName,
} from "./exchanges/update-addresses.ts";
import { IkeSa } from "./ike-sa.ts";
import type { Secured } from "./key-material.ts";
import { inheritMobility } from "./mobike.ts";
import type { IkeSaState } from "./states.ts";

/** An IKE SA with the peer and the path of `old`, found by its SPIs from now on. It inherits nothing yet. */
export function successorOf(
  old: IkeSa,
  now: Instant,
  next: { role: Role; spiLocal: bigint; spiRemote: bigint; secured: Secured },
  state: IkeSaState,
): IkeSa {
  const { role, spiLocal, spiRemote, secured } = next;
  const { local, remote, peer, host } = old;
  const successor = new IkeSa(host, { role, now, spiLocal, spiRemote, local, remote, peer }, state);
  successor.secured = secured;
  successor.family = old.family;
  successor.family.alive++;
  // Its CHILD_SAs are those of `old`: what the peer has of them it has, whichever IKE SA it knows.
  successor.proven = true;
  successor.first = old.first;
  successor.nat = old.nat;
  successor.fragmentation = old.fragmentation;
  inheritMobility(old, successor);
  successor.localId = old.localId;
  successor.remoteId = old.remoteId;
  successor.handshakeMs = old.handshakeMs;
  exportIkeKeys(successor);
  host.adopt(successor);
  return successor;
}

/** `successor` takes over the CHILD_SAs; `old` keeps nothing but its windows. */
export function inherit(old: IkeSa, successor: IkeSa, now: Instant): void {
  // Both may have moved since the successor was made, and both to the same place.
  successor.local = old.local;
  successor.remote = old.remote;
  successor.nat = old.nat;
  successor.keepaliveAt = old.keepaliveAt;
  successor.childlessAt = old.childlessAt;
  // A rekey authenticates nobody (RFC 4478 §2): that time runs on.
  successor.reauthAt = old.reauthAt;
  successor.supersededAt = old.supersededAt;
  successor.survivor = old.survivor;
  successor.pathMtu = old.pathMtu;
  successor.roundTripMs = old.roundTripMs;
  old.pathMtu = undefined;
  old.successor = successor;
  startLifetime(successor, now);
  successor.host.touch(successor);
  successor.host.emit({ kind: "rekeyed", sa: old, successor });
  inheritMobility(old, successor);
  moveChildren(old, successor, now);
  if (old.mobike?.pending || old.hasExchange(updateName)) successor.initiate(now, updateAddresses());
  if (old.hasExchange(routabilityName)) successor.initiate(now, returnRoutability());
  // RFC 6290 §4.3: new SPIs, new token. Only to a peer that knows what to do with it.
  if (old.peerToken && successor.host.crashSecret) successor.initiate(now, presentToken());
}

/** The peer's successor of `old` stands, and the peer will delete `old`. */
export function inheritRival(old: IkeSa, now: Instant): void {
  const successor = old.rival!.sa;
  if (successor.is("CONTENDING")) successor.transition({ name: "ESTABLISHED", since: now }, "stands");
  if (!successor.established) return;
  inherit(old, successor, now);
  old.transition({ name: "REKEYED", until: now + old.host.limits.rekeyedMs }, "rekeyed by the peer");
}

/**
 * `old` is closed, and the peer knows: its own successor, if it still contends, is either being closed by the peer or
 * was never known to it, because our Delete came before our answer (§2.25.2: it then forgets its attempt).
 */
export function hurryRival(old: IkeSa, now: Instant): void {
  const rival = old.rival?.sa;
  if (!rival?.is("CONTENDING")) return;
  rival.transition(
    { name: "CONTENDING", until: now + old.host.limits.lingerMs, old },
    "the old one is closed",
  );
}

/** The peer uses its successor, other than to close it: it has decided before us, and nobody has decided otherwise. */
export function confirmContender(sa: IkeSa, now: Instant): void {
  if (sa.state.name === "CONTENDING" && sa.state.old.established) inheritRival(sa.state.old, now);
}
