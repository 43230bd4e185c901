// Two data planes at full rate over a path that flips bits, repeats, reorders and loses (see round.h), round after
// round with other workers, weather and traffic.
//
//   path_soak SECONDS SEED [ROUND_SECONDS]
//
// Prints a line of JSON for each round, one for all, and last `N passed, N failed, N skipped`, which counts rounds.
// Exits 1 on a finding: a wrong byte, a packet that no reason accounts for, memory that grows.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "engine/shared.h"
#include "soak/round.h"

namespace {

using namespace culvert;

// One of each kind, at least.
constexpr uint64_t kWarmUpRounds = 5;
// What pools and the allocator may take on top of what they had after the first rounds.
constexpr uint64_t kMostGrowthKb = 24 * 1024;

uint64_t resident_kb() {
  unsigned long pages = 0;
  unsigned long resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r"); file != nullptr) {
    if (std::fscanf(file, "%lu %lu", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) / 1024;
}

/** Round after round another weather, other traffic, other numbers of workers. */
soak::RoundOptions options_of(uint64_t round, uint64_t seed, double seconds) {
  constexpr unsigned kWorkers[][2] = {{1, 1}, {2, 3}, {1, 2}, {3, 3}};
  struct Kind {
    soak::Weather weather;
    bool rekeys;
    bool limits;
  };
  constexpr Kind kKinds[kWarmUpRounds] = {
      {{.drop = 2000, .twice = 5000, .flip = 5000, .resize = 1000, .delay = 5000}, true, false},
      {{.drop = 500, .twice = 500, .flip = 500, .resize = 500, .flip_header = 3000}, true, false},
      {{.drop = 1000, .twice = 1000, .flip = 2000, .joins_spis = false}, false, false},
      {{.joins_spis = false}, false, true},
      {{.twice = 500, .flip = 500}, false, false},
  };
  soak::RoundOptions options;
  options.seed = seed * 1000 + round;
  options.seconds = seconds;
  options.workers[0] = kWorkers[round % std::size(kWorkers)][0];
  options.workers[1] = kWorkers[round % std::size(kWorkers)][1];
  const Kind& kind = kKinds[round % std::size(kKinds)];
  options.weather = kind.weather;
  options.rekeys = kind.rekeys;
  options.limits = kind.limits;
  options.tcp = !kind.limits && round / 2 % 2 == 1;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("path_soak SECONDS SEED [ROUND_SECONDS]\n", stderr);
    return 2;
  }
  if (::unshare(CLONE_NEWNET) != 0) {
    std::puts("skip path_soak: network namespaces need root\n0 passed, 0 failed, 1 skipped");
    return 0;
  }
  const double seconds = std::atof(argv[1]);
  const uint64_t seed = std::strtoull(argv[2], nullptr, 10);
  const double round_seconds = argc > 3 ? std::atof(argv[3]) : 4;
  const uint64_t end = engine::monotonic_ns() + static_cast<uint64_t>(seconds * 1e9);
  uint64_t delivered = 0;
  uint64_t bytes = 0;
  uint64_t findings = 0;
  uint64_t failed = 0;
  uint64_t warm_kb = 0;
  uint64_t most_kb = 0;
  uint64_t rounds = 0;
  for (; rounds < kWarmUpRounds || engine::monotonic_ns() < end; rounds++) {
    const soak::RoundReport report = soak::run_round(options_of(rounds, seed, round_seconds));
    std::printf("%s\n", report.text.c_str());
    for (const std::string& finding : report.findings)
      std::printf("FINDING in round %llu: %s\n", static_cast<unsigned long long>(rounds), finding.c_str());
    std::fflush(stdout);
    delivered += report.delivered;
    bytes += report.inner_bytes;
    findings += report.findings.size();
    failed += report.findings.empty() ? 0 : 1;
    if (report.delivered == 0) break;  // the set-up failed, and would again
    const uint64_t now_kb = resident_kb();
    if (rounds < kWarmUpRounds) warm_kb = std::max(warm_kb, now_kb);
    most_kb = std::max(most_kb, now_kb);
  }
  if (most_kb > warm_kb + kMostGrowthKb) {
    std::printf("FINDING: resident memory grew from %llu KB to %llu KB\n", static_cast<unsigned long long>(warm_kb),
                static_cast<unsigned long long>(most_kb));
    findings++;
  }
  std::printf("{\"rounds\":%llu,\"delivered\":%llu,\"bytes\":%llu,\"warmKb\":%llu,\"mostKb\":%llu,\"findings\":%llu}\n",
              static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(delivered),
              static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(warm_kb),
              static_cast<unsigned long long>(most_kb), static_cast<unsigned long long>(findings));
  if (findings != 0 && failed == 0) failed = 1;
  std::printf("%llu passed, %llu failed, 0 skipped\n",
              static_cast<unsigned long long>(rounds < failed ? 0 : rounds - failed),
              static_cast<unsigned long long>(failed));
  return findings == 0 ? 0 : 1;
}
