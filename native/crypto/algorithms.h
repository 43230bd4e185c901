// Thread: any. ESP algorithms as rows of tables/esp_algorithms.def.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace culvert::crypto {

/** How a cipher makes its IV, its nonce and its additional data. */
enum class CipherMode : uint8_t { aead, cbc, ctr, null };
inline constexpr size_t kCipherModes = 4;

/** What a mode is a mode of. */
enum class Primitive : uint8_t { none, aes, chacha20, des, des3 };

/** What an HMAC is an HMAC of. */
enum class Hash : uint8_t { none, md5, sha1, sha256, sha384, sha512 };

/** One ESP_CIPHER row; see the table for what the columns mean. */
struct CipherRow {
  std::string_view name;
  std::string_view rfc;
  uint16_t encr;
  uint16_t key_bits;
  uint8_t salt_bytes;
  uint8_t iv_bytes;
  uint8_t icv_bytes;
  uint8_t block_bytes;
  CipherMode mode;
  Primitive primitive;
  bool wants_integrity;

  /** Keying material: key, then salt. */
  constexpr size_t key_material_bytes() const { return key_bits / 8u + salt_bytes; }
};

/** One ESP_INTEGRITY row. */
struct IntegrityRow {
  std::string_view name;
  std::string_view rfc;
  uint16_t integ;
  uint16_t key_bits;
  uint8_t icv_bytes;
  Hash hash;
};

/** All rows, in the table's order. */
std::span<const CipherRow> cipher_rows();
std::span<const IntegrityRow> integrity_rows();

/** The row for IANA ids, or nullptr when culvert does not implement the algorithm. */
const CipherRow* find_cipher(uint16_t encr, uint16_t key_bits);
const IntegrityRow* find_integrity(uint16_t integ);

}  // namespace culvert::crypto
