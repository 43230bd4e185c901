// Thread: any. What both directions tell the cipher about a packet, besides its text.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>

#include "base/byte_order.h"
#include "crypto/cipher.h"
#include "esp/sa.h"

namespace culvert::esp {

/** An IV of 8 or 16 bytes. */
inline void copy_iv(uint8_t* to, const uint8_t* from, size_t iv_bytes) {
  std::memcpy(to, from, 8);
  if (iv_bytes == kMaxIvBytes) std::memcpy(to + 8, from + 8, 8);
}

/**
 * Fills the nonce and what is authenticated besides the text. `header` is SPI and sequence number as they travel, in
 * network order; `iv` with aead and ctr the packet's, also in network order. With cbc the nonce is the IV, which the
 * caller puts there. `sequence` is all 64 bits with ESN. Everything is stored in the words that ciphers load: a load
 * that spans two fresh stores waits for them.
 */
template <crypto::CipherMode kMode, bool kEsn>
inline void fill_op(crypto::CipherOp& op, uint64_t header, uint64_t iv, uint64_t sequence,
                    const std::array<uint8_t, 4>& salt, uint32_t header_bytes) {
  using crypto::CipherMode;
  const auto high_half = static_cast<uint32_t>(sequence >> 32);
  if constexpr (kMode == CipherMode::aead || kMode == CipherMode::ctr) {
    // RFC 4106 §4, RFC 7634 §2: nonce = salt | IV. RFC 3686 §4: counter block = nonce | IV | 1.
    uint32_t salt_word;
    std::memcpy(&salt_word, salt.data(), sizeof salt_word);
    const uint32_t first_block = kMode == CipherMode::ctr ? to_be32(1) : 0;
    const uint64_t words[2] = {salt_word | iv << 32, iv >> 32 | uint64_t{first_block} << 32};
    std::memcpy(op.nonce, words, sizeof words);
  }
  if constexpr (kMode == CipherMode::aead) {
    // RFC 4106 §5, RFC 7634 §2.1: AAD = SPI | sequence number (64 bits with ESN)
    if constexpr (kEsn) {
      const uint64_t spi_and_high_half = static_cast<uint32_t>(header) | uint64_t{to_be32(high_half)} << 32;
      std::memcpy(op.additional, &spi_and_high_half, sizeof spi_and_high_half);
      store_be32(op.additional + 8, static_cast<uint32_t>(sequence));
    } else {
      std::memcpy(op.additional, &header, sizeof header);
    }
    op.additional_bytes = kEsn ? 12 : 8;
  } else {
    // RFC 4303 §2.2.1: the high half is authenticated behind the text and does not travel.
    if constexpr (kEsn) store_be32(op.additional, high_half);
    op.additional_bytes = kEsn ? 4 : 0;
    op.header_bytes = static_cast<uint8_t>(header_bytes);
  }
}

}  // namespace culvert::esp
