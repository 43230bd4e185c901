#include "base/ip.h"

#include <cstring>
#include <memory>
#include <vector>

#include "test/check.h"

namespace culvert {
namespace {

using test::Note;
using test::Random;

/** Bytes in an allocation of exactly their size, so that a sanitizer sees the first byte read beyond them. */
class Exact {
 public:
  explicit Exact(std::span<const uint8_t> bytes) : size_(bytes.size()), bytes_(new uint8_t[bytes.size()]) {
    if (!bytes.empty()) std::memcpy(bytes_.get(), bytes.data(), bytes.size());
  }
  std::span<const uint8_t> span() const { return {bytes_.get(), size_}; }

 private:
  size_t size_;
  std::unique_ptr<uint8_t[]> bytes_;
};

std::vector<uint8_t> ipv4(uint8_t protocol, std::vector<uint8_t> payload, uint16_t fragment = 0,
                          std::vector<uint8_t> options = {}) {
  std::vector<uint8_t> packet(20);
  packet[0] = static_cast<uint8_t>(0x45 + options.size() / 4);
  packet[1] = 0xb9;
  packet[8] = 61;
  packet[9] = protocol;
  store_be16(&packet[6], fragment);
  store_be32(&packet[12], 0x0a010203);
  store_be32(&packet[16], 0xc0000205);
  packet.insert(packet.end(), options.begin(), options.end());
  packet.insert(packet.end(), payload.begin(), payload.end());
  store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
  return packet;
}

std::vector<uint8_t> ipv6(uint8_t next_header, std::vector<uint8_t> payload) {
  std::vector<uint8_t> packet(40);
  packet[0] = 0x6b;
  packet[1] = 0x90;
  store_be16(&packet[4], static_cast<uint16_t>(payload.size()));
  packet[6] = next_header;
  packet[7] = 61;
  store_be64(&packet[8], 0x20010db800000000);
  store_be64(&packet[16], 1);
  store_be64(&packet[24], 0x20010db800000000);
  store_be64(&packet[32], 2);
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

const std::vector<uint8_t> kPorts = {0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 0};  // 12345 to 443

std::vector<uint8_t> operator+(std::vector<uint8_t> a, const std::vector<uint8_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Drop parse(const std::vector<uint8_t>& bytes, IpPacket& packet) { return parse_ip(Exact(bytes).span(), packet); }

TEST("an IPv4 header is read with options, ports and flags") {
  IpPacket packet;
  REQUIRE(parse(ipv4(kProtocolTcp, kPorts, 0x4000, {1, 1, 1, 1}), packet) == Drop::none);
  CHECK(packet.source == IpAddress({0, 0x0a010203, Family::ipv4}));
  CHECK(packet.destination == IpAddress({0, 0xc0000205, Family::ipv4}));
  CHECK_EQ(packet.total_length, 32u);
  CHECK_EQ(packet.transport_offset, 24);
  CHECK_EQ(packet.protocol, kProtocolTcp);
  CHECK_EQ(packet.traffic_class, 0xb9);
  CHECK_EQ(packet.hops, 61);
  CHECK_EQ(packet.source_port, 12345);
  CHECK_EQ(packet.destination_port, 443);
  CHECK(packet.has_ports && packet.dont_fragment && !packet.is_fragment);
}

TEST("an IPv6 header is read through its extension headers") {
  const std::vector<uint8_t> hop_by_hop = {kProtocolRouting, 0, 1, 4, 0, 0, 0, 0};
  const std::vector<uint8_t> routing = {kProtocolDestinationOptions, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const std::vector<uint8_t> options = {kProtocolUdp, 0, 1, 4, 0, 0, 0, 0};
  IpPacket packet;
  REQUIRE(parse(ipv6(kProtocolHopByHop, hop_by_hop + routing + options + kPorts), packet) == Drop::none);
  CHECK(packet.source == IpAddress({0x20010db800000000, 1, Family::ipv6}));
  CHECK(packet.destination == IpAddress({0x20010db800000000, 2, Family::ipv6}));
  CHECK_EQ(packet.traffic_class, 0xb9);
  CHECK_EQ(packet.protocol, kProtocolUdp);
  CHECK_EQ(packet.transport_offset, 40 + 8 + 16 + 8);
  CHECK_EQ(packet.destination_port, 443);
  CHECK(packet.has_ports && packet.dont_fragment);
}

TEST("later fragments have no ports, first fragments do (both versions)") {
  IpPacket packet;
  REQUIRE(parse(ipv4(kProtocolUdp, kPorts, 0x2000), packet) == Drop::none);
  CHECK(packet.is_fragment && !packet.is_later_fragment && packet.has_ports);
  REQUIRE(parse(ipv4(kProtocolUdp, kPorts, 0x0001), packet) == Drop::none);
  CHECK(packet.is_fragment && packet.is_later_fragment && !packet.has_ports);
  const std::vector<uint8_t> first = {kProtocolUdp, 0, 0, 1, 0, 0, 0, 7};
  REQUIRE(parse(ipv6(kProtocolFragment, first + kPorts), packet) == Drop::none);
  CHECK(packet.is_fragment && !packet.is_later_fragment && packet.has_ports);
  const std::vector<uint8_t> later = {kProtocolUdp, 0, 0, 8, 0, 0, 0, 7};
  REQUIRE(parse(ipv6(kProtocolFragment, later + kPorts), packet) == Drop::none);
  CHECK(packet.is_fragment && packet.is_later_fragment && !packet.has_ports);
  CHECK_EQ(packet.protocol, kProtocolUdp);
}

TEST("ICMP and mobility types stand where ports are (RFC 4301 §4.4.1.1)") {
  IpPacket packet;
  REQUIRE(parse(ipv4(kProtocolIcmp, {3, 4, 0, 0}), packet) == Drop::none);
  CHECK(packet.has_ports);
  CHECK_EQ(packet.source_port, 0x0304);
  CHECK_EQ(packet.destination_port, 0x0304);
  REQUIRE(parse(ipv6(kProtocolMobility, {59, 0, 5, 0, 0, 0, 0, 0}), packet) == Drop::none);
  CHECK_EQ(packet.destination_port, 0x0500);
  REQUIRE(parse(ipv4(47, {0, 0, 8, 0}), packet) == Drop::none);
  CHECK(!packet.has_ports);
}

TEST("a transport header that is cut short has no ports") {
  for (size_t length = 0; length < 4; length++) {
    IpPacket packet;
    REQUIRE(parse(ipv4(kProtocolUdp, std::vector<uint8_t>(length)), packet) == Drop::none);
    CHECK(!packet.has_ports);
  }
}

TEST("a packet cut short anywhere is refused, whatever was cut") {
  const std::vector<uint8_t> routing = {kProtocolUdp, 0, 4, 0, 0, 0, 0, 0};
  for (const auto& whole : {ipv4(kProtocolTcp, kPorts), ipv6(kProtocolRouting, routing + kPorts)}) {
    for (size_t length = 0; length < whole.size(); length++) {
      const Note note("length " + std::to_string(length));
      IpPacket packet;
      CHECK_EQ(parse({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)}, packet), Drop::truncated);
      CHECK_EQ(ip_total_length(whole.data(), length, whole[0] >> 4), size_t{0});
    }
  }
}

TEST("lengths that contradict each other are malformed") {
  IpPacket packet;
  auto short_header = ipv4(kProtocolTcp, kPorts);
  short_header[0] = 0x44;
  CHECK_EQ(parse(short_header, packet), Drop::malformed);
  auto total_below_header = ipv4(kProtocolTcp, kPorts);
  store_be16(&total_below_header[2], 19);
  CHECK_EQ(parse(total_below_header, packet), Drop::malformed);
  CHECK_EQ(ip_total_length(total_below_header.data(), total_below_header.size(), 4), size_t{0});
  const std::vector<uint8_t> too_long_extension = {kProtocolUdp, 9, 0, 0, 0, 0, 0, 0};
  CHECK_EQ(parse(ipv6(kProtocolHopByHop, too_long_extension), packet), Drop::malformed);
  CHECK_EQ(parse(ipv6(kProtocolHopByHop, {kProtocolUdp, 0}), packet), Drop::malformed);
  for (const int version : {0, 1, 5, 7, 15}) {
    const auto first_byte = static_cast<uint8_t>(version << 4 | 5);
    CHECK_EQ(parse({first_byte, 0, 0, 0}, packet), Drop::not_ip);
  }
}

TEST("a chain of extension headers ends somewhere") {
  std::vector<uint8_t> chain;
  for (int i = 0; i < 8; i++) chain = chain + std::vector<uint8_t>{kProtocolDestinationOptions, 0, 1, 4, 0, 0, 0, 0};
  chain[chain.size() - 8] = kProtocolUdp;
  IpPacket packet;
  CHECK_EQ(parse(ipv6(kProtocolDestinationOptions, chain + kPorts), packet), Drop::none);
  CHECK_EQ(packet.protocol, kProtocolUdp);
  chain[chain.size() - 8] = kProtocolDestinationOptions;
  chain = chain + std::vector<uint8_t>{kProtocolUdp, 0, 1, 4, 0, 0, 0, 0};
  CHECK_EQ(parse(ipv6(kProtocolDestinationOptions, chain + kPorts), packet), Drop::malformed);
}

TEST("trailing bytes are not part of the packet") {
  auto packet_and_more = ipv4(kProtocolTcp, kPorts);
  const size_t total = packet_and_more.size();
  packet_and_more.resize(total + 100);
  IpPacket packet;
  REQUIRE(parse(packet_and_more, packet) == Drop::none);
  CHECK_EQ(packet.total_length, total);
  CHECK_EQ(ip_total_length(packet_and_more.data(), packet_and_more.size(), 4), total);
}

TEST("random bytes never make the parser read or claim too much") {
  Random random(1);
  for (int i = 0; i < 200000; i++) {
    auto bytes = random.bytes(random.below(96));
    if (!bytes.empty()) bytes[0] = static_cast<uint8_t>((random.below(2) == 0 ? 0x40u : 0x60u) | (bytes[0] & 0x0fu));
    if (bytes.size() > 5) store_be16(&bytes[random.below(2) == 0 ? 2 : 4], static_cast<uint16_t>(random.below(96)));
    if (bytes.size() > 6) bytes[6] = static_cast<uint8_t>(random.below(2) == 0 ? random.below(61) : bytes[6]);
    const Exact exact(bytes);
    IpPacket packet;
    if (parse_ip(exact.span(), packet) != Drop::none) continue;
    CHECK(packet.total_length <= bytes.size());
    CHECK(packet.transport_offset <= packet.total_length);
    CHECK_EQ(ip_total_length(exact.span().data(), bytes.size(), bytes[0] >> 4), size_t{packet.total_length});
  }
}

TEST("addresses order by family, then by number, and survive load and store") {
  const IpAddress four{0, 0xffffffff, Family::ipv4};
  const IpAddress six{0, 0, Family::ipv6};
  CHECK(four < six);
  CHECK(IpAddress({0, 5, Family::ipv6}) < IpAddress({1, 0, Family::ipv6}));
  CHECK(four != IpAddress({0, 0xffffffff, Family::ipv6}));
  Random random(2);
  for (int i = 0; i < 100; i++) {
    const auto bytes = random.bytes(16);
    uint8_t stored[16] = {};
    IpAddress::load_ipv6(bytes.data()).store(stored);
    CHECK(std::memcmp(stored, bytes.data(), 16) == 0);
    IpAddress::load_ipv4(bytes.data()).store(stored);
    CHECK(std::memcmp(stored, bytes.data(), 4) == 0);
  }
}

}  // namespace
}  // namespace culvert
