/** The key schedule of an ISAKMP SA authenticated with a pre-shared key (RFC 2409 §5, appendix B). */
import { Secret, secretMemory } from "../core/secret.ts";
import { EncryptionAlgorithm, encrById, type IkeSuite } from "../registry/index.ts";
import { digest, hmacInto } from "./hmac.ts";
import { encrKeymatBytes } from "./ike-keys.ts";
import { prfRow, secretPrf } from "./prf.ts";

/** The secrets under the RFC's names. The owner of the ISAKMP SA wipes them with it. */
export interface IsakmpKeys {
  readonly SKEYID: Secret;
  /** For IPsec SAs. */
  readonly SKEYID_d: Secret;
  /** For the hashes that authenticate messages. */
  readonly SKEYID_a: Secret;
  /** The key of the cipher, of its length, made from SKEYID_e. */
  readonly Ka: Secret;
}

/** SKEYID = prf(pre-shared-key, Ni_b | Nr_b). `prfId` is the HMAC of the negotiated hash. */
export function skeyidPsk(prfId: number, psk: Secret, Ni_b: Uint8Array, Nr_b: Uint8Array): Secret {
  return secretPrf(prfId, psk.reveal(), Ni_b, Nr_b);
}

/**
 *   SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0)
 *   SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
 *   SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
 *
 * Takes ownership of `SKEYID`; `gxy` stays its owner's.
 */
export function isakmpKeys(
  suite: Pick<IkeSuite, "encr" | "keyBits" | "prf">,
  SKEYID: Secret,
  gxy: Secret,
  spis: IsakmpSpis,
): IsakmpKeys {
  const [cookies, key, g] = [spiBytes(spis), SKEYID.reveal(), gxy.reveal()];
  const SKEYID_d = secretPrf(suite.prf, key, g, cookies, Uint8Array.of(0));
  const SKEYID_a = secretPrf(suite.prf, key, SKEYID_d.reveal(), g, cookies, Uint8Array.of(1));
  const SKEYID_e = secretPrf(suite.prf, key, SKEYID_a.reveal(), g, cookies, Uint8Array.of(2));
  const Ka = isakmpCipherKey(suite, SKEYID_e);
  SKEYID_e.wipe();
  return { SKEYID, SKEYID_d, SKEYID_a, Ka };
}

export function wipeIsakmpKeys(keys: IsakmpKeys): void {
  for (const key of Object.values<Secret>({ ...keys })) key.wipe();
}

export interface IsakmpSpis {
  /** CKY-I */
  readonly spiInitiator: bigint;
  /** CKY-R */
  readonly spiResponder: bigint;
}

/**
 * The key of the cipher: the first octets of SKEYID_e, or where that is too short, of
 *
 *   Ka = K1 | K2 | K3
 *   K1 = prf(SKEYID_e, 0)
 *   K2 = prf(SKEYID_e, K1)
 *   K3 = prf(SKEYID_e, K2)
 *
 * DEVIATION: appendix B wants DES keys that are not weak. 16 of 2^56 are, nobody will meet one, and no other
 * implementation looks for them, with which the next eight octets would not be shared.
 */
export function isakmpCipherKey(suite: Pick<IkeSuite, "encr" | "keyBits" | "prf">, SKEYID_e: Secret): Secret {
  if (encrById.get(suite.encr)?.mode !== "cbc")
    throw new RangeError(`${EncryptionAlgorithm.nameOf(suite.encr)} is no cipher of IKEv1's phase 1`);
  const out = secretMemory(encrKeymatBytes(suite));
  if (out.length <= SKEYID_e.length) {
    out.set(SKEYID_e.reveal().subarray(0, out.length));
    return new Secret(out);
  }
  const { hash, keyBytes } = prfRow(suite.prf);
  const block = secretMemory(keyBytes);
  let previous: Uint8Array = Uint8Array.of(0);
  for (let at = 0; at < out.length; at += keyBytes) {
    hmacInto(block, hash, SKEYID_e.reveal(), [previous]);
    out.set(block.subarray(0, out.length - at), at);
    previous = block;
  }
  block.fill(0);
  return new Secret(out);
}

/** The IV of the first encrypted message of phase 1: the first octets of hash(g^xi | g^xr). `bytes`: a cipher's block. */
export function phase1Iv(prfId: number, gxi: Uint8Array, gxr: Uint8Array, bytes: number): Uint8Array {
  return digest(prfRow(prfId).hash, gxi, gxr).subarray(0, bytes);
}

/**
 * The IV of the first message of a later exchange: the first octets of hash(last block of ciphertext of phase 1 | M-ID).
 * `lastBlock`: the IV that the next message of phase 1 would have had.
 */
export function exchangeIv(prfId: number, lastBlock: Uint8Array, messageId: number): Uint8Array {
  return digest(prfRow(prfId).hash, lastBlock, messageIdBytes(messageId)).subarray(0, lastBlock.length);
}

/** CKY-I | CKY-R */
export function spiBytes({ spiInitiator, spiResponder }: IsakmpSpis): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, spiInitiator);
  view.setBigUint64(8, spiResponder);
  return bytes;
}

/** M-ID as it is in the header. */
export function messageIdBytes(messageId: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, messageId);
  return bytes;
}
