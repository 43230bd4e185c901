/** What both versions of IKE do alike when a negotiation has made a pair of IPsec SAs. */
import type { Endpoint } from "../../core/address.ts";
import type { SaPath, SaSpec } from "../../core/dataplane.ts";
import { type Random, randomBelow } from "../../core/random.ts";
import type { TrafficSelector } from "../../core/traffic-selector.ts";
import type { ChildSaKeys } from "../../crypto/index.ts";
import { type EspSuite, encrById, encrKeyBits } from "../../registry/index.ts";
import type { IkeOutput } from "./events.ts";
import type { EndpointLimits, PeerSettings } from "./settings.ts";
import type { Role } from "./views.ts";

/** Of an IKE SA or ISAKMP SA, what its pairs of IPsec SAs need. */
interface Owner {
  readonly host: {
    readonly exportKeys: boolean;
    emit(output: Extract<IkeOutput, { readonly kind: "installSa" | "espKeys" }>): void;
  };
  readonly peer: PeerSettings | undefined;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** A pair of IPsec SAs, as it was negotiated. */
export interface PairTerms {
  /** Ours: what the peer puts into its packets to us. */
  readonly spiIn: number;
  readonly spiOut: number;
  readonly suite: EspSuite;
  readonly keys: { readonly inbound: ChildSaKeys; readonly outbound: ChildSaKeys };
  readonly localSelectors: readonly TrafficSelector[];
  readonly remoteSelectors: readonly TrafficSelector[];
  /** NON_FIRST_FRAGMENTS_ALSO was agreed on (RFC 7296 §1.3.1). */
  readonly nonFirstFragments?: boolean | undefined;
}

export interface Limits {
  /** The part of each limit, above 0 and below 1, after which the pair is to be replaced. */
  readonly soft: number;
  /** 0: unlimited. */
  readonly hardBytes: number;
}

/** Installs both directions, inbound first, so that nothing the peer sends can arrive too early. */
export function installPair(owner: Owner, path: SaPath, terms: PairTerms, limits: Limits): void {
  const { host } = owner;
  const peer = owner.peer!;
  const { suite, spiIn, spiOut, localSelectors, remoteSelectors } = terms;
  const soft = (hard: number) => (hard === 0 ? 0 : Math.floor(hard * limits.soft));
  const { hardBytes } = limits;
  const hardPackets = packetLimit(peer.childLifetimePackets, suite.esn);
  const spec = (direction: SaSpec["direction"], spi: number, keys: ChildSaKeys): SaSpec => ({
    direction,
    spi,
    connection: peer.connectionIndex,
    local: path.local,
    remote: path.remote,
    encapsulation: path.encapsulation,
    pathMtu: path.pathMtu,
    encr: suite.encr,
    encrKeyBits: encrKeyBits(encrById.get(suite.encr)!, suite.keyBits),
    integ: suite.integ,
    encrKey: keys.encrKey,
    integKey: keys.integKey,
    esn: suite.esn,
    replayWindow: direction === "inbound" ? peer.replayWindow : 0,
    localSelectors,
    remoteSelectors,
    nonFirstFragments: terms.nonFirstFragments === true,
    dontFragment: peer.dontFragment,
    softBytes: soft(hardBytes),
    hardBytes,
    softPackets: soft(hardPackets),
    hardPackets,
  });
  exportKeys(owner, terms);
  host.emit({ kind: "installSa", sa: spec("inbound", spiIn, terms.keys.inbound) });
  host.emit({ kind: "installSa", sa: spec("outbound", spiOut, terms.keys.outbound) });
}

function exportKeys({ host, local, remote }: Owner, { suite, keys, spiIn, spiOut }: PairTerms): void {
  if (!host.exportKeys) return;
  const ends = [
    [remote.address, local.address, spiIn, keys.inbound],
    [local.address, remote.address, spiOut, keys.outbound],
  ] as const;
  for (const [source, destination, spi, { encrKey, integKey }] of ends) {
    const copies = { encrKey: encrKey.copy(), integKey: integKey.copy() };
    host.emit({ kind: "espKeys", keys: { source, destination, spi, suite, ...copies } });
  }
}

/** RFC 4303 §3.3.3: without extended numbers an SA has 2^32 − 1 packets to give; 0 is unlimited. */
function packetLimit(configured: number, esn: boolean): number {
  if (esn) return configured;
  const sequenceNumbers = 2 ** 32 - 1;
  return configured === 0 ? sequenceNumbers : Math.min(configured, sequenceNumbers);
}

/**
 * The part of a lifetime after which `role` replaces what it has: the initiator goes first, and the other one later. The
 * two ranges do not meet.
 */
export function softFraction(
  { random, limits }: { readonly random: Random; readonly limits: EndpointLimits },
  role: Role,
): number {
  const unit = randomBelow(random, 2 ** 16) / 2 ** 16;
  return limits.rekeyFraction + 0.06 * unit + (role === "initiator" ? 0 : 0.08);
}
