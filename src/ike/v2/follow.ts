/** Installed SAs follow the outer addresses of their IKE SA, in place: no key is installed twice, no packet is lost. */

import type { SaPath, SaSpec } from "../../core/dataplane.ts";
import type { Instant } from "../../core/time.ts";
import type { Nat } from "../common/views.ts";
import { type ChildSa, requestChildDelete } from "./child-sa.ts";
import type { IkeSa } from "./ike-sa.ts";
import { type Path, sameEndpoint } from "./mobike.ts";
import { outerPath } from "./nat.ts";
import { startPathMtu } from "./path-mtu.ts";

/** Brings every SA of `sa` onto its path; does nothing for those that are there. */
export function moveSas(sa: IkeSa, now: Instant): void {
  const path = outerPath(sa);
  let moved = false;
  for (const child of [...sa.children.values()]) {
    if (isOn(child, path)) continue;
    if (sa.host.children.isTaken(child.spiOut, path.remote, child)) {
      // The peer's SPI has another owner there, and two SAs cannot share it: a new one takes its place.
      requestChildDelete(sa, now, child, "failed");
      continue;
    }
    update(sa, child, "inbound", child.spiIn, path);
    // Of one that was replaced only the inbound half is left.
    if (child.state.name !== "LINGERING") update(sa, child, "outbound", child.spiOut, path);
    moved ||= !isOn({ ...child, pathMtu: path.pathMtu }, path);
    child.local = path.local;
    child.remote = path.remote;
    child.encapsulation = path.encapsulation;
    child.pathMtu = path.pathMtu;
  }
  if (moved) sa.host.emit({ kind: "outboundChanged", sa });
}

/** IKE takes `path` from now on. ESP stays where it is until `moveSas`, or until `sa.espPath` is cleared. */
export function setPath(sa: IkeSa, now: Instant, path: Path, why: string): void {
  if (sameEndpoint(sa.local, path.local) && sameEndpoint(sa.remote, path.remote)) return;
  const before = { local: sa.local, remote: sa.remote };
  sa.local = path.local;
  sa.remote = path.remote;
  sa.moves++;
  const sameHosts =
    before.local.address.equals(path.local.address) && before.remote.address.equals(path.remote.address);
  if (sa.pathMtu && !sameHosts) startPathMtu(sa, now);
  if (sa.mobike) sa.mobike.left = { path: before, until: now + sa.host.limits.inboundLingerMs };
  sa.host.emit({ kind: "moved", sa, why });
}

/** What the path of `sa` has of NATs, as found anew; keepalives begin or end with a NAT in front of us. */
export function setNat(sa: IkeSa, now: Instant, nat: Nat): void {
  sa.nat = nat;
  const keepaliveMs = sa.peer?.natTraversal?.keepaliveMs;
  if (!nat.local || keepaliveMs === undefined) sa.keepaliveAt = undefined;
  else sa.keepaliveAt ??= now + keepaliveMs;
}

function update(sa: IkeSa, child: ChildSa, direction: SaSpec["direction"], spi: number, path: SaPath): void {
  if (child.refused.has(direction)) return;
  sa.host.emit({ kind: "updateSa", direction, spi, remote: child.remote, path });
}

function isOn({ local, remote, encapsulation, pathMtu }: SaPath, path: SaPath): boolean {
  if (pathMtu !== path.pathMtu) return false;
  if (!local.equals(path.local) || !remote.equals(path.remote)) return false;
  if (encapsulation.kind === "esp" || path.encapsulation.kind === "esp")
    return encapsulation.kind === path.encapsulation.kind;
  return (
    encapsulation.localPort === path.encapsulation.localPort &&
    encapsulation.remotePort === path.encapsulation.remotePort
  );
}
