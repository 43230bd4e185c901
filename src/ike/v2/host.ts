import type { IpAddress } from "../../core/address.ts";
import type { Random } from "../../core/random.ts";
import type { Secret } from "../../core/secret.ts";
import type { Instant } from "../../core/time.ts";
import type { ChildTable } from "../common/child-table.ts";
import type { IkeDrop } from "../common/drops.ts";
import type { ReturnableKeyPairs } from "../common/key-pairs.ts";
import type { AskPacer } from "../common/patience.ts";
import type { EndpointLimits, PeerSettings } from "../common/settings.ts";
import type { ChildSa } from "./child-sa.ts";
import type { IkeOutput } from "./events.ts";
import type { Exchange } from "./exchange.ts";
import type { IkeSa } from "./ike-sa.ts";
import type { Ask } from "./pairs.ts";

/** What an IKE SA asks of its endpoint. */
export interface Host {
  readonly random: Random;
  readonly limits: EndpointLimits;
  readonly keyPairs: ReturnableKeyPairs;
  readonly exportKeys: boolean;
  readonly nattPort: number;
  /** What was learned about a peer, by its id: that it takes one pair in a CHILD_SA. Outlives its IKE SAs. */
  readonly pairings: Map<string, "each">;
  /** What the path to a peer carried when it was last used, by the peer's id. Outlives its IKE SAs. */
  readonly pathMtus: Map<
    string,
    { readonly local: IpAddress; readonly remote: IpAddress; readonly mtu: number }
  >;
  /** Ids of peers that do not answer a padded request. */
  readonly unpaddable: Set<string>;
  /** Turns for liveness checks, so that not all peers are asked at once. */
  readonly asks: AskPacer;
  /** Every CHILD_SA of every IKE SA. */
  readonly children: ChildTable<IkeSa, ChildSa>;
  /** This side keeps the tunnel with that peer up, all of it. */
  keepsUp(peerId: string): boolean;
  /** Starts the exchange for a new CHILD_SA. */
  askChild(sa: IkeSa, ask: Ask, now: Instant): void;
  /** What our tokens of RFC 6290 are made of; undefined: none are made. */
  readonly crashSecret: Secret | undefined;
  /** When the last authentic ESP packet came on an inbound SA, on the clock of `now`; undefined: none, or unknown. */
  lastInbound(spi: number, remote: IpAddress): Instant | undefined;
  allocateSpi(): number;
  releaseSpi(spi: number): void;
  newIkeSpi(): bigint;
  /** Our SPIs of successors whose requests are under way: the peer may have them, and use them, before we do. */
  readonly offeredIkeSpis: Set<bigint>;
  emit(output: IkeOutput): void;
  count(drop: IkeDrop): void;
  /** `sa` is authenticated: settle what other IKE SAs with the same peer become. */
  onEstablished(sa: IkeSa, now: Instant, initialContact: boolean): void;
  /** The peer has used `sa`, or one of its CHILD_SAs. */
  onUse(sa: IkeSa, now: Instant): void;
  /** No other authenticated IKE SA with that peer exists, in any connection. */
  isFirstContact(sa: IkeSa): boolean;
  /** Another authenticated IKE SA of the connection with the peer of `sa` exists. */
  hasOther(sa: IkeSa): boolean;
  /** The other authenticated IKE SAs of the connection with the peer of `sa`. */
  othersOf(sa: IkeSa): readonly IkeSa[];
  /** A peer's IKE SAs that are not closed. */
  sasOf(peerId: string): readonly IkeSa[];
  /** The newest of those that can carry packets. */
  heirOf(sa: IkeSa): IkeSa | undefined;
  /** `successor` came out of a rekey and must be found by its SPIs from now on. */
  adopt(successor: IkeSa): void;
  /** This host has the address now. */
  isLocal(address: IpAddress): boolean;
  /** Where the configuration, or the DNS when it was asked last, says that a peer lives. */
  addressesOf(peer: PeerSettings): readonly IpAddress[];
  /** The soft lifetime of `sa` has passed. */
  onRekeyDue(sa: IkeSa, now: Instant): void;
  /** `sa` is to be replaced by one that is set up in full. */
  onReauthenticationDue(sa: IkeSa, now: Instant): void;
  /** The soft lifetime of `child` has passed, in time, bytes or packets. */
  onChildRekeyDue(sa: IkeSa, child: ChildSa, now: Instant): void;
  /** Something about `sa` changed: its deadline may have. */
  touch(sa: IkeSa): void;
  /** `sa` is closed and its answers are no longer needed. */
  forget(sa: IkeSa): void;
  /** The exchange that answers requests of a type; undefined for unknown types. */
  exchange(type: number): Exchange | undefined;
}
