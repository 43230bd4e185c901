// Fuzzes what is built about packets and read out of them: ICMP errors to inner sources, echo requests and replies,
// ECN, the MSS clamp. Whatever the packet is, errors are whole, addressed to its source, within their family's limit,
// with right checksums, never about another error; what changes a packet keeps its checksum right.
//
// Input: uint16 number (MTU, MSS), uint8 (outer traffic class), then the packet.
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "fuzz/suites.h"
#include "net/ecn.h"
#include "net/icmp.h"
#include "net/tcp.h"

namespace {

using namespace culvert;
using fuzz::require;

constexpr size_t kMostIpv4Bytes = 576;  // RFC 1812 §4.3.2.3
constexpr size_t kIcmpHeaderBytes = 8;

bool header_sums_up(const uint8_t* packet) {
  return checksum_fold(checksum_partial(packet, static_cast<size_t>(packet[0] & 0x0f) * 4)) == 0xffff;
}

// The sum over the transport header and data; 0xffff is right.
uint16_t transport_sum(const uint8_t* packet, const IpPacket& ip, bool with_pseudo_header) {
  const uint32_t bytes = ip.total_length - ip.transport_offset;
  const uint64_t pseudo =
      with_pseudo_header ? pseudo_header_checksum(ip.source, ip.destination, ip.protocol, bytes) : 0;
  return checksum_fold(checksum_partial(packet + ip.transport_offset, bytes, pseudo));
}

void check_message(const uint8_t* message, size_t length, bool ipv4) {
  IpPacket ip;
  require(parse_ip({message, length}, ip) == Drop::none && ip.total_length == length, "the message is one packet");
  require(ip.protocol == (ipv4 ? kProtocolIcmp : kProtocolIcmpv6) && !ip.is_fragment, "the message is ICMP");
  require(!ipv4 || header_sums_up(message), "the message's header checksum");
  require(transport_sum(message, ip, !ipv4) == 0xffff, "the message's checksum");
}

void check_error(std::span<const uint8_t> packet, const IpPacket& ip, uint32_t mtu) {
  const std::unique_ptr<uint8_t[]> error(new uint8_t[net::kMaxIcmpBytes]);
  const size_t length = net::build_too_big(packet, ip, mtu, error.get());
  if (length == 0) return;
  const bool ipv4 = ip.source.family == Family::ipv4;
  require(length <= (ipv4 ? kMostIpv4Bytes : net::kMaxIcmpBytes), "longer than an error may be");
  check_message(error.get(), length, ipv4);
  IpPacket about;
  require(parse_ip({error.get(), length}, about) == Drop::none, "the error is a packet");
  require(about.destination == ip.source && about.source == ip.destination, "whom the error is for");
  const uint8_t* quoted = error.get() + about.transport_offset + kIcmpHeaderBytes;
  const size_t quoted_bytes = length - about.transport_offset - kIcmpHeaderBytes;
  require(quoted_bytes <= ip.total_length && std::memcmp(quoted, packet.data(), quoted_bytes) == 0, "the quotation");
  require(net::build_too_big({error.get(), length}, about, mtu, error.get()) == 0, "an error about an error");
}

void check_echo(const IpPacket& ip, uint16_t id, uint16_t sequence) {
  const std::unique_ptr<uint8_t[]> request(new uint8_t[net::kMaxIcmpBytes]);
  const size_t length = net::build_echo_request(ip.source, ip.destination, id, sequence, request.get());
  const bool ipv4 = ip.source.family == Family::ipv4;
  check_message(request.get(), length, ipv4);
  IpPacket echo;
  require(parse_ip({request.get(), length}, echo) == Drop::none, "the request is a packet");
  net::EchoReply reply;
  require(!net::read_echo_reply({request.get(), length}, echo, reply), "a request is no reply");
  request[echo.transport_offset] = ipv4 ? 0 : 129;
  require(net::read_echo_reply({request.get(), length}, echo, reply), "a reply is read");
  require(reply.id == id && reply.sequence == sequence, "what the reply says");
}

void check_clamp(uint8_t* packet, const IpPacket& ip, uint16_t maximum) {
  if (ip.protocol != kProtocolTcp || ip.is_fragment) return;
  const size_t length = ip.total_length - ip.transport_offset;
  const uint16_t before = transport_sum(packet, ip, true);
  const bool changed = net::clamp_mss(packet + ip.transport_offset, length, maximum);
  const uint16_t after = transport_sum(packet, ip, true);
  // A sum of zero has two spellings.
  require(before % 0xffff == after % 0xffff, "the clamp changed whether the checksum fits");
  require(!changed || !net::clamp_mss(packet + ip.transport_offset, length, maximum), "clamped twice");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const uint16_t number = load_be16(data);
  const uint8_t outer_class = data[2];
  const size_t bytes = size - 3;
  const std::unique_ptr<uint8_t[]> packet(new uint8_t[bytes]);
  if (bytes != 0) std::memcpy(packet.get(), data + 3, bytes);
  IpPacket ip;
  if (parse_ip({packet.get(), bytes}, ip) != Drop::none) return 0;
  check_error({packet.get(), bytes}, ip, number);
  check_echo(ip, number, outer_class);
  net::EchoReply reply;
  if (net::read_echo_reply({packet.get(), bytes}, ip, reply))
    require(ip.protocol == kProtocolIcmp || ip.protocol == kProtocolIcmpv6, "a reply in another protocol");
  check_clamp(packet.get(), ip, number);

  const bool ipv4 = ip.source.family == Family::ipv4;
  const bool summed_up = ipv4 && header_sums_up(packet.get());
  const Drop drop = net::decapsulate_ecn(outer_class, packet.get());
  require(drop == Drop::none || drop == Drop::ecn_not_supported, "ECN's verdict");
  IpPacket after;
  require(parse_ip({packet.get(), bytes}, after) == Drop::none, "ECN broke the packet");
  require(after.traffic_class >> 2 == ip.traffic_class >> 2, "ECN changed the DSCP");
  require(!summed_up || header_sums_up(packet.get()), "ECN broke the header checksum");
  return 0;
}
