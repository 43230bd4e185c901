// Thread: any. What one fragment says of its place in the packet it was cut from (RFC 791, RFC 8200 §4.5).
#pragma once
#include <cstdint>
#include <span>

#include "base/drop.h"
#include "base/ip.h"

namespace culvert {

/** The fragment-related fields of a packet for which IpPacket::is_fragment holds. */
struct Fragment {
  uint32_t id;       // IPv4: 16 bits
  uint32_t offset;   // of its payload in the packet's, bytes
  uint32_t length;   // bytes of payload; at least 1
  uint8_t protocol;  // what the payload of the packet begins with: with IPv6 maybe an extension header
  bool more;         // it is not the last
};

/**
 * Reads the fragment fields of `packet`, which parse_ip read into `ip` as a fragment. Drop::malformed for what no
 * sender makes: no payload, one that is not a multiple of eight bytes and not the last, one that ends beyond the
 * longest packet, or a second IPv6 Fragment header.
 */
Drop read_fragment(std::span<const uint8_t> packet, const IpPacket& ip, Fragment& fragment);

/**
 * True when a first fragment does not show what selectors need: ports, types and codes, or the flags of TCP, so that
 * the next fragment could write them (RFC 1858 §3, RFC 3128 §3, RFC 7112 §5).
 */
bool is_tiny_first(const IpPacket& ip);

/** True when `ip`, a later fragment, does not say what its packet's transport protocol is: IPv6 extension headers. */
inline bool hides_protocol(const IpPacket& ip) {
  return ip.is_later_fragment && ip.source.family == Family::ipv6 &&
         (ip.protocol == kProtocolHopByHop || ip.protocol == kProtocolRouting ||
          ip.protocol == kProtocolDestinationOptions || ip.protocol == kProtocolFragment);
}

}  // namespace culvert
