/** What OpenSSL calls the ciphers of the registry. */
import { EncryptionAlgorithm } from "../registry/index.ts";

export interface OpensslCipher {
  readonly name: string;
  /** How many times the key stands in OpenSSL's key, one after the other. */
  readonly keyRepeats: number;
}

/** RangeError for a cipher that is not here; the registry's `implemented.ike` says the same. */
export function opensslCipher(encr: number, bits: number): OpensslCipher {
  const found = ciphers.get(encr)?.(bits);
  if (!found) throw new RangeError(`${EncryptionAlgorithm.nameOf(encr)} has no name in OpenSSL`);
  return found;
}

const ENCR = EncryptionAlgorithm.code;
const once = (name: string): OpensslCipher => ({ name, keyRepeats: 1 });

const ciphers: ReadonlyMap<number, (bits: number) => OpensslCipher> = new Map([
  [ENCR.ENCR_AES_GCM_16, (bits: number) => once(`aes-${bits}-gcm`)],
  [ENCR.ENCR_AES_CBC, (bits: number) => once(`aes-${bits}-cbc`)],
  [ENCR.ENCR_AES_CTR, (bits: number) => once(`aes-${bits}-ctr`)],
  [ENCR.ENCR_CHACHA20_POLY1305, () => once("chacha20-poly1305")],
  [ENCR.ENCR_3DES, () => once("des-ede3-cbc")],
  // OpenSSL 3 keeps DES in its legacy provider, which node does not load. With one key three times, 3DES encrypts,
  // decrypts and encrypts under that key: it is DES.
  [ENCR.ENCR_DES, () => ({ name: "des-ede3-cbc", keyRepeats: 3 })],
]);
