/**
 * The event stream: one record per thing that an operator may want to hear of when it happens. Plain JSON, no secrets;
 * `docs/operations.md` has the table, which a test compares with this one.
 */

import type { FailureRecord } from "../core/failure.ts";
import { formatSelector } from "../core/traffic-selector.ts";
import type { EndReason } from "../ike/common/events.ts";
import type { ChildSaView, IkeSaView, IkeVersion, PathMtuStatus, Role } from "../ike/common/views.ts";
import { formatSuite } from "../registry/index.ts";
import { formatEspSpi, formatIkeSpi } from "../wire/index.ts";

/** What each type means. */
export const eventTypes = {
  tunnel: "a tunnel changed its state",
  ikeSa: "an IKE SA is up, was rekeyed or is down",
  childSa: "a CHILD_SA is up, was rekeyed or is down",
  pathMtu: "the path to a peer carries outer packets of another size than before",
  failure: "an attempt failed",
} as const satisfies Record<GatewayEvent["type"], string>;

export type GatewayEvent =
  | {
      readonly type: "tunnel";
      readonly connection: string;
      readonly customerGateway: string;
      readonly from: string;
      readonly to: string;
      readonly why: string;
    }
  | {
      readonly type: "ikeSa";
      readonly change: "up" | "rekeyed" | "down";
      readonly connection: string | undefined;
      readonly peer: string;
      readonly version: IkeVersion;
      readonly role: Role;
      /** 16 hexadecimal digits. After `rekeyed` those of the successor. */
      readonly spiInitiator: string;
      readonly spiResponder: string;
      readonly suite?: string;
      /** Of `down`. */
      readonly why?: EndReason;
    }
  | {
      readonly type: "childSa";
      readonly change: "up" | "rekeyed" | "down";
      readonly connection: string | undefined;
      readonly peer: string;
      /** 8 hexadecimal digits. After `rekeyed` those of the successor. */
      readonly spiIn: string;
      readonly spiOut: string;
      readonly suite: string;
      readonly localSelectors: readonly string[];
      readonly remoteSelectors: readonly string[];
      /** Of `down`. */
      readonly why?: EndReason;
    }
  | {
      readonly type: "pathMtu";
      readonly connection: string | undefined;
      readonly peer: string;
      /** Bytes of outer packet. */
      readonly before: number;
      readonly bytes: number;
      readonly state: PathMtuStatus;
    }
  | { readonly type: "failure"; readonly failure: FailureRecord };

export function ikeSaEvent(sa: IkeSaView, change: "up" | "rekeyed" | "down", why?: EndReason): GatewayEvent {
  const suite = sa.suiteText;
  return {
    type: "ikeSa",
    change,
    connection: sa.peer?.connection,
    peer: `${sa.remote.address}`,
    version: sa.version,
    role: sa.role,
    spiInitiator: formatIkeSpi(sa.spiInitiator),
    spiResponder: formatIkeSpi(sa.spiResponder),
    ...(suite !== undefined && { suite }),
    ...(why && { why }),
  };
}

export function pathMtuEvent(sa: IkeSaView, before: number): GatewayEvent {
  const { connection } = sa.peer ?? {};
  return { type: "pathMtu", connection, peer: `${sa.remote.address}`, before, ...sa.path };
}

export function childSaEvent(
  sa: IkeSaView,
  child: ChildSaView,
  change: "up" | "rekeyed" | "down",
  why?: EndReason,
): GatewayEvent {
  return {
    type: "childSa",
    change,
    connection: sa.peer?.connection,
    peer: `${child.remote}`,
    spiIn: formatEspSpi(child.spiIn),
    spiOut: formatEspSpi(child.spiOut),
    suite: formatSuite(child.suite),
    localSelectors: child.localSelectors.map(formatSelector),
    remoteSelectors: child.remoteSelectors.map(formatSelector),
    ...(why && { why }),
  };
}
