// What the vector ports of this CPU do in one TSC clock: the floor under bench_esp's figures. The latency of an
// addition, one core clock, gives how many core clocks there are in a TSC clock.
#include <cstdio>
#include <vector>

#include "clock.h"

#if defined(__x86_64__)

namespace {

using culvert::bench::now;
using culvert::bench::summarise;

constexpr int kRepeats = 4000;
constexpr int kRounds = 201;

template <typename F>
double clocks_each(int instructions, F&& f) {
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; round++) {
    const uint64_t start = now();
    for (int i = 0; i < kRepeats; i++) f();
    rounds.push_back(static_cast<double>(now() - start) / kRepeats / instructions);
  }
  return summarise(rounds).median;
}

// Eight of one instruction that do not wait for each other: `before`, the number of the register written, `after`.
#define EIGHT(before, after)                                                                                  \
  clocks_each(8, [] {                                                                                         \
    asm volatile(before "0" after "\n\t" before "1" after "\n\t" before "2" after "\n\t" before "3" after     \
                        "\n\t" before "4" after "\n\t" before "5" after "\n\t" before "6" after "\n\t" before \
                        "7" after                                                                             \
                 :                                                                                            \
                 :                                                                                            \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");                           \
  })

// One of each, four times: as much as the dearer one costs if they have ports of their own, as much as both if not.
double clocks_of_both() {
  return clocks_each(4, [] {
    asm volatile(
        "vaesenc %%zmm8, %%zmm9, %%zmm0\n\tvpclmulqdq $0, %%zmm8, %%zmm9, %%zmm1\n\t"
        "vaesenc %%zmm8, %%zmm9, %%zmm2\n\tvpclmulqdq $0, %%zmm8, %%zmm9, %%zmm3\n\t"
        "vaesenc %%zmm8, %%zmm9, %%zmm4\n\tvpclmulqdq $0, %%zmm8, %%zmm9, %%zmm5\n\t"
        "vaesenc %%zmm8, %%zmm9, %%zmm6\n\tvpclmulqdq $0, %%zmm8, %%zmm9, %%zmm7"
        :
        :
        : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
  });
}

void print_ports() {
  const auto chain = [] {
    asm volatile(
        "vpaddd %%zmm0, %%zmm0, %%zmm0\n\tvpaddd %%zmm0, %%zmm0, %%zmm0\n\t"
        "vpaddd %%zmm0, %%zmm0, %%zmm0\n\tvpaddd %%zmm0, %%zmm0, %%zmm0\n\t"
        "vpaddd %%zmm0, %%zmm0, %%zmm0\n\tvpaddd %%zmm0, %%zmm0, %%zmm0\n\t"
        "vpaddd %%zmm0, %%zmm0, %%zmm0\n\tvpaddd %%zmm0, %%zmm0, %%zmm0" ::
            : "xmm0");
  };
  for (int warm_up = 0; warm_up < 20; warm_up++) clocks_each(8, chain);
  const double core = clocks_each(8, chain);
  std::printf("TSC clocks per core clock: %.3f\n\n%-34s %10s %10s\n", core, "instruction", "TSC", "core");
  const struct {
    const char* name;
    double clocks;
  } rows[] = {
      {"vpaddd zmm", EIGHT("vpaddd %%zmm8, %%zmm9, %%zmm", "")},
      {"vpternlogd zmm", EIGHT("vpternlogd $5, %%zmm8, %%zmm9, %%zmm", "")},
      {"vprold zmm", EIGHT("vprold $5, %%zmm8, %%zmm", "")},
      {"vpunpckldq zmm", EIGHT("vpunpckldq %%zmm8, %%zmm9, %%zmm", "")},
      {"vaesenc zmm", EIGHT("vaesenc %%zmm8, %%zmm9, %%zmm", "")},
      {"vpclmulqdq zmm", EIGHT("vpclmulqdq $0, %%zmm8, %%zmm9, %%zmm", "")},
      {"vaesenc zmm and vpclmulqdq zmm", clocks_of_both()},
      {"sha1rnds4", EIGHT("sha1rnds4 $1, %%xmm8, %%xmm", "")},
      {"sha1msg2", EIGHT("sha1msg2 %%xmm8, %%xmm", "")},
      {"sha256rnds2", EIGHT("sha256rnds2 %%xmm8, %%xmm", "")},
      {"sha256msg1", EIGHT("sha256msg1 %%xmm8, %%xmm", "")},
  };
  for (const auto& row : rows) std::printf("%-34s %10.3f %10.2f\n", row.name, row.clocks, row.clocks / core);
}

}  // namespace

int main() {
  if (!__builtin_cpu_supports("avx512f")) {
    std::fprintf(stderr, "bench_ports: this CPU lacks AVX-512\n");
    return 1;
  }
  print_ports();
  return 0;
}

#else

int main() {
  std::fprintf(stderr, "bench_ports: x86-64 only\n");
  return 1;
}

#endif
