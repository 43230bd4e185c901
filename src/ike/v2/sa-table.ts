/** The IKE SAs of an endpoint: found by our SPI, and by their peer, without a walk over all of them. */
import type { IkeSa } from "./ike-sa.ts";

export class SaTable {
  readonly #bySpi = new Map<bigint, IkeSa>();
  readonly #byPeer = new Map<string, Set<IkeSa>>();

  get size(): number {
    return this.#bySpi.size;
  }

  get(spiLocal: bigint): IkeSa | undefined {
    return this.#bySpi.get(spiLocal);
  }

  has(sa: IkeSa): boolean {
    return this.#bySpi.get(sa.spiLocal) === sa;
  }

  /** In the order in which they came. May be walked while IKE SAs come and go. */
  all(): IterableIterator<IkeSa> {
    return this.#bySpi.values();
  }

  /** Those of a peer that are not closed, the newest last: a copy. */
  ofPeer(peerId: string): IkeSa[] {
    return [...(this.#byPeer.get(peerId) ?? [])].sort((a, b) => a.createdAt - b.createdAt);
  }

  add(sa: IkeSa): void {
    this.#bySpi.set(sa.spiLocal, sa);
    this.onPeerKnown(sa);
  }

  /** `sa.peer` was set, which happens once. */
  onPeerKnown(sa: IkeSa): void {
    if (!sa.peer || sa.is("CLOSED")) return;
    const own = this.#byPeer.get(sa.peer.id);
    if (own) own.add(sa);
    else this.#byPeer.set(sa.peer.id, new Set([sa]));
  }

  /** `sa` is closed: nothing but its last answer is still wanted, and that by SPI. */
  onClosed(sa: IkeSa): void {
    if (!sa.peer) return;
    const own = this.#byPeer.get(sa.peer.id);
    own?.delete(sa);
    if (own?.size === 0) this.#byPeer.delete(sa.peer.id);
  }

  delete(sa: IkeSa): void {
    this.onClosed(sa);
    this.#bySpi.delete(sa.spiLocal);
  }
}
