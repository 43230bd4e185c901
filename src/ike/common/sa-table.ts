/** The IKE SAs of an endpoint: found by our SPI, and by their peer, without a walk over all of them. */
import type { Random } from "../../core/random.ts";
import { ikeSpiFrom } from "../../wire/index.ts";
import type { IkeSaView } from "./views.ts";

export class SaTable<Sa extends IkeSaView> {
  readonly #isIdentified: (sa: Sa) => boolean;
  readonly #bySpi = new Map<bigint, Sa>();
  readonly #byPeer = new Map<string, Set<Sa>>();
  /** Behind one roaming connection there may be thousands of peers: those by their identities, too. */
  readonly #byIdentity = new Map<string, Set<Sa>>();

  /** `isIdentified`: `sa.remoteId` was proven, and stays what it is. */
  constructor(isIdentified: (sa: Sa) => boolean) {
    this.#isIdentified = isIdentified;
  }

  get size(): number {
    return this.#bySpi.size;
  }

  get(spiLocal: bigint): Sa | undefined {
    return this.#bySpi.get(spiLocal);
  }

  has(sa: Sa): boolean {
    return this.#bySpi.get(sa.spiLocal) === sa;
  }

  /** In the order in which they came. May be walked while IKE SAs come and go. */
  all(): IterableIterator<Sa> {
    return this.#bySpi.values();
  }

  /** Those of a peer that are not closed, the newest last: a copy. */
  ofPeer(peerId: string): Sa[] {
    return newestLast(this.#byPeer.get(peerId));
  }

  /** As `ofPeer`, with the very peer of `sa`, which is authenticated: one of those that a roaming connection serves. */
  alike(sa: Sa): Sa[] {
    return sa.peer!.roaming ? newestLast(this.#byIdentity.get(identityOf(sa))) : this.ofPeer(sa.peer!.id);
  }

  /** Those of them that are authenticated, but for `sa`. */
  othersOf(sa: Sa): Sa[] {
    return this.alike(sa).filter((other) => other !== sa && other.established);
  }

  /** Another connection to the same peer counts too: INITIAL_CONTACT speaks for the identities, not for a connection. */
  isFirstContact(sa: Sa): boolean {
    for (const other of this.all())
      if (other !== sa && other.established && other.remote.address.equals(sa.remote.address)) return false;
    return true;
  }

  /** An SPI for an IKE SA of ours: not 0, and not in use. */
  newSpi(random: Random): bigint {
    for (;;) {
      const spi = ikeSpiFrom(random.bytes(8))!;
      if (spi !== 0n && !this.#bySpi.has(spi)) return spi;
    }
  }

  add(sa: Sa): void {
    this.#bySpi.set(sa.spiLocal, sa);
    this.onPeerKnown(sa);
  }

  /** `sa.peer` was set, or `sa` is authenticated. */
  onPeerKnown(sa: Sa): void {
    if (!sa.peer || sa.closed) return;
    insert(this.#byPeer, sa.peer.id, sa);
    if (sa.peer.roaming && this.#isIdentified(sa)) insert(this.#byIdentity, identityOf(sa), sa);
  }

  /** `sa` is closed: nothing but its last answer is still wanted, and that by SPI. */
  onClosed(sa: Sa): void {
    if (!sa.peer) return;
    remove(this.#byPeer, sa.peer.id, sa);
    remove(this.#byIdentity, identityOf(sa), sa);
  }

  delete(sa: Sa): void {
    this.onClosed(sa);
    this.#bySpi.delete(sa.spiLocal);
  }
}

const identityOf = (sa: IkeSaView): string => `${sa.peer!.id} ${sa.remoteId}`;

function insert<Sa>(index: Map<string, Set<Sa>>, key: string, sa: Sa): void {
  const own = index.get(key);
  if (own) own.add(sa);
  else index.set(key, new Set([sa]));
}

function remove<Sa>(index: Map<string, Set<Sa>>, key: string, sa: Sa): void {
  const own = index.get(key);
  own?.delete(sa);
  if (own?.size === 0) index.delete(key);
}

function newestLast<Sa extends IkeSaView>(sas: ReadonlySet<Sa> | undefined): Sa[] {
  if (!sas) return [];
  const list = [...sas];
  return list.length < 2 ? list : list.sort((a, b) => a.createdAt - b.createdAt);
}
