// Clocks per packet to find the SA of a packet, for a connection with an SA for each pair of subnets: one policy rule
// and one SA per pair, as `protected-data-flows` with `perSubnetPair: true` makes them, and packets of random pairs.
// "one by one" looks at every rule and every SA in order, as the data plane did before it had an index.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <vector>

#include "clock.h"
#include "engine/path_indexes.h"
#include "engine/snapshot.h"

namespace {

using namespace culvert;

constexpr size_t kPackets = 4096;
constexpr size_t kRounds = 201;

IpAddress ipv4(uint32_t address) { return {0, address, Family::ipv4}; }

struct Connection {
  std::vector<std::unique_ptr<esp::OutboundSa>> sas;
  std::vector<route::PolicyRoute> policy;
  engine::PathIndexes indexes;
  route::RouteTable routes;
  engine::Snapshot snapshot;
};

// 10.1.x.0/24 with 10.2.y.0/24, `side` of either.
std::unique_ptr<Connection> connect(uint32_t side) {
  static const uint8_t kKey[20] = {1};
  auto made = std::make_unique<Connection>();
  for (uint32_t i = 0; i < side * side; i++) {
    const uint32_t near = 0x0a010000 + i / side * 256;
    const uint32_t far = 0x0a020000 + i % side * 256;
    const TrafficSelector local{ipv4(near), ipv4(near + 255)};
    const TrafficSelector remote{ipv4(far), ipv4(far + 255)};
    esp::OutboundSa::Params params;
    params.spi = 0x1000 + i;
    params.encr = 20;
    params.encr_key_bits = 128;
    params.encr_key = kKey;
    params.local_selectors = {&local, 1};
    params.remote_selectors = {&remote, 1};
    auto sa = esp::OutboundSa::create(params);
    if (!sa) return nullptr;
    made->sas.push_back(std::move(sa).value());
    engine::OutboundPath path{};
    path.sa = made->sas.back().get();
    made->snapshot.paths.push_back(path);
    made->policy.push_back({{ipv4(near), 24}, {ipv4(far), 24}, 0});
  }
  auto routes = route::RouteTable::create(made->policy, {});
  if (!routes.ok()) return nullptr;
  made->routes = std::move(routes).value();
  made->snapshot.routes = &made->routes;
  engine::Snapshot::Range range{.first = 0, .count = side * side};
  made->indexes.begin();
  range.index = made->indexes.of(0, made->snapshot.paths);
  made->indexes.end();
  made->snapshot.connections.push_back(range);
  return made;
}

bool accepts(const engine::OutboundPath& path, const IpPacket& ip) {
  return path.sa->selectors().matches(ip, Direction::outbound);
}

const engine::OutboundPath* look_up(const Connection& connection, const IpPacket& ip) {
  const uint32_t number = connection.routes.lookup(ip.source, ip.destination);
  return connection.snapshot.first_path(number, ip, [&ip](const auto& path) { return accepts(path, ip); });
}

const engine::OutboundPath* one_by_one(const Connection& connection, const IpPacket& ip) {
  for (const route::PolicyRoute& rule : connection.policy) {
    if (!rule.destination.contains(ip.destination) || !rule.source.contains(ip.source)) continue;
    for (const engine::OutboundPath& path : connection.snapshot.paths) {
      if (accepts(path, ip)) return &path;
    }
    break;
  }
  return nullptr;
}

template <typename Find>
double measure(const Connection& connection, const std::vector<IpPacket>& packets, Find find) {
  std::vector<double> rounds;
  for (size_t round = 0; round < kRounds; round++) {
    size_t missed = 0;
    const uint64_t start = bench::now();
    for (const IpPacket& ip : packets) missed += find(connection, ip) == nullptr ? 1 : 0;
    rounds.push_back(static_cast<double>(bench::now() - start) / kPackets);
    if (missed != 0) return -1;
  }
  return bench::summarise(std::move(rounds)).median;
}

}  // namespace

int main() {
  std::printf("%s per packet, median of %zu rounds over %zu packets of random pairs\n\n", bench::kUnit, kRounds,
              kPackets);
  std::printf("%6s %12s %12s\n", "SAs", "one by one", "index");
  for (const uint32_t side : {1u, 2u, 3u, 4u, 8u, 16u, 32u}) {
    const auto connection = connect(side);
    if (connection == nullptr) return 1;
    std::mt19937 random(1);
    std::vector<IpPacket> packets(kPackets);
    for (IpPacket& ip : packets) {
      ip = {};
      ip.source =
          ipv4(0x0a010000 + static_cast<uint32_t>(random() % side) * 256 + static_cast<uint32_t>(random() & 255));
      ip.destination =
          ipv4(0x0a020000 + static_cast<uint32_t>(random() % side) * 256 + static_cast<uint32_t>(random() & 255));
      ip.protocol = kProtocolUdp;
      ip.has_ports = true;
    }
    std::printf("%6u %12.1f %12.1f\n", side * side, measure(*connection, packets, one_by_one),
                measure(*connection, packets, look_up));
  }
  return 0;
}
