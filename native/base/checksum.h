// Thread: any. The Internet checksum (RFC 1071): sums are kept as partial 64-bit values and folded once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ip_address.h"

namespace culvert {

/** Adds with the carry wrapped around: one's complement addition of partial sums. */
inline uint64_t checksum_add(uint64_t a, uint64_t b) {
  const uint64_t sum = a + b;
  return sum + (sum < a);
}

/**
 * Partial sum of `length` bytes in the machine's own byte order, added to `sum`. Every piece but the last must have an
 * even length. Fold with `checksum_finish`.
 */
uint64_t checksum_partial(const uint8_t* data, size_t length, uint64_t sum = 0);

/** Copies `length` bytes (no overlap) and returns their partial sum added to `sum`, in one pass over memory. */
uint64_t copy_and_checksum(uint8_t* to, const uint8_t* from, size_t length, uint64_t sum = 0);

/** One implementation that this CPU can run; tests and benchmarks compare them, everyone else calls the two above. */
struct ChecksumVariant {
  std::string_view name;
  uint64_t (*sum)(uint8_t* to, const uint8_t* from, size_t length);  // `to` is not touched
  uint64_t (*copy_and_sum)(uint8_t* to, const uint8_t* from, size_t length);
};
/** Fastest last: that is the one in use. */
std::vector<ChecksumVariant> checksum_variants();

/** Partial sum of the TCP/UDP pseudo-header (RFC 793, RFC 8200 §8.1); `length` is transport header and payload. */
uint64_t pseudo_header_checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                                uint32_t length);

/** The folded, not complemented 16-bit sum; memcpy it into a packet as it is (it is already in wire order). */
inline uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  uint32_t half = static_cast<uint32_t>(sum);
  half = (half & 0xffff) + (half >> 16);
  half = (half & 0xffff) + (half >> 16);
  return static_cast<uint16_t>(half);
}

/** The checksum field for `sum`; memcpy it into the packet as it is (it is already in wire order). */
inline uint16_t checksum_finish(uint64_t sum) { return static_cast<uint16_t>(~checksum_fold(sum)); }

}  // namespace culvert
