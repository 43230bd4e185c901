/**
 * NAT detection and UDP encapsulation (RFC 3947, RFC 3948): each side sends hashes of the addresses it believes in; one
 * that does not match what arrived betrays a NAT in between. From then on everything travels on the NAT traversal port.
 */
import { compareBytes, type Endpoint } from "../../core/address.ts";
import type { Instant } from "../../core/time.ts";
import { natDHash } from "../../crypto/index.ts";
import { type IsakmpPayload, isakmpPayloadsOf, type NatDPayload } from "../../wire/v1/index.ts";
import type { PeerSettings } from "../common/settings.ts";
import { encapsulates, type Nat, unencapsulated } from "../common/views.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

interface Path {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/**
 * RFC 3947 §3.2: first the hash of the peer's address, then that of ours. None without a dialect in common. `prf`: the
 * HMAC of the negotiated hash, whose hash it is.
 */
export function natDPayloads(
  sa: IsakmpSa,
  prf: number,
  settings: PeerSettings["natTraversal"],
): NatDPayload[] {
  if (!sa.natDialect || !settings) return [];
  const draft = sa.natDialect === "draft";
  const remote = hashOf(sa, prf, sa.remote);
  const local = hashOf(sa, prf, sa.local);
  // A hash that cannot match makes the peer believe in a NAT on our side, so both sides encapsulate.
  const source = settings.forceEncapsulation ? sa.host.random.bytes(local.length) : local;
  return [remote, source].map((hash) => ({ kind: "NAT-D", draft, hash }));
}

/** What the peer's payloads say about `path`, on which they arrived. */
export function detectNat(
  sa: IsakmpSa,
  payloads: readonly IsakmpPayload[],
  prf: number,
  { local, remote }: Path,
  settings: PeerSettings["natTraversal"],
): Nat {
  const [destination, ...sources] = isakmpPayloadsOf(payloads, "NAT-D");
  if (!sa.natDialect || !settings || !destination || sources.length === 0) return unencapsulated;
  const expected = hashOf(sa, prf, remote);
  // In message 3 of aggressive mode some hash the port of the messages before.
  const own = [local, { ...local, port: IKE_PORT }].map((end) => hashOf(sa, prf, end));
  return {
    supported: true,
    local: !own.some((hash) => compareBytes(destination.hash, hash) === 0),
    // A peer with several addresses sends several; one match is enough.
    remote: !sources.some(({ hash }) => compareBytes(hash, expected) === 0),
    forced: settings.forceEncapsulation,
  };
}

/** §4: as soon as a NAT is found, the initiator moves to the NAT traversal port, and its peer follows. */
export function floatPorts(sa: IsakmpSa): void {
  const { nattPort } = sa.host;
  // One that takes the place of another began on that port, and on what a NAT made of it.
  if (!encapsulates(sa.nat) || sa.local.port === nattPort) return;
  sa.local = { address: sa.local.address, port: nattPort };
  sa.remote = { address: sa.remote.address, port: nattPort };
}

/** Keepalives hold the mapping of a NAT in front of us (RFC 3948 §2.3). */
export function startKeepalives(sa: IsakmpSa, now: Instant): void {
  const keepaliveMs = sa.peer?.natTraversal?.keepaliveMs;
  sa.keepaliveAt = sa.nat.local && keepaliveMs !== undefined ? now + keepaliveMs : undefined;
}

/** HASH = HASH(CKY-I | CKY-R | IP | Port), with the hash that was negotiated. */
const hashOf = ({ spiInitiator, spiResponder }: IsakmpSa, prf: number, end: Endpoint): Uint8Array =>
  natDHash(prf, spiInitiator, spiResponder, end);

const IKE_PORT = 500;
