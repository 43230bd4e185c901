/**
 * The ciphers of the Encrypted payload: AEAD (RFC 5282, RFC 7634), and CBC or counter mode with HMAC,
 * encrypt-then-MAC (RFC 7296 §3.14, RFC 5930). One object per direction of an IKE SA. Implements the SkSealer and
 * SkOpener that src/wire asks for. The accelerator does the work where there is one, else node:crypto.
 */
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
import { acceleratedOpen, acceleratedSeal, type SkKeys } from "./accelerator.ts";
import { type MessageCipher, nodeCipher } from "./node-cipher.ts";

export interface SkCipher extends MessageCipher {
  readonly ivBytes: number;
  readonly icvBytes: number;
  readonly block: number;
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
  if (row.mode === "aead") return new DirectionCipher(row, bits, undefined, encrKey, integKey, random);
  const integ = integById.get(suite.integ);
  if (!integ?.implemented.ike)
    throw new RangeError(`${IntegrityAlgorithm.nameOf(suite.integ)} is not implemented for IKE`);
  if (integKey.length !== integ.keyBytes)
    throw new RangeError(`the integrity key has ${integKey.length} octets, not ${integ.keyBytes}`);
  return new DirectionCipher(row, bits, integ, encrKey, integKey, random);
}

class DirectionCipher implements SkCipher {
  readonly ivBytes: number;
  readonly icvBytes: number;
  readonly block: number;
  readonly #row: EncryptionRow;
  readonly #integ: IntegrityRow | undefined;
  readonly #keys: SkKeys;
  readonly #ivs: IvSource;
  #fallback: MessageCipher | undefined;

  constructor(
    row: EncryptionRow,
    bits: number,
    integ: IntegrityRow | undefined,
    encrKey: Secret,
    integKey: Secret,
    random: Random,
  ) {
    this.ivBytes = row.ivBytes;
    this.icvBytes = integ ? integ.icvBytes : row.icvBytes;
    this.block = row.block;
    this.#row = row;
    this.#integ = integ;
    this.#keys = { encr: row.id, keyBits: bits, integ: integ?.id ?? 0, encrKey, integKey };
    this.#ivs = row.mode === "cbc" ? new RandomIvs(random) : new CountedIvs();
  }

  seal(message: Uint8Array, bodyOffset: number): void {
    this.#ivs.next(message, bodyOffset, this.ivBytes);
    if (!acceleratedSeal(this.#keys, message, bodyOffset)) this.#node().seal(message, bodyOffset);
  }

  open(message: Uint8Array, bodyOffset: number): Uint8Array | undefined {
    const plaintextAt = bodyOffset + this.ivBytes;
    const icvAt = message.length - this.icvBytes;
    const plaintext = acceleratedOpen(this.#keys, message, bodyOffset, plaintextAt, icvAt);
    return plaintext === undefined ? this.#node().open(message, bodyOffset) : plaintext || undefined;
  }

  #node(): MessageCipher {
    const { keyBits, encrKey, integKey } = this.#keys;
    this.#fallback ??= nodeCipher(this.#row, keyBits, this.#integ, encrKey, integKey);
    return this.#fallback;
  }
}

interface IvSource {
  /** Writes the IV of the next message, `length` octets from `at`. */
  next(message: Uint8Array, at: number, length: number): void;
}

/** RFC 3602 §3: the IV of CBC must be unpredictable. */
class RandomIvs implements IvSource {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  next(message: Uint8Array, at: number, length: number): void {
    message.set(this.#random.bytes(length), at);
  }
}

/** RFC 5282 §3.1, RFC 7634 §2, RFC 5930 §2.1: an IV must not repeat under a key; a counter cannot. */
class CountedIvs implements IvSource {
  #next = 0;

  next(message: Uint8Array, at: number, length: number): void {
    let rest = this.#next++;
    for (let i = at + length - 1; i >= at; i--) {
      message[i] = rest % 0x100;
      rest = Math.floor(rest / 0x100);
    }
  }
}
