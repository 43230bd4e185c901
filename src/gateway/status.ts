/** The gateway's state for an operator: plain JSON, no secrets, every configured connection, up or not. */

import { weaknessesOf } from "../config/ikev1.ts";
import type { ConnectionConfig } from "../config/model.ts";
import { formatEndpoint } from "../core/address.ts";
import { assumedPathMtu } from "../core/dataplane.ts";
import { earlier, type Instant } from "../core/time.ts";
import { formatSelector } from "../core/traffic-selector.ts";
import { formatIdentity } from "../ike/common/identity.ts";
import type { ChildSaView, IkeSaView } from "../ike/common/views.ts";
import { formatSuite, innerMtu, parseProposal } from "../registry/index.ts";
import { formatIkeSpi } from "../wire/index.ts";
import type { ConnectionStatus, TunnelStatus } from "./contract.ts";
import type { ConnectionHistory } from "./history.ts";
import { addressText } from "./peers.ts";
import type { Tunnel, TunnelState } from "./tunnel.ts";

export interface ConnectionRecord {
  readonly connection: ConnectionConfig;
  readonly tunnels: readonly Tunnel[];
  readonly weak: readonly string[];
  state: ConnectionStatus["state"];
  since: Instant;
  readonly history: ConnectionHistory;
}

/** The best state of any of its tunnels. */
export function connectionState(tunnels: readonly Tunnel[]): ConnectionStatus["state"] {
  if (tunnels.length === 0) return "disabled";
  const states = tunnels.map((t) => shown[t.state.name]);
  return (["up", "connecting", "waiting", "down"] as const).find((s) => states.includes(s))!;
}

/** `sasOf`: a peer's IKE SAs that are not closed, the newest last. */
export function connectionStatus(
  record: ConnectionRecord,
  now: Instant,
  sasOf: (peerId: string) => readonly IkeSaView[],
): ConnectionStatus {
  const { connection, tunnels, weak, state, since, history } = record;
  return {
    name: connection.name,
    state,
    sinceMs: since,
    weak,
    tunnels: tunnels.map((tunnel) => tunnelStatus(tunnel, now, sasOf(tunnel.id).toReversed())),
    ...history.status,
  };
}

/** `own`: its IKE SAs that are not closed, the preferred first. */
function tunnelStatus(tunnel: Tunnel, now: Instant, own: readonly IkeSaView[]): TunnelStatus {
  const sa = own.find((s) => s.established) ?? own[0];
  const { localId, remoteId } = tunnel.peer;
  return {
    customerGateway: tunnel.customerGateway.name,
    local: sa && formatEndpoint(sa.local),
    remote: sa ? formatEndpoint(sa.remote) : addressText(tunnel.customerGateway),
    localId: sa?.localId ?? (localId && formatIdentity(localId)),
    remoteId: sa?.remoteId ?? (remoteId && formatIdentity(remoteId)),
    state: shown[tunnel.state.name],
    ike: sa?.established ? ikeStatus(sa, now) : undefined,
    pathMtu: sa?.established && sa.children.size > 0 ? sa.path : undefined,
    pairs: sa?.established ? pairsStatus(sa) : undefined,
    children: own.flatMap((s) => s.outbound()).map((child) => childStatus(child, now)),
  };
}

function ikeStatus(sa: IkeSaView, now: Instant): NonNullable<TunnelStatus["ike"]> {
  return {
    version: sa.version,
    mode: sa.version === 1 ? sa.peer!.mode : undefined,
    spiInitiator: formatIkeSpi(sa.spiInitiator),
    spiResponder: formatIkeSpi(sa.spiResponder),
    role: sa.role,
    suite: sa.suiteText!,
    ageMs: now - sa.establishedAt,
    rekeyInMs: until(earlier(sa.rekeyAt, sa.reauthAt), now),
    nat: natWord(sa),
    handshakeMs: sa.handshakeMs,
  };
}

/** Of an IKE SA that stands; one that has a single pair is up or is not, and needs no list. */
function pairsStatus(sa: IkeSaView): TunnelStatus["pairs"] {
  const { pairs } = sa.peer!;
  const states = pairs.length < 2 ? undefined : sa.pairStates();
  if (!states) return undefined;
  const missing = pairs.flatMap(({ local, remote }, i) => {
    const state = states[i]!;
    if (state.name === "up") return [];
    const refusal = state.name === "refused" ? state.record.difference : undefined;
    return [{ local: formatSelector(local), remote: formatSelector(remote), refusal }];
  });
  const up = pairs.length - missing.length;
  return { total: pairs.length, up, missing: missing.slice(0, maxMissingPairs) };
}

function childStatus(child: ChildSaView, now: Instant): TunnelStatus["children"][number] {
  return {
    spiIn: child.spiIn,
    spiOut: child.spiOut,
    suite: formatSuite(child.suite),
    encapsulation: child.encapsulation.kind,
    innerMtu: innerMtuOf(child),
    localSelectors: child.localSelectors.map(formatSelector),
    remoteSelectors: child.remoteSelectors.map(formatSelector),
    ageMs: now - child.installedAt,
    rekeyInMs: until(child.rekeyAt, now),
  };
}

function innerMtuOf({ remote, encapsulation, suite, pathMtu }: ChildSaView): number {
  const outerBytes = (remote.family === 4 ? 20 : 40) + (encapsulation.kind === "udp" ? 8 : 0);
  return innerMtu(
    pathMtu ?? assumedPathMtu,
    outerBytes,
    suite.encr,
    suite.integ === 0 ? undefined : suite.integ,
  );
}

function natWord({ nat }: IkeSaView): NonNullable<TunnelStatus["ike"]>["nat"] {
  if (!nat.supported) return "none";
  if (nat.local && nat.remote) return "both";
  if (nat.local) return "local";
  if (nat.remote) return "remote";
  return nat.forced ? "forced" : "none";
}

/** What is weak about a connection and why: its version and mode, and words of its proposals, each once. */
export function weakWords({ ike, ipsec }: ConnectionConfig): string[] {
  const words = [
    ...weaknessesOf(ike),
    ...ike.proposals.flatMap((p) => parseProposal(p.text, "ike").weak),
    ...ipsec.proposals.flatMap((p) => parseProposal(p.text, "esp").weak),
  ];
  return [...new Set(words.map(({ keyword, reason }) => `${keyword}: ${reason}`))];
}

const maxMissingPairs = 64;
const until = (at: Instant | undefined, now: Instant): number | undefined =>
  at === undefined ? undefined : Math.max(0, at - now);

const shown: Readonly<Record<TunnelState["name"], TunnelStatus["state"]>> = {
  DOWN: "down",
  IDLE: "waiting",
  BACKOFF: "waiting",
  RESOLVING: "connecting",
  CONNECTING: "connecting",
  UP: "up",
};
