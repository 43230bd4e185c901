// Thread: any. IKE's symmetric cryptography for one message at a time: hashes, HMAC, prf+ and the Encrypted payload
// (RFC 7296 sections 2.13 and 3.14). nettle's functions, without an object for JavaScript to make and collect.
//
// Stateless: the caller keeps the keys. Expanded keys and hash states are wiped before a function returns.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/algorithms.h"

namespace culvert::crypto {

/** Room for the longest digest there is (SHA-512). */
inline constexpr size_t kMaxDigestBytes = 64;

/** Octets of a digest; 0 for none. */
size_t digest_bytes(Hash hash);

/** `out` has `digest_bytes(hash)`, and may lie inside `text`. */
void digest(Hash hash, std::span<const uint8_t> text, std::span<uint8_t> out);

/** HMAC (RFC 2104) with a key of any length; `out` as above. */
void hmac(Hash hash, std::span<const uint8_t> key, std::span<const uint8_t> text, std::span<uint8_t> out);

/** prf+ (RFC 7296 section 2.13) fills `out`. False when it is longer than 255 digests: the counter is one octet. */
[[nodiscard]] bool prf_plus(Hash hash, std::span<const uint8_t> key, std::span<const uint8_t> seed,
                            std::span<uint8_t> out);

/** One direction's SK_e and SK_a. Keys have the rows' lengths. */
struct SkKeys {
  const CipherRow& cipher;
  /** Null for a combined mode. */
  const IntegrityRow* integrity;
  /** The salt at its end. */
  std::span<const uint8_t> key;
  std::span<const uint8_t> integrity_key;
};

/**
 * Protects `message` in place: additional data up to `body_offset`, there the IV, which the caller chose, the padded
 * plaintext, and at the end room for the ICV. False when the lengths do not allow that; then nothing has changed.
 */
[[nodiscard]] bool sk_seal(const SkKeys& keys, std::span<uint8_t> message, size_t body_offset);

/** Replaces ciphertext by plaintext. False when the ICV is wrong: the text is then as it came, or zeros. */
[[nodiscard]] bool sk_open(const SkKeys& keys, std::span<uint8_t> message, size_t body_offset);

}  // namespace culvert::crypto
