/**
 * The ciphers of the Encrypted payload: AES-CBC with HMAC, encrypt-then-MAC (RFC 7296 §3.14), and AES-GCM (RFC 5282).
 * One object per direction of an IKE SA. Implements the SkSealer and SkOpener that src/wire asks for.
 *
 * node:crypto does the work: for a message of 400 octets it needs a third (CBC, HMAC) to a sixth (GCM) of the CPU
 * time of a JavaScript implementation.
 */
import {
  type CipherGCM,
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
} from "node:crypto";
import type { Random } from "../core/random.ts";
import type { Secret } from "../core/secret.ts";
import {
  EncryptionAlgorithm,
  type EncryptionRow,
  encrById,
  encrKeyBits,
  type IkeSuite,
  IntegrityAlgorithm,
  type IntegrityRow,
  integById,
} from "../registry/index.ts";
import { constantTimeEqual } from "./equal.ts";
import { hmac } from "./hmac.ts";

export interface SkCipher {
  readonly ivBytes: number;
  readonly icvBytes: number;
  readonly block: number;
  /** Protects `message` in place: additional data up to `bodyOffset`, IV, padded plaintext, ICV. */
  seal(message: Uint8Array, bodyOffset: number): void;
  /** The padded plaintext in memory of its own, or undefined when the ICV is wrong or the layout impossible. */
  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined;
}

/**
 * The cipher of one direction: SK_ei with SK_ai, or SK_er with SK_ar. The secrets stay their owner's, who wipes them.
 * `random` gives the IVs of CBC. Throws RangeError when the suite cannot be run: negotiation must not have chosen it.
 */
export function skCipher(
  suite: Pick<IkeSuite, "encr" | "keyBits" | "integ">,
  encrKey: Secret,
  integKey: Secret,
  random: Random,
): SkCipher {
  const row = encrById.get(suite.encr);
  if (!row?.implemented.ike)
    throw new RangeError(`${EncryptionAlgorithm.nameOf(suite.encr)} is not implemented for IKE`);
  const bits = encrKeyBits(row, suite.keyBits);
  if (encrKey.length !== bits / 8 + row.saltBytes)
    throw new RangeError(`the key has ${encrKey.length} octets, not ${bits / 8 + row.saltBytes}`);
  if (row.mode === "aead") return new GcmCipher(row, `aes-${bits}-gcm` as CipherGCMTypes, encrKey);
  const integ = integById.get(suite.integ);
  if (!integ?.implemented.ike)
    throw new RangeError(`${IntegrityAlgorithm.nameOf(suite.integ)} is not implemented for IKE`);
  if (integKey.length !== integ.keyBytes)
    throw new RangeError(`the integrity key has ${integKey.length} octets, not ${integ.keyBytes}`);
  return new CbcCipher(row, integ, `aes-${bits}-cbc`, encrKey, integKey, random);
}

class GcmCipher implements SkCipher {
  readonly ivBytes: number;
  readonly icvBytes: number;
  readonly block: number;
  readonly #algorithm: CipherGCMTypes;
  readonly #keyBytes: number;
  readonly #keyAndSalt: Secret;
  // RFC 5282 §3.1: an IV must not repeat under a key; a counter cannot.
  #nextIv = 0n;

  constructor(row: EncryptionRow, algorithm: CipherGCMTypes, keyAndSalt: Secret) {
    this.ivBytes = row.ivBytes;
    this.icvBytes = row.icvBytes;
    this.block = row.block;
    this.#algorithm = algorithm;
    this.#keyBytes = keyAndSalt.length - row.saltBytes;
    this.#keyAndSalt = keyAndSalt;
  }

  seal(message: Uint8Array, bodyOffset: number): void {
    const plaintextAt = bodyOffset + this.ivBytes;
    const icvAt = message.length - this.icvBytes;
    const iv = message.subarray(bodyOffset, plaintextAt);
    new DataView(iv.buffer, iv.byteOffset, iv.length).setBigUint64(0, this.#nextIv++);
    const cipher: CipherGCM = createCipheriv(this.#algorithm, this.#key(), this.#nonce(iv));
    cipher.setAAD(message.subarray(0, bodyOffset));
    message.set(cipher.update(message.subarray(plaintextAt, icvAt)), plaintextAt);
    cipher.final();
    message.set(cipher.getAuthTag(), icvAt);
  }

  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined {
    const ciphertextAt = bodyOffset + this.ivBytes;
    const icvAt = message.length - this.icvBytes;
    if (icvAt <= ciphertextAt) return undefined;
    const nonce = this.#nonce(message.subarray(bodyOffset, ciphertextAt));
    const decipher: DecipherGCM = createDecipheriv(this.#algorithm, this.#key(), nonce);
    decipher.setAAD(message.subarray(0, bodyOffset));
    decipher.setAuthTag(message.subarray(icvAt));
    const plaintext = decipher.update(message.subarray(ciphertextAt, icvAt));
    try {
      decipher.final();
    } catch {
      // The only thing that GCM's final can report is a wrong ICV. Plaintext that is not authentic must not be seen.
      plaintext.fill(0);
      return undefined;
    }
    return plaintext;
  }

  #key(): Uint8Array {
    return this.#keyAndSalt.reveal().subarray(0, this.#keyBytes);
  }

  /** RFC 5282 §4: the nonce is the salt followed by the IV. */
  #nonce(iv: Uint8Array): Uint8Array {
    const salt = this.#keyAndSalt.reveal().subarray(this.#keyBytes);
    const nonce = new Uint8Array(salt.length + iv.length);
    nonce.set(salt);
    nonce.set(iv, salt.length);
    return nonce;
  }
}

class CbcCipher implements SkCipher {
  readonly ivBytes: number;
  readonly icvBytes: number;
  readonly block: number;
  readonly #integ: IntegrityRow;
  readonly #algorithm: string;
  readonly #encrKey: Secret;
  readonly #integKey: Secret;
  readonly #random: Random;

  constructor(
    row: EncryptionRow,
    integ: IntegrityRow,
    algorithm: string,
    encrKey: Secret,
    integKey: Secret,
    random: Random,
  ) {
    this.ivBytes = row.ivBytes;
    this.icvBytes = integ.icvBytes;
    this.block = row.block;
    this.#integ = integ;
    this.#algorithm = algorithm;
    this.#encrKey = encrKey;
    this.#integKey = integKey;
    this.#random = random;
  }

  seal(message: Uint8Array, bodyOffset: number): void {
    const plaintextAt = bodyOffset + this.ivBytes;
    const icvAt = message.length - this.icvBytes;
    // RFC 3602 §3: the IV must be unpredictable.
    const iv = this.#random.bytes(this.ivBytes);
    message.set(iv, bodyOffset);
    const cipher = createCipheriv(this.#algorithm, this.#encrKey.reveal(), iv);
    cipher.setAutoPadding(false);
    message.set(cipher.update(message.subarray(plaintextAt, icvAt)), plaintextAt);
    cipher.final();
    message.set(this.#icv(message.subarray(0, icvAt)), icvAt);
  }

  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined {
    const ciphertextAt = bodyOffset + this.ivBytes;
    const icvAt = message.length - this.icvBytes;
    if (icvAt <= ciphertextAt || (icvAt - ciphertextAt) % this.block !== 0) return undefined;
    if (!constantTimeEqual(this.#icv(message.subarray(0, icvAt)), message.subarray(icvAt))) return undefined;
    const iv = message.subarray(bodyOffset, ciphertextAt);
    const decipher = createDecipheriv(this.#algorithm, this.#encrKey.reveal(), iv);
    decipher.setAutoPadding(false);
    const plaintext = decipher.update(message.subarray(ciphertextAt, icvAt));
    decipher.final();
    return plaintext;
  }

  /** RFC 7296 §3.14: over the entire message, starting with the fixed IKE header, up to the ICV. */
  #icv(authenticated: Uint8Array): Uint8Array {
    return hmac(this.#integ.hash, this.#integKey.reveal(), authenticated).subarray(0, this.icvBytes);
  }
}
