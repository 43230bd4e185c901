// Thread: one writer (the owning worker), any reader.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace culvert {

inline constexpr size_t kCacheLineBytes = 64;

/**
 * A number that one thread adds to and any thread may read. A relaxed load, an add and a relaxed store: plain `mov`s
 * without a `lock` prefix. Put a worker's counters together in one `alignas(kCacheLineBytes)` struct.
 */
class Counter {
 public:
  void add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void increment() { add(1); }
  /** For gauges: high-water marks, times of last use. */
  void set(uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  uint64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};
static_assert(sizeof(Counter) == 8 && std::atomic<uint64_t>::is_always_lock_free);

}  // namespace culvert
