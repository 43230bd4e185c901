/** The key schedule of an IKE SA (RFC 7296 §2.14, §2.18). */
import type { Secret } from "../core/secret.ts";
import {
  EncryptionAlgorithm,
  encrById,
  encrKeyBits,
  type IkeSuite,
  IntegrityAlgorithm,
  integById,
} from "../registry/index.ts";
import { cut, prfPlus, prfRow, secretPrf } from "./prf.ts";

/** The seven secrets, under the RFC's names. The owner of the IKE SA wipes them with it. */
export interface IkeKeys {
  readonly SK_d: Secret;
  readonly SK_ai: Secret;
  readonly SK_ar: Secret;
  /** With the salt behind the key where the cipher has one. */
  readonly SK_ei: Secret;
  readonly SK_er: Secret;
  readonly SK_pi: Secret;
  readonly SK_pr: Secret;
}

/** What both sides mixed in: nonces and SPIs of the exchange that made the IKE SA. */
export interface KeyInputs {
  readonly Ni: Uint8Array;
  readonly Nr: Uint8Array;
  readonly SPIi: bigint;
  readonly SPIr: bigint;
}

/** SKEYSEED = prf(Ni | Nr, g^ir). `prfId` is the negotiated PRF. */
export function skeyseed(prfId: number, Ni: Uint8Array, Nr: Uint8Array, gir: Secret): Secret {
  return secretPrf(prfId, concat(Ni, Nr), gir.reveal());
}

/**
 * SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), RFC 7296 §2.18. `oldPrf` is the PRF of the IKE SA that is being
 * replaced; what follows uses the new one.
 *
 * With additional key exchanges, SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n)), RFC 9370 §2.2.4: SK(0) is
 * `gir`, the others `additional`. During the first exchanges the same formula, with one secret and the PRF, SK_d and
 * nonces of the IKE SA itself, gives SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr), RFC 9370 §2.2.2.
 */
export function rekeySkeyseed(
  oldPrf: number,
  SK_d: Secret,
  gir: Secret,
  Ni: Uint8Array,
  Nr: Uint8Array,
  additional: readonly Secret[] = [],
): Secret {
  const more = additional.map((secret) => secret.reveal());
  return secretPrf(oldPrf, SK_d.reveal(), gir.reveal(), Ni, Nr, ...more);
}

/**
 * {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr)
 *
 * Wipes `seed`. The lengths are the suite's columns; SK_ai and SK_ar are empty with an AEAD cipher (RFC 5282 §7).
 */
export function ikeKeys(suite: IkeSuite, seed: Secret, inputs: KeyInputs): IkeKeys {
  const encrBytes = encrKeymatBytes(suite);
  const integBytes = integKeyBytes(suite.integ);
  const prfBytes = prfRow(suite.prf).keyBytes;
  const lengths = [prfBytes, integBytes, integBytes, encrBytes, encrBytes, prfBytes, prfBytes];
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const spis = new Uint8Array(16);
  const view = new DataView(spis.buffer);
  view.setBigUint64(0, inputs.SPIi);
  view.setBigUint64(8, inputs.SPIr);
  const keymat = prfPlus(suite.prf, seed.reveal(), [inputs.Ni, inputs.Nr, spis], total);
  seed.wipe();
  const [SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr] = cut(keymat, lengths) as SevenSecrets;
  return { SK_d, SK_ai, SK_ar, SK_ei, SK_er, SK_pi, SK_pr };
}

/** The three keys that a postquantum preshared key changes (RFC 8784 §3). */
export type PpkKeys = Pick<IkeKeys, "SK_d" | "SK_pi" | "SK_pr">;

/**
 *   SK_d  = prf+ (PPK, SK_d')
 *   SK_pi = prf+ (PPK, SK_pi')
 *   SK_pr = prf+ (PPK, SK_pr')
 *
 * of the lengths they had; `keys` are those with the prime, and stay as they are.
 */
export function ppkKeys(prfId: number, keys: PpkKeys, ppk: Secret): PpkKeys {
  const mix = (key: Secret) => prfPlus(prfId, ppk.reveal(), [key.reveal()], key.length);
  return { SK_d: mix(keys.SK_d), SK_pi: mix(keys.SK_pi), SK_pr: mix(keys.SK_pr) };
}

export function wipePpkKeys(keys: PpkKeys): void {
  for (const key of [keys.SK_d, keys.SK_pi, keys.SK_pr]) key.wipe();
}

export function wipeIkeKeys(keys: IkeKeys): void {
  for (const key of Object.values<Secret>({ ...keys })) key.wipe();
}

/** Octets of key and salt that the encryption transform takes from key material. RangeError if unknown. */
export function encrKeymatBytes(suite: {
  readonly encr: number;
  readonly keyBits: number | undefined;
}): number {
  const row = encrById.get(suite.encr);
  if (!row) throw new RangeError(`no key length is known for ${EncryptionAlgorithm.nameOf(suite.encr)}`);
  return encrKeyBits(row, suite.keyBits) / 8 + row.saltBytes;
}

/** 0 for NONE. RangeError if unknown. */
export function integKeyBytes(integ: number): number {
  if (integ === IntegrityAlgorithm.code.NONE) return 0;
  const row = integById.get(integ);
  if (!row) throw new RangeError(`no key length is known for ${IntegrityAlgorithm.nameOf(integ)}`);
  return row.keyBytes;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

type SevenSecrets = [Secret, Secret, Secret, Secret, Secret, Secret, Secret];
