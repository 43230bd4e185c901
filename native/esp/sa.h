// Thread: any. What inbound and outbound SAs have in common: parameters, sizes, limits.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/traffic_selector.h"
#include "crypto/cipher.h"

namespace culvert::esp {

inline constexpr size_t kEspHeaderBytes = 8;   // SPI, sequence number
inline constexpr size_t kEspTrailerBytes = 2;  // pad length, next header
inline constexpr size_t kMaxIvBytes = 16;
// RFC 4303 §2.4: the pad length and next header fields end on a 4-byte boundary, whatever the cipher's block.
inline constexpr uint8_t kMinAlign = 4;
inline constexpr uint32_t kFirstLegalSpi = 256;  // 0 is local use, 1 to 255 are IANA's (RFC 4303 §2.1)

/** When an SA wears out; 0 is no limit. Bytes are those of inner packets, packets are those sealed or accepted. */
struct SaLimits {
  uint64_t soft_bytes = 0;
  uint64_t hard_bytes = 0;
  uint64_t soft_packets = 0;
  uint64_t hard_packets = 0;
};

/** Limits that were crossed, as bits: what `take_crossed_limits` hands out, each bit once in the life of an SA. */
inline constexpr uint8_t kSoftLimit = 1;
inline constexpr uint8_t kHardLimit = 2;

/** A snapshot; the fields were not read at the same instant. */
struct SaTotals {
  uint64_t packets;
  uint64_t bytes;
  uint64_t sequence;      // highest sent or accepted
  uint64_t last_used_ms;  // as given to touch(); 0 when never used
};

/** What both directions are made of. Keys are copied, expanded, and not referenced after create(). */
struct SaParams {
  uint32_t spi = 0;
  uint16_t connection = 0;
  uint16_t encr = 0;  // IANA ids
  uint16_t encr_key_bits = 0;
  uint16_t integ = 0;                      // 0 for combined modes
  std::span<const uint8_t> encr_key = {};  // key, then salt
  std::span<const uint8_t> integ_key = {};
  bool esn = false;
  bool non_first_fragments = false;  // both sides agreed to carry them although selectors name ports (RFC 4301 §7.3)
  SaLimits limits = {};
  std::span<const TrafficSelector> local_selectors = {};   // what near hosts may be
  std::span<const TrafficSelector> remote_selectors = {};  // what far hosts may be
  crypto::Backend backend = crypto::Backend::automatic;
  bool allow_unprotected_for_benchmark = false;  // see crypto::Cipher::Params; the addon never sets it from an SaSpec
};

/** Sizes of one suite; every function is exact. */
struct EspGeometry {
  uint8_t header_bytes;  // SPI, sequence and IV
  uint8_t icv_bytes;
  uint8_t align;  // power of two: payload with padding and trailer is a multiple of it

  /** ESP bytes, SPI to ICV, for an inner packet of `inner_length`. */
  constexpr size_t sealed_size(size_t inner_length) const {
    const size_t mask = align - 1u;
    return header_bytes + ((inner_length + kEspTrailerBytes + mask) & ~mask) + icv_bytes;
  }
  /** The longest inner packet whose sealed_size is at most `esp_budget`; 0 when none is. */
  constexpr size_t max_inner(size_t esp_budget) const {
    const size_t fixed = static_cast<size_t>(header_bytes) + icv_bytes;
    if (esp_budget < fixed + align) return 0;
    return ((esp_budget - fixed) & ~(align - size_t{1})) - kEspTrailerBytes;
  }
};

/** What both directions are assembled from; the salt is zero-padded. */
struct SaParts {
  SelectorSet selectors;
  crypto::Cipher cipher;
  EspGeometry geometry;
  crypto::CipherMode mode;
  std::array<uint8_t, 4> salt;
};

/** Checks the parameters and expands the key. Error: a sentence naming the parameter, never its secret content. */
Result<SaParts> make_sa_parts(const SaParams& params);

}  // namespace culvert::esp
