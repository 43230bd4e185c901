/** What the log says of IKE SAs and CHILD_SAs, always in the same fields. */
import type { ChildSaView, IkeSaView } from "../ike/common/views.ts";
import { formatEspSpi, formatIkeSpi } from "../wire/index.ts";

export function about(sa: IkeSaView): Record<string, unknown> {
  return {
    connection: sa.peer?.connection,
    peer: `${sa.remote.address}`,
    spiInitiator: formatIkeSpi(sa.spiInitiator),
    spiResponder: formatIkeSpi(sa.spiResponder),
  };
}

export function suiteOf(sa: IkeSaView): Record<string, unknown> {
  const suite = sa.suiteText;
  return suite === undefined ? {} : { suite };
}

/** What an IKE SA was agreed to be, and by whom: behind `about`, in its object. */
export function aboutEstablished(sa: IkeSaView): Record<string, unknown> {
  const fields = about(sa);
  fields["version"] = sa.version;
  fields["localId"] = sa.localId;
  fields["remoteId"] = sa.remoteId;
  fields["role"] = sa.role;
  fields["handshakeMs"] = sa.handshakeMs;
  const suite = sa.suiteText;
  if (suite !== undefined) fields["suite"] = suite;
  return fields;
}

/** `name` is what else there is to say. One object, filled: copies of copies cost more than all they hold. */
export function aboutChild(
  sa: IkeSaView,
  { spiIn, spiOut }: ChildSaView,
  name: string,
  value: unknown,
): Record<string, unknown> {
  const fields = about(sa);
  fields["spiIn"] = formatEspSpi(spiIn);
  fields["spiOut"] = formatEspSpi(spiOut);
  fields[name] = value;
  return fields;
}
