// Thread: owning worker. How many ICMP errors are sent (RFC 4443 §2.4 f, RFC 1812 §4.3.2.8): token buckets.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "base/ip_address.h"

namespace culvert::engine {

/** Errors to one source, and to all: one that asks for thousands leaves the others theirs. */
class ErrorLimit {
 public:
  static constexpr uint32_t kBurst = 200;
  static constexpr uint32_t kPerSecond = 1000;
  static constexpr uint32_t kSourceBurst = 50;
  static constexpr uint32_t kSourcePerSecond = 100;

  /** `seed` decides which sources share a bucket, and is secret. */
  explicit ErrorLimit(uint64_t seed) : seed_(seed) {}

  /** True when an error may go to `source` now; it counts as sent then. `now_ms` never goes back. */
  bool take(const IpAddress& source, uint64_t now_ms) {
    uint64_t hash = (seed_ ^ source.high) * uint64_t{0x9e3779b97f4a7c15};
    hash = (hash ^ (hash >> 32) ^ source.low) * uint64_t{0x9e3779b97f4a7c15};
    Bucket& own = sources_[(hash >> 32) % sources_.size()];
    own.fill(now_ms, kSourcePerSecond, kSourceBurst);
    all_.fill(now_ms, kPerSecond, kBurst);
    if (own.used + kToken > kSourceBurst * kToken || all_.used + kToken > kBurst * kToken) return false;
    own.used += kToken;
    all_.used += kToken;
    return true;
  }

 private:
  static constexpr uint64_t kToken = 1000;  // an error; a rate per second is as many parts of it per millisecond

  struct Bucket {
    uint64_t at_ms = 0;
    uint64_t used = 0;  // drains with time
    void fill(uint64_t now_ms, uint64_t per_second, uint64_t burst) {
      const uint64_t drained = std::min(now_ms - at_ms, burst * kToken) * per_second;
      used -= std::min(used, drained);
      at_ms = now_ms;
    }
  };

  const uint64_t seed_;
  Bucket all_;
  std::array<Bucket, 256> sources_{};
};

}  // namespace culvert::engine
