/**
 * Default proposals: what is strong and fast today, strongest first, and only what this build runs.
 *
 * - AEAD first: one pass over the data, and no separate integrity key. AES-GCM is what CPUs and the data plane are
 *   fastest at. 256-bit keys take 14 rounds per block where 128-bit ones take 10, and lead because the list is ordered
 *   by strength. An operator who prefers speed names aes128gcm16 alone.
 * - x25519 is the first guess for the key exchange: the cheapest of the strong groups. ecp384 and ecp256 are for peers
 *   that are held to NIST curves, modp3072 and modp2048 for those that have no curves at all. modp2048 (112 bits) is
 *   the weakest thing here; NIST SP 800-57 part 1 allows it until 2030.
 * - No additional key exchange (ke1_mlkem768): strongSwan 5.9 passes over a proposal with transform types that it does
 *   not know, as RFC 7296 §3.3.6 asks, but a tunnel has to come up with those that do not. An operator names it.
 * - The last IKE proposal is for peers without AEAD in IKE (RFC 5282), which are still many.
 * - A group in an IPsec proposal asks for perfect forward secrecy at each rekey. All of them are offered, because a
 *   mismatch there shows only when the first rekey fails.
 */
const groups = "x25519-ecp384-ecp256-modp3072-modp2048";

export const ikeDefaults: readonly string[] = [
  `aes256gcm16-prfsha384-${groups}`,
  `aes128gcm16-prfsha256-${groups}`,
  `aes256-aes128-sha384-sha256-${groups}`,
];

/**
 * In IKEv1, which has no AEAD in its first phase and no x25519. A peer that speaks nothing newer often has no more than
 * AES-CBC for ESP either, and as initiator one group is guessed per quick mode: the likeliest comes first there.
 */
const oldGroups = "ecp384-ecp256-modp3072-modp2048";
const oldPfsGroups = "modp2048-ecp256-ecp384-modp3072";

export const ikev1IkeDefaults: readonly string[] = [`aes256-aes128-sha256-sha384-${oldGroups}`];

export const ikev1EspDefaults: readonly string[] = [
  `aes256gcm16-aes128gcm16-${oldPfsGroups}`,
  `aes256-aes128-sha256-${oldPfsGroups}`,
];

export const espDefaults: readonly string[] = [`aes256gcm16-${groups}`, `aes128gcm16-${groups}`];
