// Thread: created and destroyed by control; used by any worker, concurrently.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/counter.h"
#include "base/drop.h"
#include "base/result.h"
#include "base/traffic_selector.h"
#include "crypto/cipher.h"
#include "crypto/iv_source.h"
#include "esp/esp.h"
#include "esp/sa.h"

namespace culvert::esp {

/**
 * One outbound ESP SA. Workers share it: one atomic add reserves the sequence numbers of a whole run, and the number
 * is also the IV of counter modes, so that no two packets ever share one (RFC 4106 §3.1).
 */
class alignas(kCacheLineBytes) OutboundSa {
 public:
  struct Params : SaParams {
    uint64_t last_sequence = 0;  // continue behind this number; a fresh key starts at 0
  };

  /** Error: reserved SPI, unknown algorithm, wrong key length, bad selectors, a cipher without the integrity it needs.
   */
  static Result<std::unique_ptr<OutboundSa>> create(const Params& params);

  OutboundSa(const OutboundSa&) = delete;
  OutboundSa& operator=(const OutboundSa&) = delete;

  uint32_t spi() const { return spi_; }
  uint16_t connection() const { return connection_; }
  const SelectorSet& selectors() const { return selectors_; }
  /** False when later fragments must not travel here: their ports matter, and the peers did not agree to follow them.
   */
  bool carries_later_fragments() const { return carries_later_fragments_; }
  const EspGeometry& geometry() const { return geometry_; }
  size_t sealed_size(size_t inner_length) const { return geometry_.sealed_size(inner_length); }
  size_t max_inner(size_t esp_budget) const { return geometry_.max_inner(esp_budget); }

  SaTotals totals() const;
  /** Packets of this SA that died, by reason: before encap_run, in it or, sealed and counted, behind it. */
  uint64_t drops(Drop reason) const { return drops_[static_cast<size_t>(reason)].load(std::memory_order_relaxed); }
  /** Packets that were this SA's died outside of encap_run. */
  void note_drop(Drop reason, uint64_t packets = 1) {
    drops_[static_cast<size_t>(reason)].fetch_add(packets, std::memory_order_relaxed);
  }
  /** Remembers when the SA was last used: monotonic milliseconds. Once per run. */
  void touch(uint64_t now_ms) {
    if (last_used_ms_.load(std::memory_order_relaxed) != now_ms) last_used_ms_.store(now_ms, std::memory_order_relaxed);
  }

  /** True when take_crossed_limits may have news: one relaxed load, cheap enough for every run. */
  bool limits_crossed() const {
    return crossed_.load(std::memory_order_relaxed) != reported_.load(std::memory_order_relaxed);
  }
  /** Bits (kSoftLimit, kHardLimit) that were crossed and not taken before: exactly one caller gets each bit. */
  uint8_t take_crossed_limits();

 private:
  friend void encap_run(OutboundSa& sa, std::span<EncapItem> items);

  OutboundSa(const Params& params, SaParts parts, std::optional<crypto::IvSource> iv_source);

  /** Sequence numbers of one run: `count` from `first` on, which may be fewer than were asked for. */
  struct Reservation {
    uint64_t first;
    size_t count;
    Drop refused;  // why the rest got none
  };
  Reservation reserve(std::span<const EncapItem> items);
  Reservation reserve_bytes(std::span<const EncapItem> items, Reservation numbers, uint64_t bytes);
  template <crypto::CipherMode kMode, bool kEsn>
  void seal_burst(std::span<EncapItem> items, uint64_t first_sequence) const;
  void refuse(std::span<EncapItem> items, Drop reason);

  // Read by every run, written hardly ever.
  uint32_t spi_;
  uint16_t connection_;
  bool esn_;
  crypto::CipherMode mode_;
  std::array<uint8_t, 4> salt_;
  EspGeometry geometry_;
  Drop stop_reason_;
  std::atomic<uint8_t> crossed_{0};
  std::atomic<uint8_t> reported_{0};
  uint64_t stop_sequence_;  // the last number that may be sent, whatever is the reason
  uint64_t soft_sequence_;  // reaching it crosses the soft limit
  crypto::Cipher cipher_;
  std::optional<crypto::IvSource> iv_source_;  // cbc

  // Written by every run of every worker: a line of its own.
  alignas(kCacheLineBytes) std::atomic<uint64_t> sequence_;  // last reserved; may overshoot stop_sequence_
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> last_used_ms_{0};

  alignas(kCacheLineBytes) uint64_t soft_bytes_;  // all ones when there is no limit, as the next
  uint64_t hard_bytes_;
  uint64_t initial_sequence_;
  SelectorSet selectors_;
  bool carries_later_fragments_;
  std::array<std::atomic<uint64_t>, kDropCount> drops_{};
};

}  // namespace culvert::esp
