// Clocks per packet of the Internet checksum, alone and with a copy, for every variant that this CPU can run.
// memcpy of the same bytes stands beside them: what the checksum costs is the difference.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "clock.h"

namespace {

using namespace culvert;

constexpr size_t kSizes[] = {64, 512, 1400};
constexpr size_t kStride = 2048;
constexpr size_t kPackets = 64;
constexpr size_t kRounds = 2001;

std::vector<uint8_t> from(kPackets* kStride, 0xa5);
std::vector<uint8_t> to(kPackets* kStride);
volatile uint64_t sink;

template <typename Work>
bench::Figures measure(Work work) {
  std::vector<double> rounds;
  for (size_t round = 0; round < kRounds; round++) {
    uint64_t sum = 0;
    const uint64_t start = bench::now();
    for (size_t i = 0; i < kPackets; i++) sum += work(&to[i * kStride], &from[i * kStride]);
    rounds.push_back(static_cast<double>(bench::now() - start) / kPackets);
    sink = sum;
  }
  return bench::summarise(std::move(rounds));
}

}  // namespace

int main() {
  std::printf("%s per packet, median of %zu rounds over %zu packets\n\n", bench::kUnit, kRounds, kPackets);
  std::printf("%-10s %6s %10s %10s %10s\n", "variant", "bytes", "sum", "copy+sum", "memcpy");
  for (const ChecksumVariant& variant : checksum_variants()) {
    for (const size_t bytes : kSizes) {
      const auto sum = measure([&](uint8_t*, const uint8_t* in) { return variant.sum(nullptr, in, bytes); });
      const auto both = measure([&](uint8_t* out, const uint8_t* in) { return variant.copy_and_sum(out, in, bytes); });
      const auto copy = measure([&](uint8_t* out, const uint8_t* in) {
        std::memcpy(out, in, bytes);
        return uint64_t{out[0]};
      });
      std::printf("%-10s %6zu %10.1f %10.1f %10.1f\n", std::string(variant.name).c_str(), bytes, sum.median,
                  both.median, copy.median);
    }
  }
  return 0;
}
