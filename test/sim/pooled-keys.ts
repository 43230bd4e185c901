/**
 * Key pairs for simulations that make very many: a few per group, each of which remembers the secrets that it has
 * computed. What is simulated does not depend on them, and the nonces still make every key of every SA differ.
 */
import { Secret } from "../../src/core/secret.ts";
import type { KeyPair } from "../../src/crypto/index.ts";
import { SeededRandom } from "./random.ts";
import { seededKeyPair } from "./simulation.ts";

interface Pooled {
  readonly pair: KeyPair;
  readonly secrets: Map<string, Uint8Array>;
}

const pairsPerGroup = 8;
const pools = new Map<number, readonly Pooled[]>();

/** One of the pool of `group`, at random. */
export function pooledKeyPair(random: SeededRandom, group: number): KeyPair {
  const pool = poolOf(group);
  const { pair, secrets } = pool[random.below(pool.length)]!;
  return {
    group,
    publicValue: pair.publicValue,
    computeSharedSecret(peerPublic) {
      const key = Buffer.from(peerPublic).toString("latin1");
      const known = secrets.get(key);
      if (known) return new Secret(Uint8Array.from(known));
      const secret = pair.computeSharedSecret(peerPublic);
      // Of strangers' public values there is no end.
      if (secrets.size < 4 * pairsPerGroup) secrets.set(key, Uint8Array.from(secret.reveal()));
      return secret;
    },
    wipe() {},
  };
}

function poolOf(group: number): readonly Pooled[] {
  const known = pools.get(group);
  if (known) return known;
  const random = new SeededRandom(group);
  const made = Array.from({ length: pairsPerGroup }, () => ({
    pair: seededKeyPair(random, group),
    secrets: new Map<string, Uint8Array>(),
  }));
  pools.set(group, made);
  return made;
}
