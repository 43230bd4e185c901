/**
 * MOBIKE (RFC 4555): what both sides know about each other's addresses, and which path the initiator takes. The
 * exchanges are in `exchanges/update-addresses.ts`. "Initiator" is who made the first IKE SA of a series of rekeyed
 * ones: only it decides, the responder follows.
 */

import { type Endpoint, IpAddress } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import { NotifyType } from "../../registry/index.ts";
import { findNotify, type NotifyPayload, type Payload } from "../../wire/index.ts";
import type { PeerSettings } from "../common/settings.ts";
import type { IkeSa } from "./ike-sa.ts";
import { notify } from "./notify.ts";

export interface Path {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Of an IKE SA whose both sides said MOBIKE_SUPPORTED. */
export interface Mobility {
  readonly initiator: boolean;
  /** Where else the peer says that it lives. */
  peerAddresses: readonly IpAddress[];
  /** Initiator: the path changed, and the peer has not been told. */
  pending: boolean;
  /** Initiator: what the peer saw of our address, as its NAT_DETECTION_DESTINATION_IP says. */
  seenAs: Uint8Array | undefined;
  /** Initiator: updates refused since the last that was not, and the paths that the peer does not want. */
  refusals: number;
  readonly unacceptable: Set<string>;
  /** The path before the last change: ESP that was under way on it is no news. */
  left: { readonly path: Path; readonly until: Instant } | undefined;
}

/** More addresses of a peer are not remembered, and more pairs not tried. */
const maxAddresses = 8;
const maxPaths = 8;

// ── What is said in IKE_AUTH ─────────────────────────────────────────────────────────────────────────────────────

/** MOBIKE_SUPPORTED and our further addresses (§3.2, §3.4); nothing when the peer's settings exclude it. */
export function mobikeNotifies(sa: IkeSa, peer: PeerSettings): NotifyPayload[] {
  if (!peer.mobike) return [];
  return [
    notify(NotifyType.code.MOBIKE_SUPPORTED),
    ...furtherAddresses(sa, peer),
    ...(sa.role === "initiator" ? noNatsAllowed(sa) : []),
  ];
}

/** Both support it: from here on `sa` is mobile. */
export function acceptMobike(sa: IkeSa, peer: PeerSettings, payloads: readonly Payload[]): void {
  if (!peer.mobike || !findNotify(payloads, NotifyType.code.MOBIKE_SUPPORTED)) return;
  sa.mobike = {
    initiator: sa.role === "initiator",
    peerAddresses: addressesIn(payloads),
    pending: false,
    seenAs: undefined,
    refusals: 0,
    unacceptable: new Set(),
    left: undefined,
  };
}

/** A successor is as mobile as `old`; the hash of what the peer sees covers the SPIs, which are others (§3.8). */
export function inheritMobility(old: IkeSa, successor: IkeSa): void {
  successor.mobike = old.mobike && { ...old.mobike, seenAs: undefined };
  successor.espPath = old.espPath;
}

// ── Addresses in payloads ────────────────────────────────────────────────────────────────────────────────────────

/** Our addresses other than the one in the IP header. */
export function furtherAddresses(sa: IkeSa, peer: PeerSettings): NotifyPayload[] {
  return peer.local
    .filter((a) => sa.host.isLocal(a) && !a.equals(sa.local.address))
    .slice(0, maxAddresses)
    .map((a) =>
      notify(
        a.family === 4 ? NotifyType.code.ADDITIONAL_IP4_ADDRESS : NotifyType.code.ADDITIONAL_IP6_ADDRESS,
        a.bytes,
      ),
    );
}

/** As `furtherAddresses`, and NO_ADDITIONAL_ADDRESSES when there is none (§3.6). */
export function completeAddresses(sa: IkeSa): NotifyPayload[] {
  const further = furtherAddresses(sa, sa.peer!);
  return further.length > 0 ? further : [notify(NotifyType.code.NO_ADDITIONAL_ADDRESSES)];
}

/** The usable ones of ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS, each once, bounded. */
export function addressesIn(payloads: readonly Payload[]): IpAddress[] {
  const found: IpAddress[] = [];
  for (const p of payloads) {
    if (p.kind !== "N" || found.length === maxAddresses) continue;
    const bytes =
      p.type === NotifyType.code.ADDITIONAL_IP4_ADDRESS
        ? 4
        : p.type === NotifyType.code.ADDITIONAL_IP6_ADDRESS
          ? 16
          : 0;
    if (bytes === 0 || p.data.length !== bytes) continue;
    const address = IpAddress.fromBytes(p.data);
    if (isUnicast(address) && !found.some((a) => a.equals(address))) found.push(address);
  }
  return found;
}

/** The message speaks of the peer's set of addresses. */
export function listsAddresses(payloads: readonly Payload[]): boolean {
  return (
    findNotify(payloads, NotifyType.code.ADDITIONAL_IP4_ADDRESS) !== undefined ||
    findNotify(payloads, NotifyType.code.ADDITIONAL_IP6_ADDRESS) !== undefined ||
    findNotify(payloads, NotifyType.code.NO_ADDITIONAL_ADDRESSES) !== undefined
  );
}

/** Something that a packet can be sent to over a network: not unspecified, loopback, multicast or broadcast. */
export function isUnicast({ family, bytes }: IpAddress): boolean {
  if (family === 4) return bytes[0] !== 0 && bytes[0] !== 127 && bytes[0]! < 224;
  const lead = bytes.subarray(0, 15).every((b) => b === 0);
  return bytes[0] !== 0xff && !(lead && bytes[15]! < 2);
}

/**
 * NO_NATS_ALLOWED (§3.9): source address, destination address, source port, destination port, as we send them. Only
 * without NAT traversal, which would have to find NATs otherwise.
 */
export function noNatsAllowed(sa: IkeSa): NotifyPayload[] {
  if (sa.nat.supported) return [];
  return [notify(NotifyType.code.NO_NATS_ALLOWED, noNatsData(sa.local, sa.remote))];
}

/** The peer allows no NAT, and the addresses on the packet are not those that it sent. */
export function meetsForbiddenNat(payloads: readonly Payload[], { local, remote }: Path): boolean {
  const expected = findNotify(payloads, NotifyType.code.NO_NATS_ALLOWED)?.data;
  if (!expected) return false;
  const actual = noNatsData(remote, local);
  return expected.length !== actual.length || !actual.every((b, i) => b === expected[i]);
}

function noNatsData(source: Endpoint, destination: Endpoint): Uint8Array {
  const port = (n: number) => [n >> 8, n & 0xff];
  return Uint8Array.from([
    ...source.address.bytes,
    ...destination.address.bytes,
    ...port(source.port),
    ...port(destination.port),
  ]);
}

// ── Paths ────────────────────────────────────────────────────────────────────────────────────────────────────────

export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.port === b.port && a.address.equals(b.address);
}

export function samePath(a: Path, b: Path): boolean {
  return sameEndpoint(a.local, b.local) && sameEndpoint(a.remote, b.remote);
}

export const pathText = ({ local, remote }: Path): string =>
  `${local.address} ${local.port} ${remote.address} ${remote.port}`;

/**
 * Initiator: the other pairs of an address of ours and one of the peer's, likeliest first: where the peer is now, where
 * the configuration or its name says, where it says itself. Responder: where the peer's ESP comes from by now.
 */
export function otherPaths(sa: IkeSa): Path[] {
  const { mobike, peer } = sa;
  if (!mobike || !peer || !sa.established) return [];
  if (!mobike.initiator) return sa.espPath && !samePath(sa.espPath, sa) ? [sa.espPath] : [];
  const locals = peer.local.filter((a) => sa.host.isLocal(a));
  const remotes: IpAddress[] = [];
  const known = [sa.remote.address, ...sa.host.addressesOf(peer), ...mobike.peerAddresses];
  for (const address of known) if (!remotes.some((r) => r.equals(address))) remotes.push(address);
  const paths: Path[] = [];
  for (const address of remotes) {
    const port = address.equals(sa.remote.address) ? sa.remote.port : sa.local.port;
    const remote = { address, port };
    for (const local of locals) {
      if (local.family !== address.family) continue;
      const path = { local: { address: local, port: sa.local.port }, remote };
      if (!samePath(path, sa) && !mobike.unacceptable.has(pathText(path))) paths.push(path);
    }
  }
  return paths.slice(0, maxPaths);
}

/** The operator named the address, or packets went there already: nobody can be flooded there by our peer's word. */
export function isTrusted(sa: IkeSa, address: IpAddress): boolean {
  if (sa.host.addressesOf(sa.peer!).some((a) => a.equals(address))) return true;
  for (const child of sa.children.values()) if (child.remote.equals(address)) return true;
  return false;
}
