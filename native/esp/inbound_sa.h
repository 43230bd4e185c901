// Thread: created and destroyed by control; used by the one worker that owns it; totals are readable by any.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/counter.h"
#include "base/drop.h"
#include "base/result.h"
#include "base/traffic_selector.h"
#include "crypto/cipher.h"
#include "esp/esp.h"
#include "esp/replay_window.h"
#include "esp/sa.h"

namespace culvert::esp {

/** One inbound ESP SA: its window and totals belong to one worker and need no lock. */
class alignas(kCacheLineBytes) InboundSa {
 public:
  struct Params : SaParams {
    uint32_t replay_window = 4096;  // packets, 0 (no check) to kMaxReplayWindow
  };

  /** Error: as OutboundSa::create, or a replay window out of range. */
  static Result<std::unique_ptr<InboundSa>> create(const Params& params);

  InboundSa(const InboundSa&) = delete;
  InboundSa& operator=(const InboundSa&) = delete;

  uint32_t spi() const { return spi_; }
  uint16_t connection() const { return connection_; }
  const SelectorSet& selectors() const { return selectors_; }
  const EspGeometry& geometry() const { return geometry_; }
  size_t sealed_size(size_t inner_length) const { return geometry_.sealed_size(inner_length); }
  size_t max_inner(size_t esp_budget) const { return geometry_.max_inner(esp_budget); }

  /** Thread: any. */
  SaTotals totals() const;
  /** Packets of this SA that died in decap_run, by reason. Thread: any. */
  uint64_t drops(Drop reason) const { return drops_[static_cast<size_t>(reason)].read(); }
  /** Remembers when the SA was last used: monotonic milliseconds. Once per run. */
  void touch(uint64_t now_ms) { last_used_ms_.set(now_ms); }

  /** True when take_crossed_limits has news. */
  bool limits_crossed() const { return crossed_ != reported_; }
  /** Bits (kSoftLimit, kHardLimit) that were crossed and not taken before. Thread: the owning worker. */
  uint8_t take_crossed_limits();

 private:
  friend void decap_run(InboundSa& sa, std::span<DecapItem> items);

  InboundSa(const Params& params, crypto::Cipher cipher, SelectorSet selectors, const crypto::CipherRow& row);

  uint32_t spi_;
  uint16_t connection_;
  bool esn_;
  uint8_t crossed_ = 0;
  EspGeometry geometry_;
  uint8_t salt_bytes_;
  std::array<uint8_t, 4> salt_{};
  uint8_t iv_bytes_;
  uint8_t reported_ = 0;
  ReplayWindow window_;
  crypto::Cipher cipher_;

  alignas(kCacheLineBytes) Counter packets_;
  Counter bytes_;
  Counter sequence_;
  Counter last_used_ms_;
  uint64_t soft_packets_;  // all ones when there is no limit
  uint64_t hard_packets_;
  uint64_t soft_bytes_;
  uint64_t hard_bytes_;

  alignas(kCacheLineBytes) SelectorSet selectors_;
  std::array<Counter, kDropCount> drops_{};
};

}  // namespace culvert::esp
