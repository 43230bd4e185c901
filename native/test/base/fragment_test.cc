#include "base/fragment.h"

#include <vector>

#include "test/check.h"

namespace culvert::test {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes ipv4(uint8_t protocol, uint16_t fragment_field, size_t payload) {
  Bytes packet(20 + payload);
  packet[0] = 0x45;
  store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
  store_be16(&packet[4], 0x1234);
  store_be16(&packet[6], fragment_field);
  packet[9] = protocol;
  return packet;
}

// Extension headers in front of the Fragment header, then what follows it.
Bytes ipv6(uint8_t next_header, uint16_t fragment_field, size_t payload, bool options_before = false) {
  Bytes packet(40);
  packet[0] = 0x60;
  packet[6] = options_before ? kProtocolDestinationOptions : kProtocolFragment;
  if (options_before) packet.insert(packet.end(), {kProtocolFragment, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  packet.insert(packet.end(), {next_header, 0, static_cast<uint8_t>(fragment_field >> 8),
                               static_cast<uint8_t>(fragment_field), 0xde, 0xad, 0xbe, 0xef});
  packet.resize(packet.size() + payload);
  store_be16(&packet[4], static_cast<uint16_t>(packet.size() - 40));
  return packet;
}

Drop read(const Bytes& packet, Fragment& fragment, IpPacket& ip) {
  if (const Drop drop = parse_ip(packet, ip); drop != Drop::none) return drop;
  return ip.is_fragment ? read_fragment(packet, ip, fragment) : Drop::not_ip;
}
Drop read(const Bytes& packet) {
  Fragment fragment;
  IpPacket ip;
  return read(packet, fragment, ip);
}

TEST("a fragment says where it belongs (RFC 791, RFC 8200 §4.5)") {
  Fragment fragment;
  IpPacket ip;
  REQUIRE(read(ipv4(kProtocolUdp, 0x2000 | 3, 16), fragment, ip) == Drop::none);
  CHECK_EQ(fragment.id, 0x1234u);
  CHECK_EQ(fragment.offset, 24u);
  CHECK_EQ(fragment.length, 16u);
  CHECK_EQ(fragment.protocol, kProtocolUdp);
  CHECK(fragment.more);
  for (const bool options : {false, true}) {
    REQUIRE(read(ipv6(kProtocolTcp, 24, 5, options), fragment, ip) == Drop::none);
    CHECK_EQ(fragment.id, 0xdeadbeefu);
    CHECK_EQ(fragment.offset, 24u);
    CHECK_EQ(fragment.length, 5u);
    CHECK_EQ(fragment.protocol, kProtocolTcp);
    CHECK(!fragment.more);
  }
}

TEST("an IPv6 atomic fragment is a whole packet (RFC 6946)") {
  IpPacket ip;
  REQUIRE(parse_ip(ipv6(kProtocolUdp, 0, 8), ip) == Drop::none);
  CHECK(!ip.is_fragment && !ip.is_later_fragment && ip.has_ports);
}

TEST("fragments that no sender makes are refused") {
  CHECK_EQ(read(ipv4(kProtocolUdp, 0x2000, 0)), Drop::malformed);       // nothing in it
  CHECK_EQ(read(ipv4(kProtocolUdp, 0x2000 | 1, 12)), Drop::malformed);  // not the last, and no multiple of eight
  CHECK_EQ(read(ipv4(kProtocolUdp, 1, 12)), Drop::none);                // the last may be of any length
  CHECK_EQ(read(ipv4(kProtocolUdp, 0x1fff, 8)), Drop::malformed);       // ends behind 65535
  CHECK_EQ(read(ipv4(kProtocolUdp, 0x1fff - 3, 8)), Drop::none);        // 65512 + 8 + 20: 65540 would not be
  CHECK_EQ(read(ipv4(kProtocolUdp, 0x1fff - 2, 8)), Drop::malformed);
  CHECK_EQ(read(ipv6(kProtocolUdp, 0xfff8, 8)), Drop::malformed);
  CHECK_EQ(read(ipv6(kProtocolUdp, 0x0001, 9)), Drop::malformed);
}

TEST("a second IPv6 Fragment header is refused, wherever it stands") {
  // A first fragment, or an atomic one, of a packet that is a later fragment itself.
  for (const bool first : {false, true}) {
    Bytes packet = ipv6(kProtocolFragment, first ? 1 : 0, 16);
    packet[48] = kProtocolUdp;
    store_be16(&packet[50], 24);
    CHECK_EQ(read(packet), Drop::malformed);
  }
  Bytes hidden = ipv6(kProtocolDestinationOptions, 1, 24);
  hidden[48] = kProtocolFragment;
  hidden[56] = kProtocolUdp;
  store_be16(&hidden[58], 24);
  CHECK_EQ(read(hidden), Drop::malformed);
}

TEST("a first fragment shows its ports, and TCP its flags (RFC 1858, RFC 3128)") {
  const auto tiny = [](const Bytes& packet) {
    IpPacket ip;
    return parse_ip(packet, ip) == Drop::none && is_tiny_first(ip);
  };
  CHECK(tiny(ipv4(kProtocolTcp, 0x2000, 8)));
  CHECK(!tiny(ipv4(kProtocolTcp, 0x2000, 16)));
  CHECK(!tiny(ipv4(kProtocolUdp, 0x2000, 8)));
  CHECK(!tiny(ipv4(kProtocolIcmp, 0x2000, 8)));
  CHECK(!tiny(ipv4(47, 0x2000, 8)));  // no ports to show
  CHECK(tiny(ipv6(kProtocolTcp, 1, 8)));
  CHECK(tiny(ipv6(kProtocolUdp, 1, 0)));
}

TEST("a later IPv6 fragment may hide its protocol behind extension headers") {
  IpPacket ip;
  REQUIRE(parse_ip(ipv6(kProtocolDestinationOptions, 24, 8), ip) == Drop::none);
  CHECK(hides_protocol(ip));
  REQUIRE(parse_ip(ipv6(kProtocolUdp, 24, 8), ip) == Drop::none);
  CHECK(!hides_protocol(ip));
  REQUIRE(parse_ip(ipv4(kProtocolDestinationOptions, 3, 8), ip) == Drop::none);
  CHECK(!hides_protocol(ip));
}

}  // namespace
}  // namespace culvert::test
