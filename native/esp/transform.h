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
 * Fills the nonce and what is authenticated besides the text. With cbc the nonce is the IV, which the caller puts
 * there; with aead and ctr `iv` is the eight bytes of the packet's. `sequence` is all 64 bits with ESN. Everything is
 * stored in the words that the ciphers load: a load that spans two fresh stores waits for them.
 */
template <crypto::CipherMode kMode, bool kEsn>
inline void fill_op(crypto::CipherOp& op, uint32_t spi, uint64_t sequence, uint64_t iv,
                    const std::array<uint8_t, 4>& salt, uint32_t header_bytes) {
  using crypto::CipherMode;
  if constexpr (kMode == CipherMode::aead || kMode == CipherMode::ctr) {
    // RFC 4106 §4, RFC 7634 §2: nonce = salt | IV. RFC 3686 §4: counter block = nonce | IV | 1.
    const uint64_t after = kMode == CipherMode::ctr ? 1 : 0;
    store_be64(op.nonce, uint64_t{load_be32(salt.data())} << 32 | iv >> 32);
    store_be64(op.nonce + 8, iv << 32 | after);
  }
  if constexpr (kMode == CipherMode::aead) {
    // RFC 4106 §5, RFC 7634 §2.1: AAD = SPI | sequence number (64 bits with ESN)
    if constexpr (kEsn) {
      store_be64(op.additional, uint64_t{spi} << 32 | sequence >> 32);
      store_be32(op.additional + 8, static_cast<uint32_t>(sequence));
    } else {
      store_be64(op.additional, uint64_t{spi} << 32 | static_cast<uint32_t>(sequence));
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
