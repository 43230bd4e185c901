// Every suite of the tables with keys of its own, for the targets that seal and open.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "crypto/algorithms.h"
#include "crypto/cipher.h"
#include "esp/sa.h"

namespace culvert::fuzz {

inline constexpr uint32_t kSpi = 0xc0de0001;

/** Ends the process, which is how a fuzzer is told. */
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

struct Suite {
  const crypto::CipherRow* cipher;
  const crypto::IntegrityRow* integrity;

  std::span<const uint8_t> key() const { return {bytes(), cipher->key_material_bytes()}; }
  std::span<const uint8_t> integrity_key() const { return {bytes() + 64, integrity->key_bits / 8u}; }
  size_t text_at() const { return esp::kEspHeaderBytes + cipher->iv_bytes; }
  size_t icv_bytes() const { return size_t{cipher->icv_bytes} + integrity->icv_bytes; }
  /** The salt, behind the key. */
  std::span<const uint8_t> salt() const { return key().last(cipher->salt_bytes); }

  static const uint8_t* bytes() {
    static const std::vector<uint8_t> counting = [] {
      std::vector<uint8_t> made(128);
      for (size_t i = 0; i < made.size(); i++) made[i] = static_cast<uint8_t>(i * 7 + 1);
      return made;
    }();
    return counting.data();
  }
};

/** All that are protected: every cipher with every integrity that it takes. */
inline const std::vector<Suite>& suites() {
  static const std::vector<Suite> all = [] {
    std::vector<Suite> made;
    for (const crypto::CipherRow& cipher : crypto::cipher_rows()) {
      for (const crypto::IntegrityRow& integrity : crypto::integrity_rows()) {
        const bool has_integrity = integrity.hash != crypto::Hash::none;
        if (has_integrity == cipher.wants_integrity) made.push_back({&cipher, &integrity});
      }
    }
    return made;
  }();
  return all;
}

/** What both directions of an SA of the suite have in common; selectors are the caller's. */
template <typename Params>
Params sa_params(const Suite& suite, bool esn, std::span<const TrafficSelector> local,
                 std::span<const TrafficSelector> remote) {
  Params params;
  params.spi = kSpi;
  params.encr = suite.cipher->encr;
  params.encr_key_bits = suite.cipher->key_bits;
  params.encr_key = suite.key();
  params.integ = suite.integrity->integ;
  params.integ_key = suite.integrity_key();
  params.esn = esn;
  params.local_selectors = local;
  params.remote_selectors = remote;
  return params;
}

}  // namespace culvert::fuzz
