import type { IpAddress } from "../../core/address.ts";
import type { Random } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import type { ChildTable } from "../common/child-table.ts";
import type { IkeDrop } from "../common/drops.ts";
import type { IkeOutput } from "../common/events.ts";
import type { ReturnableKeyPairs } from "../common/key-pairs.ts";
import type { AskPacer } from "../common/patience.ts";
import type { EndpointLimits, PeerSettings } from "../common/settings.ts";
import type { AnsweredExchange } from "./exchange.ts";
import type { IpsecSa } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** What an IKEv1 endpoint tells its owner, in order. */
export type IsakmpOutput = IkeOutput<IsakmpSa, IpsecSa>;

/** What an ISAKMP SA asks of its endpoint. */
export interface Host {
  readonly random: Random;
  readonly limits: EndpointLimits;
  readonly keyPairs: ReturnableKeyPairs;
  readonly exportKeys: boolean;
  readonly nattPort: number;
  /** Turns for liveness checks, so that not all peers are asked at once. */
  readonly asks: AskPacer;
  /** Every IPsec SA of every ISAKMP SA. */
  readonly children: ChildTable<IsakmpSa, IpsecSa>;
  /** This side keeps the tunnel with that peer up, all of it. */
  keepsUp(peerId: string): boolean;
  /** When the last authentic ESP packet came on an inbound SA, on the clock of `now`; undefined: none, or unknown. */
  lastInbound(spi: number, remote: IpAddress): Instant | undefined;
  allocateSpi(): number;
  releaseSpi(spi: number): void;
  newIkeSpi(): bigint;
  emit(output: IsakmpOutput): void;
  count(drop: IkeDrop): void;
  /** `sa` is authenticated: settle what other ISAKMP SAs with the same peer become. */
  onEstablished(sa: IsakmpSa, now: Instant, initialContact: boolean): void;
  /** No other authenticated ISAKMP SA with that address exists, in any connection. */
  isFirstContact(sa: IsakmpSa): boolean;
  /** Another ISAKMP SA with the very peer of `sa` is established. */
  hasOther(sa: IsakmpSa): boolean;
  /** The other ISAKMP SAs with the very peer of `sa` that are authenticated and not over, the newest last. */
  othersOf(sa: IsakmpSa): readonly IsakmpSa[];
  /** A peer's ISAKMP SAs that are not closed, the newest last. */
  sasOf(peerId: string): readonly IsakmpSa[];
  /** A new ISAKMP SA beside `old`, on its path, to take its place. */
  replace(old: IsakmpSa, now: Instant): void;
  /** Somebody at that address has begun a phase 1 that is not over. */
  isComing(address: IpAddress): boolean;
  /** Starts phase 1 of `sa`, as initiator. */
  beginPhase1(sa: IsakmpSa, now: Instant): void;
  /** Whoever `sa` is with, it knows our SPI: it is where it says. */
  onSeen(sa: IsakmpSa): void;
  /** `sa` is to be found by its SPIs from now on. */
  adopt(sa: IsakmpSa): void;
  /** This host has the address now. */
  isLocal(address: IpAddress): boolean;
  /** Where the configuration, or the DNS when it was asked last, says that a peer lives. */
  addressesOf(peer: PeerSettings): readonly IpAddress[];
  /** Something about `sa` changed: its deadline may have. */
  touch(sa: IsakmpSa): void;
  /** `sa` is closed and its answers are no longer needed. */
  forget(sa: IsakmpSa): void;
  /** What answers exchanges of a type that the peer begins; undefined for types that we do not know. */
  answers(type: number): AnsweredExchange | undefined;
}
