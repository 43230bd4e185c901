/** What the log says of IKE SAs and CHILD_SAs, always in the same fields. */
import type { ChildSa } from "../ike/v2/child-sa.ts";
import type { IkeSa } from "../ike/v2/ike-sa.ts";
import { formatSuite } from "../registry/index.ts";
import { formatEspSpi, formatIkeSpi } from "../wire/index.ts";

export function about(sa: IkeSa): Record<string, unknown> {
  return {
    connection: sa.peer?.connection,
    peer: `${sa.remote.address}`,
    spiInitiator: formatIkeSpi(sa.spiInitiator),
    spiResponder: formatIkeSpi(sa.spiResponder),
  };
}

export function suiteOf(sa: IkeSa): Record<string, unknown> {
  return sa.secured ? { suite: formatSuite(sa.secured.suite) } : {};
}

export function spis({ spiIn, spiOut }: ChildSa): Record<string, unknown> {
  return { spiIn: formatEspSpi(spiIn), spiOut: formatEspSpi(spiOut) };
}
