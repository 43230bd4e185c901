// Thread: any. Checked reading of IPv4 (RFC 791) and IPv6 (RFC 8200) headers: no length is believed before it was
// compared with the bytes that are there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/drop.h"
#include "base/ip_address.h"

namespace culvert {

inline constexpr size_t kIpv4HeaderBytes = 20;  // without options
inline constexpr size_t kIpv6HeaderBytes = 40;  // without extension headers
inline constexpr size_t kUdpHeaderBytes = 8;

/** IANA protocol numbers that the data plane looks at. */
inline constexpr uint8_t kProtocolHopByHop = 0;
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolIpv4 = 4;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kProtocolIpv6 = 41;
inline constexpr uint8_t kProtocolRouting = 43;
inline constexpr uint8_t kProtocolFragment = 44;
inline constexpr uint8_t kProtocolEsp = 50;
inline constexpr uint8_t kProtocolAh = 51;
inline constexpr uint8_t kProtocolIcmpv6 = 58;
inline constexpr uint8_t kProtocolNoNext = 59;
inline constexpr uint8_t kProtocolDestinationOptions = 60;
inline constexpr uint8_t kProtocolSctp = 132;
inline constexpr uint8_t kProtocolMobility = 135;
inline constexpr uint8_t kProtocolUdpLite = 136;

/** What forwarding and selectors need to know about a packet. */
struct IpPacket {
  IpAddress source;
  IpAddress destination;
  uint32_t total_length;      // bytes, by the header; never more than were given
  uint16_t transport_offset;  // bytes to the transport header, behind options and extension headers
  uint16_t source_port;       // TCP, UDP, UDP-Lite, SCTP; for ICMP and mobility see destination_port
  uint16_t destination_port;  // for ICMP both ports are type << 8 | code, for mobility type << 8 (RFC 4301 §4.4.1.1)
  uint8_t protocol;           // transport protocol: the last next header behind extension headers
  uint8_t traffic_class;      // DSCP and ECN
  uint8_t hops;               // TTL or hop limit
  bool has_ports;             // false: the protocol has none, or a fragment hides them
  bool is_fragment;           // any fragment, first or later; IPv6 atomic fragments (RFC 6946) are none
  bool is_later_fragment;     // fragment offset is not zero: no transport header here
  bool dont_fragment;         // IPv4 DF; always true for IPv6
};

/**
 * Total length that the IP header of `version` (4 or 6) at `packet` claims, or 0 when the packet is not of that
 * version, its header is cut short or inconsistent, or the claim exceeds `available`. No more than lengths is looked
 * at.
 */
inline size_t ip_total_length(const uint8_t* packet, size_t available, unsigned version) {
  if (version == 4) {
    if (available < kIpv4HeaderBytes || (packet[0] >> 4) != 4) return 0;
    const size_t header = static_cast<size_t>(packet[0] & 0x0f) * 4;
    const size_t total = load_be16(packet + 2);
    return header >= kIpv4HeaderBytes && total >= header && total <= available ? total : 0;
  }
  if (available < kIpv6HeaderBytes || (packet[0] >> 4) != 6) return 0;
  const size_t total = kIpv6HeaderBytes + load_be16(packet + 4);
  return total <= available ? total : 0;
}

/**
 * Parses the packet at the start of `bytes`; trailing bytes behind its total length are allowed.
 * Drop::not_ip: neither version 4 nor 6. Drop::truncated: fewer bytes than a header needs. Drop::malformed: lengths
 * contradict each other (also IPv6 jumbograms, and more extension headers than a real packet has).
 */
Drop parse_ip(std::span<const uint8_t> bytes, IpPacket& packet);

}  // namespace culvert
