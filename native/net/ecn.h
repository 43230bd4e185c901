// Thread: any. Explicit congestion notification through a tunnel (RFC 6040) and the traffic class around it.
#pragma once
#include <cstdint>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/drop.h"

namespace culvert::net {

inline constexpr uint8_t kEcnMask = 3;
inline constexpr uint8_t kEcnNone = 0;  // Not-ECT
inline constexpr uint8_t kEcnEct1 = 1;
inline constexpr uint8_t kEcnEct0 = 2;
inline constexpr uint8_t kEcnCongestion = 3;  // CE

/**
 * RFC 6040 §4.2 figure 4: what the outer header's ECN field does to an inner packet that comes out of the tunnel.
 * Drop::ecn_not_supported when a router marked a packet whose ends cannot understand the mark. On the way in, normal
 * mode copies the inner field to the outer header, as the DSCP is (RFC 4301 §5.1.2).
 */
inline Drop decapsulate_ecn(uint8_t outer_class, uint8_t* packet) {
  const uint8_t outer = outer_class & kEcnMask;
  if (outer == kEcnNone || outer == kEcnEct0) return Drop::none;  // by far the most
  const bool ipv4 = (packet[0] >> 4) == 4;
  const uint16_t word = load_be16(packet);
  const uint8_t inner = static_cast<uint8_t>(ipv4 ? word : word >> 4) & kEcnMask;
  if (inner == kEcnNone) return outer == kEcnCongestion ? Drop::ecn_not_supported : Drop::none;
  const bool changes = outer == kEcnCongestion ? inner != kEcnCongestion : inner == kEcnEct0;
  if (!changes) return Drop::none;
  const uint16_t mask = static_cast<uint16_t>(ipv4 ? kEcnMask : kEcnMask << 4);
  const uint16_t field = static_cast<uint16_t>(ipv4 ? outer : outer << 4);
  const uint16_t changed = static_cast<uint16_t>((word & ~mask) | field);
  store_be16(packet, changed);
  if (ipv4) {
    // RFC 1624: HC' = ~(~HC + ~m + m')
    const uint32_t sum =
        static_cast<uint16_t>(~load_be16(packet + 10)) + static_cast<uint16_t>(~word) + uint32_t{changed};
    store_be16(packet + 10, static_cast<uint16_t>(~checksum_fold(sum)));
  }
  return Drop::none;
}

}  // namespace culvert::net
