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
    uint64_t last_sequence = 0;     // everything up to here counts as received; 0 for a fresh key
  };

  /** Error: as OutboundSa::create, or a replay window out of range. */
  static Result<std::unique_ptr<InboundSa>> create(const Params& params);

  InboundSa(const InboundSa&) = delete;
  InboundSa& operator=(const InboundSa&) = delete;

  uint32_t spi() const { return spi_; }
  uint16_t connection() const { return connection_; }
  const SelectorSet& selectors() const { return selectors_; }
  /** False when later fragments must not travel here: their ports matter, and the peers did not agree to follow them.
   */
  bool carries_later_fragments() const { return carries_later_fragments_; }
  const EspGeometry& geometry() const { return geometry_; }
  size_t sealed_size(size_t inner_length) const { return geometry_.sealed_size(inner_length); }
  size_t max_inner(size_t esp_budget) const { return geometry_.max_inner(esp_budget); }

  /** Thread: any. */
  SaTotals totals() const;
  /** Packets of this SA that died, by reason: in decap_run or, accepted and counted, behind it. Thread: any. */
  uint64_t drops(Drop reason) const { return drops_[static_cast<size_t>(reason)].read(); }
  /** A packet that decap_run accepted died later. */
  void note_drop(Drop reason, uint64_t packets = 1) { drops_[static_cast<size_t>(reason)].add(packets); }
  /** Remembers when the SA was last used: monotonic milliseconds. Once per run. */
  void touch(uint64_t now_ms) { last_used_ms_.set(now_ms); }
  /** False until the first touch. */
  bool touched() const { return last_used_ms_.read() != 0; }

  /** True when take_crossed_limits has news. */
  bool limits_crossed() const { return crossed_ != reported_; }
  /** Bits (kSoftLimit, kHardLimit) that were crossed and not taken before. Thread: the owning worker. */
  uint8_t take_crossed_limits();

 private:
  friend void decap_run(InboundSa& sa, std::span<DecapItem> items);

  InboundSa(const Params& params, SaParts parts);

  /** What a packet in flight through the cipher needs afterwards. */
  struct InFlight {
    uint64_t sequence;
    DecapItem* item;
  };
  struct Accepted {
    uint64_t packets = 0;
    uint64_t bytes = 0;
  };
  template <crypto::CipherMode kMode, bool kEsn>
  Accepted open_burst(std::span<DecapItem> items, const Accepted& so_far);
  template <crypto::CipherMode kMode, bool kEsn>
  size_t admit(std::span<DecapItem> items, crypto::CipherOp* ops, InFlight* in_flight) const;
  Drop unwrap(const crypto::CipherOp& op, DecapItem& item) const;
  Drop admit_fragment(const IpPacket& packet) const;
  bool at_hard_limit(const Accepted& so_far) const;
  void note_limits();

  // Read by every run; the window is written.
  uint32_t spi_;
  uint16_t connection_;
  bool esn_;
  crypto::CipherMode mode_;
  std::array<uint8_t, 4> salt_;
  EspGeometry geometry_;
  uint8_t crossed_ = 0;
  ReplayWindow window_;
  crypto::Cipher cipher_;

  alignas(kCacheLineBytes) Counter packets_;
  Counter bytes_;
  Counter sequence_;
  Counter last_used_ms_;
  uint64_t soft_packets_;  // all ones when there is no limit, as the next three
  uint64_t hard_packets_;
  uint64_t soft_bytes_;
  uint64_t hard_bytes_;

  alignas(kCacheLineBytes) SelectorSet selectors_;
  bool carries_later_fragments_;
  uint8_t reported_ = 0;
  std::array<Counter, kDropCount> drops_{};
};

}  // namespace culvert::esp
