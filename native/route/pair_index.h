// Thread: built by control, then immutable and read by any worker.
//
// Which entries of a list may match a packet's source and destination, first ones first, without a look at the others:
// for each end the addresses at which an answer changes, sorted, and for each interval between them one bit per entry.
// A lookup is two binary searches and an AND (the "bit vector" scheme of Lakshman and Stiliadis).
#pragma once
#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/ip_address.h"

namespace culvert::route {

/** Both ends belong to it, and are of one family. */
struct AddressRange {
  IpAddress first;
  IpAddress last;
};

class PairIndex {
 public:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  /** Shorter lists are searched faster one by one; of longer ones the rest is, so that memory is bounded. */
  static constexpr size_t kLeastEntries = 8;
  static constexpr size_t kMostEntries = 4096;

  /** The addresses of one entry; an entry may have several ranges for an end. */
  struct Entry {
    std::span<const AddressRange> sources;
    std::span<const AddressRange> destinations;
  };

  PairIndex() = default;
  explicit PairIndex(std::span<const Entry> entries);

  /** Entries that it knows of: the first ones of the list that it was built from. */
  size_t size() const { return size_; }

  /** The first entry that has both addresses and that `accepts` likes; kNone when there is none among `size()`. */
  template <typename Accepts>
  size_t first(const IpAddress& source, const IpAddress& destination, Accepts accepts) const {
    const uint64_t* const from = sources_.find(source);
    const uint64_t* const to = destinations_.find(destination);
    if (from == nullptr || to == nullptr) return kNone;
    for (size_t i = 0; i < words_; i++) {
      for (uint64_t both = from[i] & to[i]; both != 0; both &= both - 1) {
        const size_t entry = i * 64 + static_cast<size_t>(std::countr_zero(both));
        if (accepts(entry)) return entry;
      }
    }
    return kNone;
  }

 private:
  struct Side {
    std::vector<uint32_t> ipv4;  // where intervals start
    std::vector<IpAddress> ipv6;
    std::vector<uint64_t> rows;  // `words` for each interval: those of IPv4, then those of IPv6
    size_t words = 0;

    void build(std::span<const Entry> entries, std::span<const AddressRange> Entry::*end, size_t words_wanted);
    /** Bits of the interval that has `address`; nullptr in front of the first one. */
    const uint64_t* find(const IpAddress& address) const;
  };

  size_t size_ = 0;
  size_t words_ = 0;
  Side sources_;
  Side destinations_;
};

}  // namespace culvert::route
