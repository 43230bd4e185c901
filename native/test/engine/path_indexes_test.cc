// The index of a connection with many SAs follows their list, and is made anew only when that changed.
#include "engine/path_indexes.h"

#include "test/check.h"

namespace culvert::test {
namespace {

using engine::OutboundPath;
using engine::PathIndexes;
using engine::Snapshot;

constexpr uint32_t kNear = 0x0a010000;
constexpr uint32_t kFar = 0x0a020000;

IpAddress ipv4(uint32_t address) { return {0, address, Family::ipv4}; }

std::unique_ptr<esp::OutboundSa> sa_for(uint32_t far_subnet, uint16_t port = 0) {
  static const uint8_t kKey[20] = {1};
  const TrafficSelector local{ipv4(kNear), ipv4(kNear + 255)};
  TrafficSelector remote{ipv4(kFar + far_subnet * 256), ipv4(kFar + far_subnet * 256 + 255)};
  if (port != 0) {
    remote.protocol = kProtocolUdp;
    remote.start_port = remote.end_port = port;
  }
  esp::OutboundSa::Params params;
  params.spi = 0x1000 + far_subnet;
  params.encr = 20;
  params.encr_key_bits = 128;
  params.encr_key = kKey;
  params.local_selectors = {&local, 1};
  params.remote_selectors = {&remote, 1};
  auto sa = esp::OutboundSa::create(params);
  return sa.ok() ? std::move(sa).value() : nullptr;
}

struct Connection {
  std::vector<std::unique_ptr<esp::OutboundSa>> sas;
  PathIndexes indexes;
  Snapshot snapshot;

  void add(std::unique_ptr<esp::OutboundSa> sa) { sas.push_back(std::move(sa)); }

  const route::PairIndex* publish() {
    snapshot.paths.clear();
    for (const auto& sa : sas) {
      OutboundPath path{};
      path.sa = sa.get();
      snapshot.paths.push_back(path);
    }
    Snapshot::Range range{.first = 0, .count = static_cast<uint32_t>(sas.size())};
    indexes.begin();
    range.index = indexes.of(3, snapshot.paths);
    indexes.end();
    snapshot.connections.assign(4, {});
    snapshot.connections[3] = range;
    return range.index;
  }

  // The SPI of the SA that takes a packet; 0 when none does.
  uint32_t find(uint32_t destination, uint16_t port) const {
    IpPacket ip{};
    ip.source = ipv4(kNear + 7);
    ip.destination = ipv4(destination);
    ip.protocol = kProtocolUdp;
    ip.destination_port = port;
    ip.has_ports = true;
    const auto matches = [&ip](const OutboundPath& path) {
      return path.sa->selectors().matches(ip, Direction::outbound);
    };
    const OutboundPath* const path = snapshot.first_path(3, ip, matches);
    return path == nullptr ? 0 : path->sa->spi();
  }
};

TEST("a packet finds the first SA that takes it, with an index and without") {
  for (const uint32_t count : {3u, 40u}) {
    Connection connection;
    connection.add(sa_for(1, 5000));
    for (uint32_t i = 0; i < count; i++) connection.add(sa_for(i));
    const route::PairIndex* const index = connection.publish();
    CHECK_EQ(index != nullptr, count == 40);
    for (uint32_t i = 0; i < count; i++) CHECK_EQ(connection.find(kFar + i * 256 + 9, 80), 0x1000 + i);
    CHECK_EQ(connection.find(kFar + 256, 5000), connection.sas[0]->spi());
    CHECK_EQ(connection.find(kFar + count * 256, 80), 0u);
    CHECK_EQ(connection.find(kNear, 80), 0u);
  }
}

TEST("an index stays while the list does, and goes with what may still be read in older snapshots") {
  Connection connection;
  for (uint32_t i = 0; i < 20; i++) connection.add(sa_for(i));
  const route::PairIndex* const first = connection.publish();
  CHECK_EQ(connection.publish(), first);
  CHECK(connection.indexes.take_dropped().empty());

  connection.sas.erase(connection.sas.begin() + 4);
  CHECK(connection.publish() != first);
  PathIndexes::Dropped dropped = connection.indexes.take_dropped();
  REQUIRE(dropped.size() == 1);
  CHECK_EQ(dropped[0].get(), first);
  CHECK_EQ(connection.find(kFar + 4 * 256, 80), 0u);
  CHECK_EQ(connection.find(kFar + 19 * 256, 80), 0x1000u + 19);

  // A connection that is gone: one of the same number does not get its index.
  connection.indexes.begin();
  connection.indexes.end();
  CHECK_EQ(connection.indexes.take_dropped().size(), size_t{1});

  CHECK(connection.publish() != nullptr);
  connection.sas.resize(2);
  CHECK(connection.publish() == nullptr);
  CHECK_EQ(connection.indexes.take_dropped().size(), size_t{1});
}

}  // namespace
}  // namespace culvert::test
