#include "engine/fragments.h"

#include <vector>

#include "test/check.h"

namespace culvert::test {
namespace {

using engine::FragmentKey;
using engine::FragmentTable;
using Recalled = FragmentTable::Recalled;

constexpr uint64_t kSeed = 0x0123456789abcdef;
constexpr uint64_t kStart = 1'000'000;

IpPacket packet_from(uint32_t source, bool later, uint8_t protocol = kProtocolUdp) {
  IpPacket ip{};
  ip.source = {0, source, Family::ipv4};
  ip.destination = {0, 0x0a000001, Family::ipv4};
  ip.total_length = 20 + 1400;
  ip.transport_offset = 20;
  ip.protocol = protocol;
  ip.is_fragment = true;
  ip.is_later_fragment = later;
  if (!later) {
    ip.has_ports = true;
    ip.source_port = 1000;
    ip.destination_port = 53;
  }
  return ip;
}

constexpr Fragment first(uint32_t id) { return {id, 0, 1400, kProtocolUdp, true}; }
constexpr Fragment later(uint32_t id, uint32_t offset = 1400, bool more = true) {
  return {id, offset, 1400, kProtocolUdp, more};
}

struct Fixture {
  FragmentTable table{kSeed};

  Drop remember(uint32_t source, const Fragment& fragment, uint64_t now = kStart) {
    const IpPacket ip = packet_from(source, false);
    return table.remember(FragmentKey::of(ip, fragment, 7), ip, fragment, now);
  }
  // True when the ports became known.
  bool knows(uint32_t source, const Fragment& fragment, uint64_t now = kStart, uint16_t scope = 7) {
    IpPacket ip = packet_from(source, true);
    Recalled recalled;
    const Drop drop = table.recall(FragmentKey::of(ip, fragment, scope), fragment, now, ip, recalled);
    CHECK_EQ(drop, Drop::none);
    if (recalled == Recalled::unknown) return false;
    CHECK(ip.has_ports);
    CHECK_EQ(ip.source_port, 1000);
    CHECK_EQ(ip.destination_port, 53);
    return true;
  }
  Drop recall(uint32_t source, const Fragment& fragment) {
    IpPacket ip = packet_from(source, true);
    Recalled recalled;
    return table.recall(FragmentKey::of(ip, fragment, 7), fragment, kStart, ip, recalled);
  }
  bool hold(uint32_t source, uint32_t id, size_t bytes = 1420, uint64_t now = kStart) {
    const std::vector<uint8_t> packet(bytes, static_cast<uint8_t>(id));
    return table.hold(FragmentKey::of(packet_from(source, true), later(id), 7), id, packet, now);
  }
};

TEST("a first fragment's ports are those of the fragments behind it, and of no other packet (RFC 4301 §7.3)") {
  Fixture f;
  CHECK(!f.knows(1, later(1)));
  REQUIRE(f.remember(1, first(1)) == Drop::none);
  CHECK(f.knows(1, later(1)));
  CHECK(!f.knows(1, later(2)));             // another packet
  CHECK(!f.knows(2, later(1)));             // another source
  CHECK(!f.knows(1, later(1), kStart, 8));  // another connection
}

TEST("an entry goes when its packet is complete, and when it is old") {
  Fixture f;
  REQUIRE(f.remember(1, first(1)) == Drop::none);
  CHECK(f.knows(1, later(1, 2800, false)));
  CHECK(f.knows(1, later(1, 1400)));
  CHECK(!f.knows(1, later(1, 1400)));
  REQUIRE(f.remember(1, first(2)) == Drop::none);
  CHECK(f.knows(1, later(2), kStart + FragmentTable::kLifetimeMs - 1));
  CHECK(!f.knows(1, later(2), kStart + FragmentTable::kLifetimeMs));
}

TEST("a number that is used again stands for the newer packet") {
  Fixture f;
  REQUIRE(f.remember(1, first(1)) == Drop::none);
  Fragment shorter = first(1);
  shorter.length = 512;
  REQUIRE(f.remember(1, shorter, kStart + 20'000) == Drop::none);
  CHECK(f.knows(1, later(1, 512), kStart + 40'000));
}

TEST("a later fragment that reaches into the first one is dropped (RFC 1858, RFC 3128, RFC 5722)") {
  Fixture f;
  REQUIRE(f.remember(1, first(1)) == Drop::none);
  CHECK_EQ(f.recall(1, later(1, 8)), Drop::fragment_overlap);
  CHECK_EQ(f.recall(1, later(1, 1392)), Drop::fragment_overlap);
  CHECK_EQ(f.recall(1, later(1, 1400)), Drop::none);
  // TCP's flags are nobody's to overwrite, first fragment or not.
  CHECK_EQ(f.recall(9, {1, 8, 100, kProtocolTcp, false}), Drop::fragment_overlap);
  CHECK_EQ(f.recall(9, {1, 16, 100, kProtocolTcp, false}), Drop::none);
  const IpPacket ip = [] {
    IpPacket tiny = packet_from(1, false, kProtocolTcp);
    tiny.total_length = 28;
    return tiny;
  }();
  const Fragment fragment{5, 0, 8, kProtocolTcp, true};
  CHECK_EQ(f.table.remember(FragmentKey::of(ip, fragment, 7), ip, fragment, kStart), Drop::fragment_tiny);
}

TEST("fragments that come before their first one wait for it, in order, within bounds") {
  Fixture f;
  CHECK(!f.table.holds());
  CHECK(f.hold(1, 3, 100));
  CHECK(f.hold(1, 4, 101));
  CHECK(f.hold(1, 3, 102));
  CHECK(!f.hold(2, 5, FragmentTable::kHeldBytes + 1));
  CHECK(f.hold(2, 5, FragmentTable::kHeldBytes));
  std::vector<size_t> lengths;
  f.table.release(FragmentKey::of(packet_from(1, true), later(3), 7), [&](std::span<uint8_t> packet, uint32_t tag) {
    CHECK_EQ(tag, 3u);
    CHECK(packet.front() == 3 && packet.back() == 3);
    lengths.push_back(packet.size());
  });
  REQUIRE(lengths.size() == 2);
  CHECK_EQ(lengths[0], 100u);
  CHECK_EQ(lengths[1], 102u);
  std::vector<uint32_t> given_up;
  const auto note = [&](uint32_t tag) { given_up.push_back(tag); };
  f.table.expire(kStart + FragmentTable::kPatienceMs - 1, note);
  CHECK(given_up.empty());
  f.table.expire(kStart + FragmentTable::kPatienceMs, note);
  CHECK_EQ(given_up.size(), 2u);
  CHECK(!f.table.holds());
}

TEST("one source takes its share of the places to wait, and no more") {
  Fixture f;
  size_t held = 0;
  for (uint32_t id = 0; id < 100; id++) held += f.hold(1, id) ? 1 : 0;
  CHECK_EQ(held, FragmentTable::kHeldPerSource);
  CHECK(f.hold(2, 1));
  for (uint32_t source = 3; source < 200; source++) held += f.hold(source, 1) ? 1 : 0;
  CHECK_EQ(held, FragmentTable::kHeld - 1);  // full
}

TEST("a source that starts packets without end displaces its own, and leaves room for others") {
  Fixture f;
  REQUIRE(f.remember(2, first(77)) == Drop::none);
  for (uint32_t id = 0; id < 100'000; id++) REQUIRE(f.remember(1, first(id), kStart + id / 10'000) == Drop::none);
  CHECK(f.knows(2, later(77)));
  uint32_t known = 0;
  for (uint32_t id = 0; id < 100'000; id++) known += f.knows(1, later(id), kStart + 10) ? 1 : 0;
  CHECK_EQ(known, FragmentTable::kEntriesPerSource);
  // What it has is its newest: a flood of its own is the only thing that a sender has to fear.
  for (uint32_t id = 0; id < 64; id++) REQUIRE(f.remember(3, first(id)) == Drop::none);
  for (uint32_t id = 0; id < 64; id++) CHECK(f.knows(3, later(id)));
}

TEST("a first fragment that finds no place passes all the same, and its followers are unknown") {
  Fixture f;
  uint32_t known = 0;
  constexpr uint32_t kPackets = 4 * FragmentTable::kEntries;
  for (uint32_t id = 0; id < kPackets; id++) CHECK_EQ(f.remember(id, first(id)), Drop::none);
  for (uint32_t id = 0; id < kPackets; id++) known += f.knows(id, later(id)) ? 1 : 0;
  CHECK(known > FragmentTable::kEntries / 2 && known <= FragmentTable::kEntries);
}

}  // namespace
}  // namespace culvert::test
