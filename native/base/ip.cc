#include "base/ip.h"

namespace culvert {
namespace {

// A packet with more extension headers than this is an attack or a mistake; nothing on the Internet has half as many.
constexpr int kMaxExtensionHeaders = 8;

constexpr uint16_t kIpv4DontFragment = 0x4000;
constexpr uint16_t kIpv4MoreFragments = 0x2000;
constexpr uint16_t kIpv4OffsetMask = 0x1fff;

/** Reads ports, or ICMP and mobility types in their place, when the transport header is there to be read. */
void read_ports(const uint8_t* transport, size_t available, IpPacket& packet) {
  switch (packet.protocol) {
    case kProtocolTcp:
    case kProtocolUdp:
    case kProtocolUdpLite:
    case kProtocolSctp:
      if (available < 4) return;
      packet.source_port = load_be16(transport);
      packet.destination_port = load_be16(transport + 2);
      break;
    case kProtocolIcmp:
    case kProtocolIcmpv6:
      if (available < 2) return;
      packet.source_port = packet.destination_port = load_be16(transport);
      break;
    case kProtocolMobility:
      if (available < 3) return;
      packet.source_port = packet.destination_port = static_cast<uint16_t>(transport[2] << 8);
      break;
    default:
      return;
  }
  packet.has_ports = true;
}

Drop parse_ipv4(std::span<const uint8_t> bytes, IpPacket& packet) {
  //  |Version|  IHL  |Type of Service|          Total Length         |
  //  |         Identification        |Flags|      Fragment Offset    |
  //  |  Time to Live |    Protocol   |         Header Checksum       |      RFC 791 §3.1
  if (bytes.size() < kIpv4HeaderBytes) return Drop::truncated;
  const uint8_t* header = bytes.data();
  const size_t header_bytes = static_cast<size_t>(header[0] & 0x0f) * 4;
  const size_t total = load_be16(header + 2);
  if (header_bytes < kIpv4HeaderBytes || total < header_bytes) return Drop::malformed;
  if (total > bytes.size()) return Drop::truncated;

  const uint16_t fragment = load_be16(header + 6);
  packet.traffic_class = header[1];
  packet.total_length = static_cast<uint32_t>(total);
  packet.dont_fragment = (fragment & kIpv4DontFragment) != 0;
  packet.is_fragment = (fragment & (kIpv4MoreFragments | kIpv4OffsetMask)) != 0;
  packet.is_later_fragment = (fragment & kIpv4OffsetMask) != 0;
  packet.hops = header[8];
  packet.protocol = header[9];
  packet.source = IpAddress::load_ipv4(header + 12);
  packet.destination = IpAddress::load_ipv4(header + 16);
  packet.transport_offset = static_cast<uint16_t>(header_bytes);
  if (!packet.is_later_fragment) read_ports(header + header_bytes, total - header_bytes, packet);
  return Drop::none;
}

Drop parse_ipv6(std::span<const uint8_t> bytes, IpPacket& packet) {
  //  |Version| Traffic Class |           Flow Label                  |
  //  |         Payload Length        |  Next Header  |   Hop Limit   |      RFC 8200 §3
  if (bytes.size() < kIpv6HeaderBytes) return Drop::truncated;
  const uint8_t* header = bytes.data();
  const size_t total = kIpv6HeaderBytes + load_be16(header + 4);
  if (total > bytes.size()) return Drop::truncated;

  packet.traffic_class = static_cast<uint8_t>(load_be16(header) >> 4);
  packet.total_length = static_cast<uint32_t>(total);
  packet.dont_fragment = true;
  packet.hops = header[7];
  packet.source = IpAddress::load_ipv6(header + 8);
  packet.destination = IpAddress::load_ipv6(header + 24);

  uint8_t next_header = header[6];
  size_t offset = kIpv6HeaderBytes;
  for (int extensions = 0;; extensions++) {
    const bool is_extension = next_header == kProtocolHopByHop || next_header == kProtocolRouting ||
                              next_header == kProtocolDestinationOptions || next_header == kProtocolFragment;
    if (!is_extension || packet.is_later_fragment) break;
    if (extensions == kMaxExtensionHeaders) return Drop::malformed;
    if (total - offset < 8) return Drop::malformed;
    const uint8_t* extension = header + offset;
    size_t extension_bytes = 8;
    if (next_header == kProtocolFragment) {
      // RFC 8200 §4.5: 13 bits of offset, two reserved, M
      const uint16_t fragment = load_be16(extension + 2);
      // RFC 6946: neither offset nor M is an atomic fragment, a whole packet in all but its header.
      packet.is_fragment = packet.is_fragment || (fragment & 0xfff9) != 0;
      packet.is_later_fragment = (fragment >> 3) != 0;
    } else {
      extension_bytes = (static_cast<size_t>(extension[1]) + 1) * 8;
      if (total - offset < extension_bytes) return Drop::malformed;
    }
    next_header = extension[0];
    offset += extension_bytes;
  }
  packet.protocol = next_header;
  packet.transport_offset = static_cast<uint16_t>(offset);
  if (!packet.is_later_fragment) read_ports(header + offset, total - offset, packet);
  return Drop::none;
}

}  // namespace

Drop parse_ip(std::span<const uint8_t> bytes, IpPacket& packet) {
  packet = {};
  if (bytes.empty()) return Drop::truncated;
  switch (bytes[0] >> 4) {
    case 4:
      return parse_ipv4(bytes, packet);
    case 6:
      return parse_ipv6(bytes, packet);
    default:
      return Drop::not_ip;
  }
}

}  // namespace culvert
