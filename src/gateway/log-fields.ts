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

/** What an IKE SA was agreed to be, and by whom: behind `about`, in its object. */
export function aboutEstablished(sa: IkeSa): Record<string, unknown> {
  const fields = about(sa);
  fields["localId"] = sa.localId;
  fields["remoteId"] = sa.remoteId;
  fields["role"] = sa.role;
  fields["handshakeMs"] = sa.handshakeMs;
  if (sa.secured) fields["suite"] = formatSuite(sa.secured.suite);
  return fields;
}

/** `name` is what else there is to say. One object, filled: copies of copies cost more than all they hold. */
export function aboutChild(
  sa: IkeSa,
  { spiIn, spiOut }: ChildSa,
  name: string,
  value: unknown,
): Record<string, unknown> {
  const fields = about(sa);
  fields["spiIn"] = formatEspSpi(spiIn);
  fields["spiOut"] = formatEspSpi(spiOut);
  fields[name] = value;
  return fields;
}
