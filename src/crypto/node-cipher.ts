/**
 * The ciphers of the Encrypted payload by node:crypto: what runs without the accelerator, and what its results are
 * compared with. For a message of 400 octets it needs a third (CBC, HMAC) to a sixth (GCM) of the CPU time of a
 * JavaScript implementation.
 */
import {
  type CipherGCM,
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
} from "node:crypto";
import type { Secret } from "../core/secret.ts";
import type { EncryptionRow, IntegrityRow } from "../registry/index.ts";
import { constantTimeEqual } from "./equal.ts";
import { hmac } from "./hmac.ts";
import { opensslCipher } from "./openssl-names.ts";

/** One direction of an IKE SA, for messages whose IV is chosen already. */
export interface MessageCipher {
  /** Protects `message` in place: additional data up to `bodyOffset`, IV, padded plaintext, ICV. */
  seal(message: Uint8Array, bodyOffset: number): void;
  /** The padded plaintext in memory of its own, or undefined when the ICV is wrong or the layout impossible. */
  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined;
}

/** `integ`: none with an AEAD. Keys have the rows' lengths and stay their owner's. */
export function nodeCipher(
  row: EncryptionRow,
  bits: number,
  integ: IntegrityRow | undefined,
  encrKey: Secret,
  integKey: Secret,
): MessageCipher {
  if (!integ) return new AeadCipher(row, bits, encrKey);
  const cipher = row.mode === "cbc" ? new CbcMode(row, bits, encrKey) : new CounterMode(row, bits, encrKey);
  return new EncryptThenMac(row, cipher, integ, integKey);
}

class AeadCipher implements MessageCipher {
  readonly #ivBytes: number;
  readonly #icvBytes: number;
  // node types the AEAD interface by GCM's names; ChaCha20-Poly1305 has the same one.
  readonly #algorithm: CipherGCMTypes;
  readonly #options: { readonly authTagLength: number };
  readonly #key: KeyAndSalt;

  constructor(row: EncryptionRow, bits: number, keyAndSalt: Secret) {
    this.#ivBytes = row.ivBytes;
    this.#icvBytes = row.icvBytes;
    this.#algorithm = opensslCipher(row.id, bits).name as CipherGCMTypes;
    this.#options = { authTagLength: row.icvBytes };
    this.#key = new KeyAndSalt(row, keyAndSalt);
  }

  seal(message: Uint8Array, bodyOffset: number): void {
    const plaintextAt = bodyOffset + this.#ivBytes;
    const icvAt = message.length - this.#icvBytes;
    const iv = message.subarray(bodyOffset, plaintextAt);
    const nonce = this.#key.nonce(iv);
    const cipher: CipherGCM = createCipheriv(this.#algorithm, this.#key.key(), nonce, this.#options);
    cipher.setAAD(message.subarray(0, bodyOffset));
    message.set(cipher.update(message.subarray(plaintextAt, icvAt)), plaintextAt);
    cipher.final();
    message.set(cipher.getAuthTag(), icvAt);
  }

  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined {
    const ciphertextAt = bodyOffset + this.#ivBytes;
    const icvAt = message.length - this.#icvBytes;
    if (icvAt <= ciphertextAt) return undefined;
    const nonce = this.#key.nonce(message.subarray(bodyOffset, ciphertextAt));
    const decipher: DecipherGCM = createDecipheriv(this.#algorithm, this.#key.key(), nonce, this.#options);
    decipher.setAAD(message.subarray(0, bodyOffset));
    decipher.setAuthTag(message.subarray(icvAt));
    const plaintext = decipher.update(message.subarray(ciphertextAt, icvAt));
    try {
      decipher.final();
    } catch {
      // The only thing that an AEAD's final can report is a wrong ICV. Plaintext that is not authentic must not be seen.
      plaintext.fill(0);
      return undefined;
    }
    return plaintext;
  }
}

/** Any cipher without integrity of its own, with HMAC over the entire message up to the ICV (RFC 7296 §3.14). */
class EncryptThenMac implements MessageCipher {
  readonly #ivBytes: number;
  readonly #icvBytes: number;
  readonly #block: number;
  readonly #cipher: UnauthenticatedMode;
  readonly #integ: IntegrityRow;
  readonly #integKey: Secret;

  constructor(row: EncryptionRow, cipher: UnauthenticatedMode, integ: IntegrityRow, integKey: Secret) {
    this.#ivBytes = row.ivBytes;
    this.#icvBytes = integ.icvBytes;
    this.#block = row.block;
    this.#cipher = cipher;
    this.#integ = integ;
    this.#integKey = integKey;
  }

  seal(message: Uint8Array, bodyOffset: number): void {
    const plaintextAt = bodyOffset + this.#ivBytes;
    const icvAt = message.length - this.#icvBytes;
    const iv = message.subarray(bodyOffset, plaintextAt);
    message.set(this.#cipher.encrypt(iv, message.subarray(plaintextAt, icvAt)), plaintextAt);
    message.set(this.#icv(message.subarray(0, icvAt)), icvAt);
  }

  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined {
    const ciphertextAt = bodyOffset + this.#ivBytes;
    const icvAt = message.length - this.#icvBytes;
    if (icvAt <= ciphertextAt || (icvAt - ciphertextAt) % this.#block !== 0) return undefined;
    if (!constantTimeEqual(this.#icv(message.subarray(0, icvAt)), message.subarray(icvAt))) return undefined;
    const iv = message.subarray(bodyOffset, ciphertextAt);
    return this.#cipher.decrypt(iv, message.subarray(ciphertextAt, icvAt));
  }

  #icv(authenticated: Uint8Array): Uint8Array {
    return hmac(this.#integ.hash, this.#integKey.reveal(), authenticated).subarray(0, this.#icvBytes);
  }
}

interface UnauthenticatedMode {
  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

/** AES (RFC 3602), 3DES (RFC 2451) and DES (RFC 2405). Texts are whole blocks. */
export class CbcMode implements UnauthenticatedMode {
  readonly #algorithm: string;
  readonly #keyRepeats: number;
  readonly #encrKey: Secret;

  constructor(row: EncryptionRow, bits: number, encrKey: Secret) {
    const { name, keyRepeats } = opensslCipher(row.id, bits);
    this.#algorithm = name;
    this.#keyRepeats = keyRepeats;
    this.#encrKey = encrKey;
  }

  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
    return this.#withKey((key) => {
      const cipher = createCipheriv(this.#algorithm, key, iv);
      cipher.setAutoPadding(false);
      const ciphertext = cipher.update(plaintext);
      cipher.final();
      return ciphertext;
    });
  }

  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array {
    return this.#withKey((key) => {
      const decipher = createDecipheriv(this.#algorithm, key, iv);
      decipher.setAutoPadding(false);
      const plaintext = decipher.update(ciphertext);
      decipher.final();
      return plaintext;
    });
  }

  #withKey(run: (key: Uint8Array) => Uint8Array): Uint8Array {
    const key = this.#encrKey.reveal();
    if (this.#keyRepeats === 1) return run(key);
    const repeated = new Uint8Array(key.length * this.#keyRepeats);
    for (let at = 0; at < repeated.length; at += key.length) repeated.set(key, at);
    const text = run(repeated);
    repeated.fill(0);
    return text;
  }
}

/** AES-CTR (RFC 5930). */
class CounterMode implements UnauthenticatedMode {
  readonly #algorithm: string;
  readonly #key: KeyAndSalt;

  constructor(row: EncryptionRow, bits: number, keyAndNonce: Secret) {
    this.#algorithm = opensslCipher(row.id, bits).name;
    this.#key = new KeyAndSalt(row, keyAndNonce);
  }

  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
    return createCipheriv(this.#algorithm, this.#key.key(), this.#firstBlock(iv)).update(plaintext);
  }

  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array {
    return createDecipheriv(this.#algorithm, this.#key.key(), this.#firstBlock(iv)).update(ciphertext);
  }

  /** RFC 3686 §4: CTRBLK := NONCE || IV || ONE. A message of 64 KiB never carries into the IV. */
  #firstBlock(iv: Uint8Array): Uint8Array {
    const nonce = this.#key.nonce(iv);
    const block = new Uint8Array(nonce.length + 4);
    block.set(nonce);
    block[block.length - 1] = 1;
    return block;
  }
}

/** A key with the implicit part of the nonce behind it, as cut from key material. */
class KeyAndSalt {
  readonly #keyBytes: number;
  readonly #keyAndSalt: Secret;

  constructor(row: EncryptionRow, keyAndSalt: Secret) {
    this.#keyBytes = keyAndSalt.length - row.saltBytes;
    this.#keyAndSalt = keyAndSalt;
  }

  key(): Uint8Array {
    return this.#keyAndSalt.reveal().subarray(0, this.#keyBytes);
  }

  /** RFC 5282 §4, RFC 7634 §2, RFC 3686 §4: the nonce is the salt followed by the IV. */
  nonce(iv: Uint8Array): Uint8Array {
    const salt = this.#keyAndSalt.reveal().subarray(this.#keyBytes);
    const nonce = new Uint8Array(salt.length + iv.length);
    nonce.set(salt);
    nonce.set(iv, salt.length);
    return nonce;
  }
}
