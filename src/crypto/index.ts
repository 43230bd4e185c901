export * from "./child-keys.ts";
export { generateKeyPair, type KeyPair, keyPairFromPrivate } from "./dh.ts";
export { constantTimeEqual } from "./equal.ts";
export { digest, hmac } from "./hmac.ts";
export * from "./ike-keys.ts";
export * from "./nat-detection.ts";
export { prf, prfPlus } from "./prf.ts";
export * from "./psk-auth.ts";
export { type SkCipher, skCipher } from "./sk-cipher.ts";
