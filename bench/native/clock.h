// Thread: any. The clock that benchmarks count in, and the median of what it counted.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#else
#include <chrono>
#endif

namespace culvert::bench {

#if defined(__x86_64__)
inline constexpr const char* kUnit = "TSC clocks";
inline uint64_t now() {
  unsigned core;
  return __rdtscp(&core);
}
#else
inline constexpr const char* kUnit = "nanoseconds";
inline uint64_t now() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}
#endif

struct Figures {
  double median;
  double best;
};

inline Figures summarise(std::vector<double> rounds) {
  std::sort(rounds.begin(), rounds.end());
  return {rounds[rounds.size() / 2], rounds.front()};
}

}  // namespace culvert::bench
