// The entries that an index finds are those that a look at every entry finds, in the same order.
#include "route/pair_index.h"

#include <algorithm>

#include "test/check.h"

namespace culvert::test {
namespace {

using route::AddressRange;
using route::PairIndex;

struct Model {
  std::vector<std::vector<AddressRange>> sources;
  std::vector<std::vector<AddressRange>> destinations;

  PairIndex index() const {
    std::vector<PairIndex::Entry> entries;
    for (size_t i = 0; i < sources.size(); i++) entries.push_back({sources[i], destinations[i]});
    return PairIndex(entries);
  }

  static bool has(std::span<const AddressRange> ranges, const IpAddress& address) {
    return std::ranges::any_of(ranges, [&](const AddressRange& range) {
      return range.first.family == address.family && range.first <= address && address <= range.last;
    });
  }

  template <typename Accepts>
  size_t first(const IpAddress& source, const IpAddress& destination, Accepts accepts) const {
    for (size_t i = 0; i < std::min(sources.size(), PairIndex::kMostEntries); i++) {
      if (has(sources[i], source) && has(destinations[i], destination) && accepts(i)) return i;
    }
    return PairIndex::kNone;
  }
};

// Few different addresses, both ends of the number range among them, so that ranges nest, touch and repeat.
IpAddress any_address(Random& random, Family family) {
  if (family == Family::ipv4) return {0, random.next() & 0xc000000f, family};
  return {random.next() & 0xc000000000000001, random.next() & 0xc000000000000003, family};
}

std::vector<AddressRange> any_ranges(Random& random) {
  std::vector<AddressRange> ranges;
  for (uint64_t n = random.below(4); n > 0; n--) {
    const Family family = random.below(2) == 0 ? Family::ipv4 : Family::ipv6;
    IpAddress first = any_address(random, family);
    IpAddress last = any_address(random, family);
    if (last < first) std::swap(first, last);
    if (random.below(8) == 0) {
      first = {0, 0, family};
      last = family == Family::ipv4 ? IpAddress{0, 0xffffffff, family} : IpAddress{~0ull, ~0ull, family};
    }
    ranges.push_back({first, last});
  }
  return ranges;
}

TEST("an index finds what a look at every entry finds") {
  Random random;
  for (int round = 0; round < 200; round++) {
    Model model;
    for (uint64_t n = random.below(200); n > 0; n--) {
      model.sources.push_back(any_ranges(random));
      model.destinations.push_back(any_ranges(random));
    }
    const PairIndex index = model.index();
    CHECK_EQ(index.size(), model.sources.size());
    for (int i = 0; i < 200; i++) {
      const IpAddress source = any_address(random, random.below(2) == 0 ? Family::ipv4 : Family::ipv6);
      const IpAddress destination = any_address(random, random.below(2) == 0 ? Family::ipv4 : Family::ipv6);
      const uint64_t mask = random.next() | random.next();
      const auto accepts = [mask](size_t entry) { return (mask >> entry % 64 & 1) != 0; };
      REQUIRE(CHECK_EQ(index.first(source, destination, accepts), model.first(source, destination, accepts)));
    }
  }
}

TEST("an index of nothing finds nothing") {
  const auto any = [](size_t) { return true; };
  const IpAddress address{0, 1, Family::ipv4};
  CHECK_EQ(PairIndex().first(address, address, any), PairIndex::kNone);
  CHECK_EQ(PairIndex(std::span<const PairIndex::Entry>{}).first(address, address, any), PairIndex::kNone);
}

TEST("of a list that is too long the first entries are known") {
  const AddressRange all{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}};
  const std::vector<PairIndex::Entry> entries(PairIndex::kMostEntries + 5, {{&all, 1}, {&all, 1}});
  const PairIndex index{std::span(entries)};
  CHECK_EQ(index.size(), PairIndex::kMostEntries);
  const IpAddress address{0, 7, Family::ipv4};
  const auto last = [](size_t entry) { return entry >= PairIndex::kMostEntries - 1; };
  CHECK_EQ(index.first(address, address, last), PairIndex::kMostEntries - 1);
}

}  // namespace
}  // namespace culvert::test
