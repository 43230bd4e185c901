// Thread: any. An IPv4 or IPv6 address as a value that compares like a number.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>

#include "base/byte_order.h"

namespace culvert {

enum class Family : uint8_t { ipv4 = 4, ipv6 = 6 };

/**
 * An address of either family. The 128 bits are two host-order words, high word first, so that ranges and prefixes are
 * integer comparisons; an IPv4 address is in the low 32 bits. Addresses of different families never compare equal.
 */
struct IpAddress {
  uint64_t high = 0;
  uint64_t low = 0;
  Family family = Family::ipv4;

  /** Reads 4 bytes in network order. */
  static IpAddress load_ipv4(const void* from) { return {0, load_be32(from), Family::ipv4}; }
  /** Reads 16 bytes in network order. */
  static IpAddress load_ipv6(const void* from) {
    return {load_be64(from), load_be64(static_cast<const uint8_t*>(from) + 8), Family::ipv6};
  }
  /** Writes bytes() bytes in network order. */
  void store(void* to) const {
    if (family == Family::ipv4) {
      store_be32(to, static_cast<uint32_t>(low));
    } else {
      store_be64(to, high);
      store_be64(static_cast<uint8_t*>(to) + 8, low);
    }
  }
  size_t bytes() const { return family == Family::ipv4 ? 4 : 16; }

  friend bool operator==(const IpAddress&, const IpAddress&) = default;
  /** Numeric order inside a family; all IPv4 before all IPv6. */
  friend std::strong_ordering operator<=>(const IpAddress& a, const IpAddress& b) {
    if (auto by_family = a.family <=> b.family; by_family != 0) return by_family;
    if (auto by_high = a.high <=> b.high; by_high != 0) return by_high;
    return a.low <=> b.low;
  }
};

}  // namespace culvert
