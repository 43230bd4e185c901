/** What the log says of IKE SAs and CHILD_SAs, always in the same fields. */
import type { ChildSa } from "../ike/v2/child-sa.ts";
import type { IkeSa } from "../ike/v2/ike-sa.ts";
import { formatSuite } from "../registry/index.ts";

export function about(sa: IkeSa): Record<string, unknown> {
  return {
    connection: sa.peer?.connection,
    peer: `${sa.remote.address}`,
    spiInitiator: sa.spiInitiator.toString(16).padStart(16, "0"),
    spiResponder: sa.spiResponder.toString(16).padStart(16, "0"),
  };
}

export function suiteOf(sa: IkeSa): Record<string, unknown> {
  return sa.secured ? { suite: formatSuite(sa.secured.suite) } : {};
}

export function spis({ spiIn, spiOut }: ChildSa): Record<string, unknown> {
  return { spiIn: hexSpi(spiIn), spiOut: hexSpi(spiOut) };
}

export const hexSpi = (spi: number): string => spi.toString(16).padStart(8, "0");
