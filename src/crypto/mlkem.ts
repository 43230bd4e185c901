/**
 * ML-KEM (FIPS 203) as a key exchange method of IKE (draft-ietf-ipsecme-ikev2-mlkem): the initiator's KE payload holds
 * a fresh encapsulation key, the responder's the ciphertext of the secret that it made for it.
 *
 * node:crypto has it from OpenSSL 3.5 on only.
 */
import { randomBytes } from "node:crypto";
import { ml_kem512, ml_kem768, ml_kem1024 } from "@noble/post-quantum/ml-kem.js";
import { PeerMisbehaved } from "../core/errors.ts";
import { Secret } from "../core/secret.ts";
import { DhGroup, type KemRow, kem } from "../registry/index.ts";
import type { KeyExchange, KeyExchangeAnswer } from "./key-exchange.ts";

/** The initiator's side. `given`: d and z of FIPS 203 algorithm 19, 64 octets, for test vectors. */
export function startMlKem(row: KemRow, given?: Uint8Array): KeyExchange {
  const mlkem = implementations.get(row.id)!;
  const seed = given ?? randomBytes(64);
  const { publicKey, secretKey } = mlkem.keygen(seed);
  if (!given) seed.fill(0);
  const decapsulationKey = new Secret(secretKey);
  return {
    method: row.id,
    publicValue: publicKey,
    complete(answer) {
      if (decapsulationKey.length === 0) throw new RangeError("the private key was wiped");
      if (answer.length !== row.ciphertextBytes)
        throw new PeerMisbehaved(
          `KE data for ${name(row)} has ${answer.length} octets, not the ${row.ciphertextBytes} of a ciphertext`,
        );
      // FIPS 203 §6.3: a ciphertext that is not one gives a secret that nobody else has; AUTH will fail.
      return new Secret(mlkem.decapsulate(answer, decapsulationKey.reveal()));
    },
    wipe: () => decapsulationKey.wipe(),
  };
}

/** The responder's side. `given`: m of FIPS 203 algorithm 20, 32 octets, for test vectors. */
export function answerMlKem(
  row: KemRow,
  encapsulationKey: Uint8Array,
  given?: Uint8Array,
): KeyExchangeAnswer {
  if (encapsulationKey.length !== row.encapsulationKeyBytes)
    throw new PeerMisbehaved(
      `KE data for ${name(row)} has ${encapsulationKey.length} octets, not the ${row.encapsulationKeyBytes} of a key`,
    );
  checkModulus(row, encapsulationKey);
  const m = given ?? randomBytes(32);
  const { cipherText, sharedSecret } = implementations.get(row.id)!.encapsulate(encapsulationKey, m);
  if (!given) m.fill(0);
  return { publicValue: cipherText, shared: new Secret(sharedSecret) };
}

/** FIPS 203 §7.2, the modulus check: 12-bit coefficients, little-endian, each below q; behind them 32 octets of seed. */
function checkModulus(row: KemRow, key: Uint8Array): void {
  for (let at = 0; at < key.length - 32; at += 3) {
    const low = key[at]! | ((key[at + 1]! & 0x0f) << 8);
    const high = (key[at + 1]! >> 4) | (key[at + 2]! << 4);
    if (low >= Q || high >= Q)
      throw new PeerMisbehaved(`KE data for ${name(row)} has a coefficient of ${Q} or more`);
  }
}

const Q = 3329;
const name = (row: KemRow): string => DhGroup.nameOf(row.id);
const implementations = new Map<number, typeof ml_kem768>([
  [kem.ML_KEM_512.id, ml_kem512],
  [kem.ML_KEM_768.id, ml_kem768],
  [kem.ML_KEM_1024.id, ml_kem1024],
]);
