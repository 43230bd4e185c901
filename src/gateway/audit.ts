/**
 * Desired state against the data plane's own list of SAs: a CHILD_SA has its inbound SA for as long as it exists, and
 * its outbound SA until it lingers; nothing else is installed. The order of events keeps it so; this is for bugs.
 */
import type { IpAddress } from "../core/address.ts";
import type { SaSpec } from "../core/dataplane.ts";
import type { ChildSaView, IkeSaView } from "../ike/common/views.ts";

/** One installed SA, as the data plane lists it. */
export interface InstalledSa {
  readonly direction: SaSpec["direction"];
  readonly spi: number;
  readonly remote: IpAddress;
}

/** Half of a CHILD_SA, of which the data plane does not know. */
export interface MissingSa {
  readonly sa: IkeSaView;
  readonly child: ChildSaView;
  readonly direction: SaSpec["direction"];
}

export interface Findings {
  readonly missing: readonly MissingSa[];
  /** Installed, and of no CHILD_SA. */
  readonly strays: readonly InstalledSa[];
}

/** `leaving`: what is still installed because its removal waits. */
export function audit(
  sas: readonly IkeSaView[],
  leaving: readonly InstalledSa[],
  installed: readonly InstalledSa[],
): Findings {
  const unclaimed = new Map(
    installed.map(({ direction, spi, remote }) => {
      const sa = { direction, spi, remote };
      return [keyOf(sa), sa];
    }),
  );
  for (const sa of leaving) unclaimed.delete(keyOf(sa));
  const missing: MissingSa[] = [];
  for (const sa of sas)
    for (const child of sa.children.values()) {
      const { remote } = child;
      const wanted: InstalledSa[] = [{ direction: "inbound", spi: child.spiIn, remote }];
      if (child.state.name !== "LINGERING") wanted.push({ direction: "outbound", spi: child.spiOut, remote });
      for (const each of wanted) {
        const found = unclaimed.delete(keyOf(each));
        if (!found && !child.refused.has(each.direction))
          missing.push({ sa, child, direction: each.direction });
      }
    }
  return { missing, strays: [...unclaimed.values()] };
}

/** Inbound SAs are ours to number; two peers may choose the same number for an outbound one. */
const keyOf = ({ direction, spi, remote }: InstalledSa): string =>
  direction === "inbound" ? `${spi}` : `${spi} ${remote}`;
