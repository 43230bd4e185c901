/**
 * NAT detection and UDP encapsulation (RFC 7296 §2.23, RFC 3948): each side sends hashes of the addresses it believes
 * in; one that does not match what arrived betrays a NAT in between.
 */

import { compareBytes, type Endpoint } from "../../core/address.ts";
import type { Encapsulation, SaPath } from "../../core/dataplane.ts";
import type { Random } from "../../core/random.ts";
import { natDetectionHash } from "../../crypto/index.ts";
import { NotifyType } from "../../registry/index.ts";
import { findNotify, type NotifyPayload, type Payload } from "../../wire/index.ts";
import type { PeerSettings } from "../common/settings.ts";
import { encapsulates, type Nat, unencapsulated } from "../common/views.ts";
import type { IkeSa } from "./ike-sa.ts";
import { notify } from "./notify.ts";

interface Path {
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Our two notifications; none when the peer's settings exclude NAT traversal. */
export function natDetectionNotifies(
  random: Random,
  path: Path,
  settings: PeerSettings["natTraversal"],
): NotifyPayload[] {
  if (!settings) return [];
  // A hash that cannot match makes the peer believe in a NAT on our side, so both sides encapsulate.
  const source = settings.forceEncapsulation
    ? random.bytes(20)
    : natDetectionHash(path.spiInitiator, path.spiResponder, path.local);
  const destination = natDetectionHash(path.spiInitiator, path.spiResponder, path.remote);
  return [
    notify(NotifyType.code.NAT_DETECTION_SOURCE_IP, source),
    notify(NotifyType.code.NAT_DETECTION_DESTINATION_IP, destination),
  ];
}

/** What the peer's notifications say about the path on which they arrived. */
export function detectNat(
  payloads: readonly Payload[],
  path: Path,
  settings: PeerSettings["natTraversal"],
): Nat {
  const source = NotifyType.code.NAT_DETECTION_SOURCE_IP;
  const destination = NotifyType.code.NAT_DETECTION_DESTINATION_IP;
  if (!settings || !findNotify(payloads, source) || !findNotify(payloads, destination)) return unencapsulated;
  const matches = (type: number, end: Endpoint) => {
    const expected = natDetectionHash(path.spiInitiator, path.spiResponder, end);
    return payloads.some((p) => p.kind === "N" && p.type === type && compareBytes(p.data, expected) === 0);
  };
  return {
    supported: true,
    // A peer with several addresses sends several sources; one match is enough.
    remote: !matches(source, path.remote),
    local: !matches(destination, path.local),
    forced: settings.forceEncapsulation,
  };
}

/** How the ESP packets of the CHILD_SAs travel. */
export function outerPath(sa: IkeSa): SaPath {
  const { local, remote } = sa.espPath ?? sa;
  return {
    local: local.address,
    remote: remote.address,
    encapsulation: encapsulationOf(sa, { local, remote }),
    pathMtu: sa.pathMtu?.effective ?? (sa.peer?.pathMtu === "auto" ? undefined : sa.peer?.pathMtu),
  };
}

function encapsulationOf(
  sa: IkeSa,
  { local, remote }: { readonly local: Endpoint; readonly remote: Endpoint },
): Encapsulation {
  if (!encapsulates(sa.nat)) return { kind: "esp" };
  const { nattPort } = sa.host;
  // A peer that found the NAT and did not move IKE off port 500 still takes ESP on the NAT traversal port only.
  const floated = local.port === nattPort;
  return { kind: "udp", localPort: nattPort, remotePort: floated ? remote.port : nattPort };
}
