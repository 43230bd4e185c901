import type { Secret } from "../core/secret.ts";
import { EncryptionAlgorithm, encrById, encrKeyBits, type IkeSuite } from "../registry/index.ts";
import { CbcMode } from "./node-cipher.ts";

/** What src/wire/v1 asks for: CBC with IVs of the caller's. */
export interface IsakmpCbc {
  readonly block: number;
  /** Texts are whole blocks. */
  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array;
  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

/**
 * The cipher of an ISAKMP SA's messages, the same for both directions. `Ka` stays its owner's, who wipes it. RangeError
 * when the suite cannot be run: negotiation must not have chosen it.
 */
export function isakmpCipher(suite: Pick<IkeSuite, "encr" | "keyBits">, Ka: Secret): IsakmpCbc {
  const row = encrById.get(suite.encr);
  if (!row?.implemented.ike || row.mode !== "cbc")
    throw new RangeError(`${EncryptionAlgorithm.nameOf(suite.encr)} is no cipher of IKEv1's phase 1`);
  const bits = encrKeyBits(row, suite.keyBits);
  if (Ka.length !== bits / 8) throw new RangeError(`the key has ${Ka.length} octets, not ${bits / 8}`);
  const cbc = new CbcMode(row, bits, Ka);
  return {
    block: row.block,
    encrypt: (iv, plaintext) => cbc.encrypt(iv, plaintext),
    decrypt: (iv, ciphertext) => cbc.decrypt(iv, ciphertext),
  };
}
