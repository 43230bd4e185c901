#include "net/icmp.h"

#include <algorithm>
#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"

namespace culvert::net {
namespace {

constexpr uint8_t kIcmpEchoReply = 0;
constexpr uint8_t kIcmpUnreachable = 3;
constexpr uint8_t kIcmpSourceQuench = 4;
constexpr uint8_t kIcmpRedirect = 5;
constexpr uint8_t kIcmpFragmentationNeeded = 4;  // code
constexpr uint8_t kIcmpEchoRequest = 8;
constexpr uint8_t kIcmpTimeExceeded = 11;
constexpr uint8_t kIcmpParameterProblem = 12;
constexpr uint8_t kIcmpv6TooBig = 2;
constexpr uint8_t kIcmpv6EchoRequest = 128;
constexpr uint8_t kIcmpv6EchoReply = 129;
constexpr size_t kIcmpHeaderBytes = 8;
constexpr uint8_t kHops = 64;
constexpr size_t kEchoPayloadBytes = 16;

// RFC 1122 §3.2.2.1: IP header and at least 8 bytes; RFC 1812 §4.3.2.3: as much as fits in 576 bytes.
constexpr size_t kMaxIpv4ErrorBytes = 576;

bool is_multicast(const IpAddress& a) {
  return a.family == Family::ipv4 ? (a.low >> 28) == 0xe || a.low == 0xffffffff : (a.high >> 56) == 0xff;
}
// RFC 1812 §4.3.2.7: addresses that no single node has.
bool is_nobody(const IpAddress& a) {
  if (a.family == Family::ipv6) return a.high == 0 && a.low <= 1;
  return a.low >> 24 == 0 || a.low >> 24 == 127 || a.low >> 28 == 0xf;
}
bool is_icmp_error(uint8_t type) {
  return type == kIcmpUnreachable || type == kIcmpSourceQuench || type == kIcmpRedirect || type == kIcmpTimeExceeded ||
         type == kIcmpParameterProblem;
}

// Everything around an ICMP message that already stands behind the IP header; its checksum field is zero.
size_t finish(const IpAddress& source, const IpAddress& destination, size_t icmp_bytes, uint8_t* to) {
  if (source.family == Family::ipv4) {
    const size_t total = kIpv4HeaderBytes + icmp_bytes;
    std::memset(to, 0, kIpv4HeaderBytes);
    to[0] = 0x45;
    store_be16(to + 2, static_cast<uint16_t>(total));
    to[8] = kHops;
    to[9] = kProtocolIcmp;
    source.store(to + 12);
    destination.store(to + 16);
    const uint16_t header = checksum_finish(checksum_partial(to, kIpv4HeaderBytes));
    std::memcpy(to + 10, &header, sizeof header);
    uint8_t* icmp = to + kIpv4HeaderBytes;
    const uint16_t checksum = checksum_finish(checksum_partial(icmp, icmp_bytes));
    std::memcpy(icmp + 2, &checksum, sizeof checksum);
    return total;
  }
  std::memset(to, 0, kIpv6HeaderBytes);
  to[0] = 0x60;
  store_be16(to + 4, static_cast<uint16_t>(icmp_bytes));
  to[6] = kProtocolIcmpv6;
  to[7] = kHops;
  source.store(to + 8);
  destination.store(to + 24);
  uint8_t* icmp = to + kIpv6HeaderBytes;
  const uint64_t pseudo =
      pseudo_header_checksum(source, destination, kProtocolIcmpv6, static_cast<uint32_t>(icmp_bytes));
  const uint16_t checksum = checksum_finish(checksum_partial(icmp, icmp_bytes, pseudo));
  std::memcpy(icmp + 2, &checksum, sizeof checksum);
  return kIpv6HeaderBytes + icmp_bytes;
}

// RFC 1122 §3.2.2, RFC 4443 §2.4(e): never an error about an error, a multicast, or a later fragment.
bool may_report(std::span<const uint8_t> packet, const IpPacket& ip) {
  if (ip.is_later_fragment || is_multicast(ip.destination) || is_multicast(ip.source) || is_nobody(ip.source))
    return false;
  if (ip.transport_offset >= ip.total_length) return true;
  const uint8_t type = packet[ip.transport_offset];
  if (ip.protocol == kProtocolIcmp) return !is_icmp_error(type);
  if (ip.protocol == kProtocolIcmpv6) return type >= 128;
  return true;
}

}  // namespace

size_t build_too_big(std::span<const uint8_t> packet, const IpPacket& ip, uint32_t mtu, uint8_t* to) {
  if (!may_report(packet, ip)) return 0;
  const bool ipv4 = ip.source.family == Family::ipv4;
  const size_t ip_bytes = ipv4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  const size_t limit = ipv4 ? kMaxIpv4ErrorBytes : kMaxIcmpBytes;
  const size_t quoted = std::min<size_t>(ip.total_length, limit - ip_bytes - kIcmpHeaderBytes);
  uint8_t* icmp = to + ip_bytes;
  std::memset(icmp, 0, kIcmpHeaderBytes);
  if (ipv4) {
    icmp[0] = kIcmpUnreachable;
    icmp[1] = kIcmpFragmentationNeeded;
    store_be16(icmp + 6, static_cast<uint16_t>(std::min<uint32_t>(mtu, 65535)));
  } else {
    icmp[0] = kIcmpv6TooBig;
    store_be32(icmp + 4, mtu);
  }
  std::memcpy(icmp + kIcmpHeaderBytes, packet.data(), quoted);
  return finish(ip.destination, ip.source, kIcmpHeaderBytes + quoted, to);
}

size_t build_echo_request(const IpAddress& source, const IpAddress& destination, uint16_t id, uint16_t sequence,
                          uint8_t* to) {
  const bool ipv4 = source.family == Family::ipv4;
  uint8_t* icmp = to + (ipv4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  std::memset(icmp, 0, kIcmpHeaderBytes + kEchoPayloadBytes);
  icmp[0] = ipv4 ? kIcmpEchoRequest : kIcmpv6EchoRequest;
  store_be16(icmp + 4, id);
  store_be16(icmp + 6, sequence);
  return finish(source, destination, kIcmpHeaderBytes + kEchoPayloadBytes, to);
}

bool read_echo_reply(std::span<const uint8_t> packet, const IpPacket& ip, EchoReply& reply) {
  if (ip.is_fragment || ip.transport_offset + kIcmpHeaderBytes > ip.total_length) return false;
  const uint8_t* icmp = packet.data() + ip.transport_offset;
  const bool is_reply = (ip.protocol == kProtocolIcmp && icmp[0] == kIcmpEchoReply) ||
                        (ip.protocol == kProtocolIcmpv6 && icmp[0] == kIcmpv6EchoReply);
  if (!is_reply) return false;
  reply = {load_be16(icmp + 4), load_be16(icmp + 6)};
  return true;
}

}  // namespace culvert::net
