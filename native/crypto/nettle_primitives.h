// Thread: any, concurrently; keys are read-only. nettle's HMACs and unauthenticated ciphers, one packet at a time:
// what the portable backend is made of, and what a burst too small for vector lanes is sent through.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "crypto/algorithms.h"
#include "crypto/cipher.h"

namespace culvert::crypto {

/** Room for the longest HMAC there is (SHA-512). */
inline constexpr size_t kMaxMacBytes = 64;

/** An HMAC key (RFC 2104), as the two hash states that have its inner and outer pad behind them. */
struct NettleMac {
  static constexpr size_t kStateBytes = 448;
  /** Writes `bytes` bytes of the HMAC over header, text and additional data of `op`. */
  using Fn = void (*)(const NettleMac& key, const CipherOp& op, size_t bytes, uint8_t* mac);
  Fn mac = nullptr;
  alignas(16) uint8_t states[kStateBytes] = {};
};

/** An expanded key and the functions that replace the text of one packet. The IV or counter block is op.nonce. */
struct NettleCipher {
  static constexpr size_t kScheduleBytes = 416;
  using Fn = void (*)(const NettleCipher& key, const CipherOp& op);
  Fn encrypt = nullptr;
  Fn decrypt = nullptr;
  alignas(16) uint8_t encrypt_schedule[kScheduleBytes] = {};
  alignas(16) uint8_t decrypt_schedule[kScheduleBytes] = {};
};

/** `key` has the row's length. `hash` is not none. */
void set_nettle_mac(NettleMac& mac, Hash hash, std::span<const uint8_t> key);

/** For rows of the modes cbc, ctr and null; `key` is without the salt. */
void set_nettle_cipher(NettleCipher& cipher, const CipherRow& row, std::span<const uint8_t> key);

}  // namespace culvert::crypto
