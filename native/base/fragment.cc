#include "base/fragment.h"

#include "base/byte_order.h"

namespace culvert {
namespace {

constexpr uint32_t kLongestPacket = 65535;
constexpr uint32_t kFragmentUnit = 8;
// RFC 3128 §3: up to the flags, so that no later fragment can begin inside of them.
constexpr uint32_t kTcpBytesShown = 16;

}  // namespace

Drop read_fragment(std::span<const uint8_t> packet, const IpPacket& ip, Fragment& fragment) {
  const uint8_t* header = packet.data();
  uint32_t payload_at;
  uint32_t before = 0;  // header bytes that the reassembled packet's length has room for
  if (ip.source.family == Family::ipv4) {
    const uint16_t field = load_be16(header + 6);
    payload_at = static_cast<uint32_t>(header[0] & 0x0f) * 4;
    before = payload_at;
    fragment.id = load_be16(header + 4);
    fragment.offset = (field & 0x1fffu) * kFragmentUnit;
    fragment.more = (field & 0x2000) != 0;
    fragment.protocol = header[9];
  } else {
    // parse_ip has checked every length on the way, and that there is a Fragment header.
    uint8_t next_header = header[6];
    uint32_t at = kIpv6HeaderBytes;
    while (next_header != kProtocolFragment) {
      next_header = header[at];
      at += (uint32_t{header[at + 1]} + 1) * kFragmentUnit;
    }
    const uint16_t field = load_be16(header + at + 2);
    fragment.protocol = header[at];
    fragment.offset = field & 0xfff8u;
    fragment.more = (field & 1) != 0;
    fragment.id = load_be32(header + at + 4);
    payload_at = at + kFragmentUnit;
  }
  // What parse_ip found further behind would be a second Fragment header.
  if ((fragment.offset != 0) != ip.is_later_fragment || (fragment.offset == 0 && !fragment.more))
    return Drop::malformed;
  fragment.length = ip.total_length - payload_at;
  if (fragment.length == 0 || (fragment.more && fragment.length % kFragmentUnit != 0)) return Drop::malformed;
  if (before + fragment.offset + fragment.length > kLongestPacket) return Drop::malformed;
  return Drop::none;
}

bool is_tiny_first(const IpPacket& ip) {
  const uint32_t shown = ip.total_length - ip.transport_offset;
  switch (ip.protocol) {
    case kProtocolTcp:
      return shown < kTcpBytesShown;
    case kProtocolUdp:
    case kProtocolUdpLite:
    case kProtocolSctp:
    case kProtocolIcmp:
    case kProtocolIcmpv6:
    case kProtocolMobility:
      return !ip.has_ports;
    default:
      return false;
  }
}

}  // namespace culvert
