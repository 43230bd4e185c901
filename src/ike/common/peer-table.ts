/**
 * The peers that an endpoint knows, and which of them may be calling: found by address, or, for those that can be
 * anywhere, all of them. Ten thousand peers cost a first message no more than ten do.
 */
import type { IpAddress } from "../../core/address.ts";
import { type EncodedIdentity, encodeIdentity } from "./identity.ts";
import type { PeerSettings } from "./settings.ts";

export class PeerTable {
  readonly #byId = new Map<string, PeerSettings>();
  readonly #byRemote = new Map<string, Set<PeerSettings>>();
  readonly #roaming = new Map<string, PeerSettings>();
  /** By our address and, where it is a peer's, the caller's: strangers cannot make it grow. */
  readonly #answers = new Map<string, readonly PeerSettings[]>();

  constructor(peers: readonly PeerSettings[] = []) {
    for (const peer of peers) this.#add(peer);
  }

  /** `peer` in the place of what has its id; without that, nothing. Costs nothing that grows with the other peers. */
  update(peer: PeerSettings): void {
    const old = this.#byId.get(peer.id);
    if (!old) return;
    for (const address of old.remote) {
      const key = address.toString();
      const own = this.#byRemote.get(key);
      own?.delete(old);
      if (own?.size === 0) this.#byRemote.delete(key);
    }
    if (!peer.roaming) this.#roaming.delete(peer.id);
    this.#add(peer);
    this.#answers.clear();
  }

  #add(peer: PeerSettings): void {
    this.#byId.set(peer.id, peer);
    if (peer.roaming) this.#roaming.set(peer.id, peer);
    for (const address of peer.remote) {
      const key = address.toString();
      const own = this.#byRemote.get(key);
      if (own) own.add(peer);
      else this.#byRemote.set(key, new Set([peer]));
    }
  }

  get(id: string): PeerSettings | undefined {
    return this.#byId.get(id);
  }

  /** Those with `remote` as their address first, then the roaming ones. The same array until the peers change. */
  candidates(local: IpAddress, remote: IpAddress): readonly PeerSettings[] {
    const at = remote.toString();
    const byAddress = this.#byRemote.get(at);
    const key = byAddress ? `${local} ${at}` : local.toString();
    let answer = this.#answers.get(key);
    if (!answer) {
      const others = [...this.#roaming.values()].filter((peer) => !byAddress?.has(peer));
      answer = [...(byAddress ?? []), ...others].filter((peer) => isAt(peer, local));
      this.#answers.set(key, answer);
    }
    return answer;
  }
}

const isAt = (peer: PeerSettings, local: IpAddress): boolean => peer.local.some((a) => a.equals(local));

/**
 * Those of `candidates` that may expect the identity `id`, in their order: who expects another one is left out, and
 * found by a look into an index where there are many.
 */
export function mayExpect(candidates: readonly PeerSettings[], id: EncodedIdentity): readonly PeerSettings[] {
  if (candidates.length <= fewCandidates) return candidates;
  let index = indexes.get(candidates);
  if (!index) {
    index = new Map();
    for (const [at, peer] of candidates.entries()) {
      // Without an identity of its own a peer's address, or nothing at all, decides.
      const key = peer.remoteId && identityKey(encodeIdentity(peer.remoteId));
      const found = index.get(key);
      if (found) found.push(at);
      else index.set(key, [at]);
    }
    indexes.set(candidates, index);
  }
  const named = index.get(identityKey(id)) ?? [];
  const others = index.get(undefined) ?? [];
  return [...named, ...others].sort((a, b) => a - b).map((at) => candidates[at]!);
}

/** As `identityMatches` compares: the case of names does not count. */
const identityKey = ({ idType, data }: EncodedIdentity): string =>
  `${idType} ${String.fromCharCode(...data.subarray(0, comparedOctets)).toLowerCase()}`;

/** Positions of the candidates that expect an identity, by its key, for as long as the list of candidates lives. */
const indexes = new WeakMap<readonly PeerSettings[], Map<string | undefined, number[]>>();
const fewCandidates = 16;
/** Longer identities may share a key: the index only ever leaves out what cannot match. */
const comparedOctets = 128;
