#include "route/pair_index.h"

#include <algorithm>

namespace culvert::route {
namespace {

// The address behind `address`; false when there is none in its family.
bool next_of(IpAddress& address) {
  if (address.family == Family::ipv4) return ++address.low <= 0xffffffff;
  if (++address.low != 0) return true;
  return ++address.high != 0;
}

}  // namespace

PairIndex::PairIndex(std::span<const Entry> entries)
    : size_(std::min(entries.size(), kMostEntries)), words_((size_ + 63) / 64) {
  const auto indexed = entries.first(size_);
  sources_.build(indexed, &Entry::sources, words_);
  destinations_.build(indexed, &Entry::destinations, words_);
}

void PairIndex::Side::build(std::span<const Entry> entries, std::span<const AddressRange> Entry::*end,
                            size_t words_wanted) {
  words = words_wanted;
  std::vector<IpAddress> starts;
  for (const Entry& entry : entries) {
    for (const AddressRange& range : entry.*end) {
      starts.push_back(range.first);
      IpAddress behind = range.last;
      if (next_of(behind)) starts.push_back(behind);
    }
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  rows.assign(starts.size() * words, 0);
  for (size_t i = 0; i < entries.size(); i++) {
    for (const AddressRange& range : entries[i].*end) {
      const auto first = std::lower_bound(starts.begin(), starts.end(), range.first);
      for (auto at = first; at != starts.end() && *at <= range.last; at++)
        rows[static_cast<size_t>(at - starts.begin()) * words + i / 64] |= uint64_t{1} << i % 64;
    }
  }
  for (const IpAddress& start : starts) {
    if (start.family == Family::ipv4) {
      ipv4.push_back(static_cast<uint32_t>(start.low));
    } else {
      ipv6.push_back(start);
    }
  }
}

const uint64_t* PairIndex::Side::find(const IpAddress& address) const {
  const auto row = [&](const auto& starts, const auto& key, size_t offset) -> const uint64_t* {
    const auto behind = std::upper_bound(starts.begin(), starts.end(), key);
    if (behind == starts.begin()) return nullptr;
    return rows.data() + (offset + static_cast<size_t>(behind - starts.begin()) - 1) * words;
  };
  if (address.family == Family::ipv4) return row(ipv4, static_cast<uint32_t>(address.low), 0);
  return row(ipv6, address, ipv4.size());
}

}  // namespace culvert::route
