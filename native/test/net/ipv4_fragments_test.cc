// An IPv4 packet cut before it enters a tunnel is put together again by any receiver (RFC 791 §3.2).
#include "net/ipv4_fragments.h"

#include <algorithm>

#include "base/ip.h"
#include "test/check.h"
#include "test/net/packets.h"

namespace culvert::test {
namespace {

using net::Ipv4Fragments;

constexpr uint16_t kMoreFragments = 0x2000;

struct PacketSpec {
  size_t payload_bytes = 1400;
  Bytes options = {};
  uint16_t place = 0;  // fragment offset in units of 8 bytes
  bool more = false;
};

Bytes make(const PacketSpec& spec, Random& random) {
  Bytes packet(20, 0);
  packet[0] = static_cast<uint8_t>(0x40 | (20 + spec.options.size()) / 4);
  packet[1] = 0x2a;
  store_be16(&packet[2], static_cast<uint16_t>(20 + spec.options.size() + spec.payload_bytes));
  store_be16(&packet[4], 0x1234);
  store_be16(&packet[6], static_cast<uint16_t>((spec.more ? kMoreFragments : 0) | spec.place));
  packet[8] = 63;
  packet[9] = kProtocolUdp;
  random.fill(std::span(packet).subspan(12, 8));
  packet.insert(packet.end(), spec.options.begin(), spec.options.end());
  const Bytes payload = random.bytes(spec.payload_bytes);
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

std::vector<Bytes> cut(Bytes packet, uint32_t mtu) {
  std::vector<Bytes> fragments;
  Ipv4Fragments source(packet, mtu);
  for (auto next = source.next(); !next.empty(); next = source.next()) fragments.emplace_back(next.begin(), next.end());
  return fragments;
}

size_t header_of(const Bytes& packet) { return static_cast<size_t>(packet[0] & 15) * 4; }

// Checks every fragment's header; the payload that a receiver gets from all of them.
Bytes reassemble(const std::vector<Bytes>& fragments, const Bytes& packet, const PacketSpec& spec, uint32_t mtu) {
  Bytes payload;
  for (size_t i = 0; i < fragments.size(); i++) {
    const Bytes& fragment = fragments[i];
    const size_t header = header_of(fragment);
    const bool last = i + 1 == fragments.size();
    CHECK(fragment.size() <= mtu);
    CHECK_EQ(load_be16(&fragment[2]), fragment.size());
    CHECK_EQ(naive_sum(std::span(fragment).first(header)), 0xffff);
    CHECK_EQ(load_be16(&fragment[4]), 0x1234);
    CHECK_EQ(load_be16(&fragment[6]), (!last || spec.more ? kMoreFragments : 0) + spec.place + payload.size() / 8);
    CHECK(std::equal(fragment.begin() + 8, fragment.begin() + 10, packet.begin() + 8));
    CHECK(std::equal(fragment.begin() + 12, fragment.begin() + 20, packet.begin() + 12));
    CHECK_EQ(fragment[1], packet[1]);
    CHECK(last || (fragment.size() - header) % 8 == 0);
    payload.insert(payload.end(), fragment.begin() + static_cast<ptrdiff_t>(header), fragment.end());
  }
  return payload;
}

TEST("fragments of any packet are put together to what it was") {
  Random random;
  for (int round = 0; round < 2000; round++) {
    PacketSpec spec{.payload_bytes = random.below(4000), .place = static_cast<uint16_t>(random.below(4000))};
    spec.more = spec.place != 0 && random.below(2) == 0;
    if (spec.more) spec.payload_bytes &= ~size_t{7};
    spec.payload_bytes += 8;
    const uint32_t mtu = static_cast<uint32_t>(68 + random.below(1500));
    const Bytes packet = make(spec, random);
    const std::vector<Bytes> fragments = cut(packet, mtu);
    const Bytes payload = reassemble(fragments, packet, spec, mtu);
    REQUIRE(std::equal(payload.begin(), payload.end(), packet.begin() + 20, packet.end()));
    // No more of them than needed.
    const size_t room = (mtu - 20) / 8 * 8;
    CHECK(fragments.size() <= (spec.payload_bytes + room - 1) / room);
  }
}

TEST("a packet that fits is one fragment, and bytes behind it are none of it") {
  Random random;
  const PacketSpec spec{.payload_bytes = 480};
  Bytes packet = make(spec, random);
  const Bytes longer = [&] {
    Bytes copy = packet;
    copy.resize(copy.size() + 33, 0xee);
    return copy;
  }();
  const std::vector<Bytes> fragments = cut(longer, 500);
  CHECK_EQ(fragments.size(), size_t{1});
  CHECK(reassemble(fragments, packet, spec, 500) == Bytes(packet.begin() + 20, packet.end()));
}

TEST("later fragments carry those options only that are copied (RFC 791 §3.1)") {
  Random random;
  const Bytes record_route = {7, 7, 4, 0, 0, 0, 0};
  const Bytes router_alert = {0x94, 4, 0, 0};
  PacketSpec spec{.payload_bytes = 1000};
  spec.options = record_route;
  spec.options.push_back(1);
  spec.options.insert(spec.options.end(), router_alert.begin(), router_alert.end());
  const Bytes packet = make(spec, random);
  const std::vector<Bytes> fragments = cut(packet, 400);
  REQUIRE(fragments.size() == 3);
  CHECK_EQ(header_of(fragments[0]), size_t{32});
  CHECK(std::equal(fragments[0].begin() + 20, fragments[0].begin() + 32, packet.begin() + 20));
  for (size_t i = 1; i < 3; i++) {
    CHECK_EQ(header_of(fragments[i]), size_t{24});
    CHECK(Bytes(fragments[i].begin() + 20, fragments[i].begin() + 24) == router_alert);
  }
  const Bytes payload = reassemble(fragments, packet, spec, 400);
  CHECK(std::equal(payload.begin(), payload.end(), packet.begin() + 32, packet.end()));
}

TEST("options of impossible lengths end the header of later fragments") {
  Random random;
  for (const Bytes& options :
       {Bytes{0x94, 0, 0x94, 4}, Bytes{0x94, 1, 0, 0}, Bytes{0x94, 9, 0, 0}, Bytes{1, 1, 1, 0x94}}) {
    const PacketSpec spec{.payload_bytes = 600, .options = options};
    const Bytes packet = make(spec, random);
    const std::vector<Bytes> fragments = cut(packet, 300);
    REQUIRE(fragments.size() == 3);
    CHECK_EQ(header_of(fragments[1]), size_t{20});
    const Bytes payload = reassemble(fragments, packet, spec, 300);
    CHECK(std::equal(payload.begin(), payload.end(), packet.begin() + 24, packet.end()));
  }
}

}  // namespace
}  // namespace culvert::test
