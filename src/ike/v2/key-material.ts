/** The keys of one IKE SA and what is done with them: sealing, opening, AUTH, the keys of CHILD_SAs. */
import { PeerMisbehaved } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { Secret } from "../../core/secret.ts";
import {
  type ChildSaKeys,
  type IkeKeys,
  ikeKeys,
  type KeyPair,
  childKeys as keymat,
  pskAuth as pskAuthOf,
  rekeySkeyseed,
  type SignedOctets,
  skCipher,
  skeyseed,
  verifyPskAuth as verifyPskAuthOf,
  wipeIkeKeys,
} from "../../crypto/index.ts";
import type { EspSuite, IkeSuite } from "../../registry/index.ts";
import type { SkOpener, SkSealer } from "../../wire/index.ts";

/** Where fresh key pairs come from: generated ahead of need by the daemon, from a seed by the simulator. */
export interface KeyPairs {
  /** A key pair that nobody else gets. The taker wipes it. */
  take(group: number): KeyPair;
}

/**
 * Takes back pairs whose public value nobody has seen, because the peer's was worthless: else whoever sends rubbish
 * would have us generate a key pair for each.
 */
export class ReturnableKeyPairs implements KeyPairs {
  readonly #source: KeyPairs;
  readonly #unused = new Map<number, KeyPair>();

  constructor(source: KeyPairs) {
    this.#source = source;
  }

  take(group: number): KeyPair {
    const pair = this.#unused.get(group) ?? this.#source.take(group);
    this.#unused.delete(group);
    return pair;
  }

  giveBack(pair: KeyPair): void {
    if (this.#unused.has(pair.group)) pair.wipe();
    else this.#unused.set(pair.group, pair);
  }
}

export type DirectionKeys = ChildSaKeys;

export interface KeyIds {
  readonly role: "initiator" | "responder";
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
}

/** What an IKE SA has from the moment the two sides share a secret. */
export interface Secured {
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
  readonly sealer: SkSealer;
  readonly opener: SkOpener;
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
  wipe(): void;
}

interface Agreement {
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
  /** g^ir; wiped here. */
  readonly shared: Secret;
}

/** Keys of a first IKE SA (§2.14). */
export function secure(random: Random, ids: KeyIds, suite: IkeSuite, agreement: Agreement): Secured {
  const { Ni, Nr, shared } = agreement;
  return securedBy(random, ids, suite, skeyseed(suite.prf, Ni, Nr, shared), agreement);
}

/** Keys of the successor of `old` (§2.18). */
export function secureRekeyed(
  random: Random,
  old: Secured,
  ids: KeyIds,
  suite: IkeSuite,
  agreement: Agreement,
): Secured {
  const { Ni, Nr, shared } = agreement;
  const seed = rekeySkeyseed(old.suite.prf, old.keys.SK_d, shared, Ni, Nr);
  return securedBy(random, ids, suite, seed, agreement);
}

function securedBy(
  random: Random,
  ids: KeyIds,
  suite: IkeSuite,
  seed: Secret,
  agreement: Agreement,
): Secured {
  const { Ni, Nr, shared } = agreement;
  const keys = ikeKeys(suite, seed, { Ni, Nr, SPIi: ids.spiInitiator, SPIr: ids.spiResponder });
  shared.wipe();
  const byInitiator = skCipher(suite, keys.SK_ei, keys.SK_ai, random);
  const byResponder = skCipher(suite, keys.SK_er, keys.SK_ar, random);
  const initiator = ids.role === "initiator";
  return {
    suite,
    keys,
    sealer: initiator ? byInitiator : byResponder,
    opener: initiator ? byResponder : byInitiator,
    Ni,
    Nr,
    wipe: () => wipeIkeKeys(keys),
  };
}

/** g^ir, or undefined when the peer's value is not one of the group. */
export function sharedSecret(keyPair: KeyPair, peerPublic: Uint8Array): Secret | undefined {
  try {
    return keyPair.computeSharedSecret(peerPublic);
  } catch (error) {
    if (error instanceof PeerMisbehaved) return undefined;
    throw error;
  }
}

/** Keys of a CHILD_SA whose exchange had these nonces and, with PFS, this secret. */
export function childKeys(
  { suite, keys }: Secured,
  child: EspSuite,
  seed: { readonly Ni: Uint8Array; readonly Nr: Uint8Array; readonly shared?: Secret | undefined },
): { toInitiator: DirectionKeys; toResponder: DirectionKeys } {
  const { Ni, Nr, shared } = seed;
  const { initiatorToResponder, responderToInitiator } = keymat(suite.prf, keys.SK_d, child, Ni, Nr, shared);
  return { toInitiator: responderToInitiator, toResponder: initiatorToResponder };
}

export type Signed = Omit<SignedOctets, "SK_p">;

/** AUTH of one side with a pre-shared key (§2.15). */
export function pskAuth(secured: Secured, signer: KeyIds["role"], psk: Secret, signed: Signed): Uint8Array {
  return pskAuthOf(secured.suite.prf, psk, { ...signed, SK_p: signerKey(secured, signer) });
}

export function verifyPskAuth(
  secured: Secured,
  signer: KeyIds["role"],
  psk: Secret,
  signed: Signed,
  auth: Uint8Array,
): boolean {
  return verifyPskAuthOf(secured.suite.prf, psk, { ...signed, SK_p: signerKey(secured, signer) }, auth);
}

function signerKey({ keys }: Secured, signer: KeyIds["role"]): Secret {
  return signer === "initiator" ? keys.SK_pi : keys.SK_pr;
}
