// Thread: written by the owning worker, read by any.
#pragma once
#include <array>
#include <cstddef>
#include <string_view>

#include "base/counter.h"
#include "base/drop.h"

namespace culvert::engine {

enum class Count : uint8_t {
#define COUNTER(name, text) name,
#include "tables/counters.def"
#undef COUNTER
};

inline constexpr std::string_view kCounterNames[] = {
#define COUNTER(name, text) #name,
#include "tables/counters.def"
#undef COUNTER
};

inline constexpr size_t kCounterCount = sizeof(kCounterNames) / sizeof(kCounterNames[0]);

/** One worker's numbers, on cache lines of their own. */
struct alignas(kCacheLineBytes) WorkerCounters {
  std::array<Counter, kCounterCount> counts;
  std::array<Counter, kDropCount> drops;

  void add(Count which, uint64_t n) { counts[static_cast<size_t>(which)].add(n); }
  void drop(Drop reason, uint64_t n = 1) { drops[static_cast<size_t>(reason)].add(n); }
};

}  // namespace culvert::engine
