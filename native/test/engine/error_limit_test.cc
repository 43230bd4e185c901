#include "engine/error_limit.h"

#include "test/check.h"

namespace culvert::test {
namespace {

using engine::ErrorLimit;

IpAddress source(uint32_t n) { return {0, 0x0a000000 + n, Family::ipv4}; }

uint32_t taken(ErrorLimit& limit, uint32_t from, uint64_t now_ms, uint32_t attempts) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < attempts; i++) count += limit.take(source(from), now_ms) ? 1 : 0;
  return count;
}

TEST("one source gets a burst of ICMP errors and then its rate, whatever it sends (RFC 4443 §2.4 f)") {
  ErrorLimit limit(77);
  CHECK_EQ(taken(limit, 1, 1'000'000, 10'000), ErrorLimit::kSourceBurst);
  uint32_t count = 0;
  for (uint64_t ms = 1; ms <= 10'000; ms++) count += taken(limit, 1, 1'000'000 + ms, 10);
  CHECK_EQ(count, 10 * ErrorLimit::kSourcePerSecond);
  // Rest does not add up beyond the burst.
  CHECK_EQ(taken(limit, 1, 90'000'000, 10'000), ErrorLimit::kSourceBurst);
}

TEST("another source has a share of its own, and all together have a bound") {
  ErrorLimit limit(77);
  taken(limit, 1, 1'000'000, 10'000);
  CHECK_EQ(taken(limit, 2, 1'000'000, 3), 3u);
  uint32_t count = 0;
  for (uint32_t n = 3; n < 10'000; n++) count += taken(limit, n, 1'000'000, 1);
  CHECK_EQ(count, ErrorLimit::kBurst - ErrorLimit::kSourceBurst - 3);
}

}  // namespace
}  // namespace culvert::test
