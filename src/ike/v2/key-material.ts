/** The keys of one IKE SA and what is done with them: sealing, opening, AUTH, the keys of CHILD_SAs. */

import type { Random } from "../../core/random.ts";
import type { Secret } from "../../core/secret.ts";
import {
  answerKeyExchange,
  type ChildSaKeys,
  type IkeKeys,
  ikeKeys,
  type KeyExchange,
  type KeyExchangeAnswer,
  childKeys as keymat,
  type PpkKeys,
  pskAuth as pskAuthOf,
  rekeySkeyseed,
  type SignedOctets,
  skCipher,
  skeyseed,
  verifyPskAuth as verifyPskAuthOf,
  wipeIkeKeys,
  wipePpkKeys,
} from "../../crypto/index.ts";
import type { EspSuite, IkeSuite } from "../../registry/index.ts";
import type { SkOpener, SkSealer } from "../../wire/index.ts";
import { type KeyPairs, unlessMisbehaved } from "../common/key-pairs.ts";

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
  /** SK(1) and so on of additional key exchanges (RFC 9370 §2.2.4); wiped here. */
  readonly additional?: readonly Secret[];
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
  const { Ni, Nr, shared, additional } = agreement;
  const seed = rekeySkeyseed(old.suite.prf, old.keys.SK_d, shared, Ni, Nr, additional);
  return securedBy(random, ids, suite, seed, agreement);
}

/** Keys after an additional key exchange of a first IKE SA (RFC 9370 §2.2.2); those of `old` are still there. */
export function secureFurther(random: Random, old: Secured, ids: KeyIds, shared: Secret): Secured {
  const { suite, keys, Ni, Nr } = old;
  const seed = rekeySkeyseed(suite.prf, keys.SK_d, shared, Ni, Nr);
  return securedBy(random, ids, suite, seed, { Ni, Nr, shared });
}

/** `secured` with the keys of a PPK in the place of its own, which are wiped (RFC 8784 §3). */
export function withPpkKeys(secured: Secured, mixed: PpkKeys): Secured {
  const keys = { ...secured.keys, ...mixed };
  wipePpkKeys(secured.keys);
  return { ...secured, keys, wipe: () => wipeIkeKeys(keys) };
}

function securedBy(
  random: Random,
  ids: KeyIds,
  suite: IkeSuite,
  seed: Secret,
  agreement: Agreement,
): Secured {
  const { Ni, Nr, shared, additional } = agreement;
  const keys = ikeKeys(suite, seed, { Ni, Nr, SPIi: ids.spiInitiator, SPIr: ids.spiResponder });
  for (const secret of [shared, ...(additional ?? [])]) secret.wipe();
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

/** The secret of a key exchange that we started, or undefined when the answer is not one. */
export function completeKey(exchange: KeyExchange, answer: Uint8Array): Secret | undefined {
  return unlessMisbehaved(() => exchange.complete(answer));
}

/** Our answer to a key exchange of `method`, or undefined when `offered` does not start one. */
export function answerKey(
  keyPairs: KeyPairs,
  method: number,
  offered: Uint8Array,
): KeyExchangeAnswer | undefined {
  return unlessMisbehaved(() => answerKeyExchange(method, offered, (group) => keyPairs.take(group)));
}

/** Keys of a CHILD_SA whose exchange had these nonces and, with PFS, this secret. */
export function childKeys(
  { suite, keys }: Secured,
  child: EspSuite,
  seed: {
    readonly Ni: Uint8Array;
    readonly Nr: Uint8Array;
    readonly shared?: Secret | undefined;
    readonly additional?: readonly Secret[] | undefined;
  },
): { toInitiator: ChildSaKeys; toResponder: ChildSaKeys } {
  const { Ni, Nr, shared, additional } = seed;
  const made = keymat(suite.prf, keys.SK_d, child, Ni, Nr, shared, additional);
  const { initiatorToResponder, responderToInitiator } = made;
  return { toInitiator: responderToInitiator, toResponder: initiatorToResponder };
}

export type Signed = Omit<SignedOctets, "SK_p">;
/** What of an IKE SA signs. */
export interface Signing {
  readonly suite: IkeSuite;
  readonly keys: Pick<IkeKeys, "SK_pi" | "SK_pr">;
}

/** AUTH of one side with a pre-shared key (§2.15). */
export function pskAuth(secured: Signing, signer: KeyIds["role"], psk: Secret, signed: Signed): Uint8Array {
  return pskAuthOf(secured.suite.prf, psk, octetsOf(secured, signer, signed));
}

export function verifyPskAuth(
  secured: Signing,
  signer: KeyIds["role"],
  psk: Secret,
  signed: Signed,
  auth: Uint8Array,
): boolean {
  return verifyPskAuthOf(secured.suite.prf, psk, octetsOf(secured, signer, signed), auth);
}

function octetsOf({ keys }: Signing, signer: KeyIds["role"], signed: Signed): SignedOctets {
  const { message, peerNonce, restOfIdPayload, intAuth } = signed;
  const SK_p = signer === "initiator" ? keys.SK_pi : keys.SK_pr;
  return { message, peerNonce, SK_p, restOfIdPayload, intAuth };
}
