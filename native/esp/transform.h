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
 * Fills the nonce and what is authenticated besides the text, from the ESP header and IV at `esp`. With cbc the nonce
 * is the IV, which the caller puts there. `sequence` is all 64 bits with ESN.
 */
template <crypto::CipherMode kMode, bool kEsn>
inline void fill_op(crypto::CipherOp& op, const uint8_t* esp, const std::array<uint8_t, 4>& salt, uint64_t sequence,
                    uint32_t header_bytes) {
  using crypto::CipherMode;
  if constexpr (kMode == CipherMode::aead || kMode == CipherMode::ctr) {
    // RFC 4106 §4, RFC 7634 §2: nonce = salt | IV. RFC 3686 §4: counter block = nonce | IV | 1.
    std::memcpy(op.nonce, salt.data(), 4);
    std::memcpy(op.nonce + 4, esp + kEspHeaderBytes, 8);
    if constexpr (kMode == CipherMode::ctr) store_be32(op.nonce + 12, 1);
  }
  if constexpr (kMode == CipherMode::aead) {
    // RFC 4106 §5, RFC 7634 §2.1: AAD = SPI | sequence number (64 bits with ESN)
    if constexpr (kEsn) {
      std::memcpy(op.additional, esp, 4);
      store_be64(op.additional + 4, sequence);
    } else {
      std::memcpy(op.additional, esp, kEspHeaderBytes);
    }
    op.additional_bytes = kEsn ? 12 : 8;
  } else {
    // RFC 4303 §2.2.1: the high half is authenticated behind the text and does not travel.
    if constexpr (kEsn) store_be32(op.additional, static_cast<uint32_t>(sequence >> 32));
    op.additional_bytes = kEsn ? 4 : 0;
    op.header_bytes = static_cast<uint8_t>(header_bytes);
  }
}

}  // namespace culvert::esp
