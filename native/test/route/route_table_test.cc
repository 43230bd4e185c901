// Longest prefix and policy order, against a model that looks at every route.
#include "route/route_table.h"

#include "test/check.h"

namespace culvert::test {
namespace {

using route::DestinationRoute;
using route::PolicyRoute;
using route::Prefix;
using route::RouteTable;

Prefix prefix(Family family, uint64_t high, uint64_t low, unsigned length) {
  IpAddress address{high, low, family};
  if (family == Family::ipv4) {
    address.high = 0;
    address.low &= length == 0 ? 0 : (~uint64_t{0} << (32 - length)) & 0xffffffff;
  } else {
    if (length <= 64) {
      address.high &= length == 0 ? 0 : ~uint64_t{0} << (64 - length);
      address.low = 0;
    } else {
      address.low &= ~uint64_t{0} << (128 - length);
    }
  }
  return {address, static_cast<uint8_t>(length)};
}

uint32_t model(const std::vector<DestinationRoute>& routes, const IpAddress& destination) {
  uint32_t best = RouteTable::kNoConnection;
  int length = -1;
  for (const DestinationRoute& route : routes) {
    if (route.destination.contains(destination) && route.destination.length > length) {
      best = route.connection;
      length = route.destination.length;
    }
  }
  return best;
}

TEST("finds the longest prefix of thousands of nested random ones") {
  Random random(1);
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    for (int round = 0; round < 60; round++) {
      std::vector<DestinationRoute> routes;
      const size_t wanted = 1 + random.below(80);
      // Few different bits, so that prefixes nest and touch.
      const auto address = [&] {
        return std::pair{random.next() & 0xf00000000000000f,
                         random.next() & (family == Family::ipv4 ? 0xf000000f : ~0ull)};
      };
      for (size_t i = 0; i < wanted; i++) {
        const auto [high, low] = address();
        const Prefix one =
            prefix(family, high, low, static_cast<unsigned>(random.below(family == Family::ipv4 ? 33 : 129)));
        bool known = false;
        for (const DestinationRoute& route : routes)
          known = known || (route.destination.address == one.address && route.destination.length == one.length);
        if (!known) routes.push_back({one, static_cast<uint16_t>(random.below(5))});
      }
      auto table = RouteTable::create({}, routes);
      REQUIRE(table.ok());
      for (int i = 0; i < 300; i++) {
        const auto [high, low] = address();
        IpAddress destination = prefix(family, high, low, family == Family::ipv4 ? 32 : 128).address;
        if (i % 3 == 0) {  // the edges of a prefix
          const Prefix& near = routes[random.below(routes.size())].destination;
          destination = near.address;
          if (i % 2 == 0) destination.low--;
          if (family == Family::ipv4) destination.low &= 0xffffffff;
        }
        if (!CHECK_EQ(table.value().lookup(destination, destination), model(routes, destination))) return;
      }
    }
  }
}

TEST("asks the policy routes first, in their order") {
  const IpAddress source{0, 0x0a010805, Family::ipv4};
  const IpAddress other{0, 0x0a010905, Family::ipv4};
  const IpAddress destination{0, 0x0a020001, Family::ipv4};
  const std::vector<PolicyRoute> policy = {
      {prefix(Family::ipv4, 0, 0x0a010800, 24), prefix(Family::ipv4, 0, 0x0a020000, 16), 1},
      {prefix(Family::ipv4, 0, 0x0a010000, 16), prefix(Family::ipv4, 0, 0x0a020000, 24), 2},
  };
  const std::vector<DestinationRoute> routes = {{prefix(Family::ipv4, 0, 0x0a020000, 16), 3}};
  auto table = RouteTable::create(policy, routes);
  REQUIRE(table.ok());
  CHECK_EQ(table.value().lookup(source, destination), 1u);
  CHECK_EQ(table.value().lookup(other, destination), 2u);
  CHECK_EQ(table.value().lookup(destination, destination), 3u);
  CHECK_EQ(table.value().lookup(source, source), RouteTable::kNoConnection);
}

TEST("asks many policy routes in their order, as a look at each of them does") {
  Random random;
  for (int round = 0; round < 60; round++) {
    const Family family = round % 2 == 0 ? Family::ipv4 : Family::ipv6;
    const unsigned longest = family == Family::ipv4 ? 32 : 128;
    const auto any = [&] {
      return prefix(family, random.next() & 0xf000000000000003, random.next() & 0xf0000003,
                    static_cast<unsigned>(random.below(longest + 1)));
    };
    std::vector<PolicyRoute> policy;
    for (uint64_t n = random.below(100); n > 0; n--)
      policy.push_back({any(), any(), static_cast<uint16_t>(random.below(1000))});
    auto table = RouteTable::create(policy, {});
    REQUIRE(table.ok());
    for (int i = 0; i < 200; i++) {
      const IpAddress source = any().address;
      const IpAddress destination = any().address;
      uint32_t expected = RouteTable::kNoConnection;
      for (auto rule = policy.rbegin(); rule != policy.rend(); rule++) {
        if (rule->source.contains(source) && rule->destination.contains(destination)) expected = rule->connection;
      }
      REQUIRE(CHECK_EQ(table.value().lookup(source, destination), expected));
    }
  }
}

TEST("never mixes families") {
  auto table = RouteTable::create({}, std::vector<DestinationRoute>{{prefix(Family::ipv4, 0, 0, 0), 1}});
  REQUIRE(table.ok());
  const IpAddress v6{0, 1, Family::ipv6};
  CHECK_EQ(table.value().lookup(v6, v6), RouteTable::kNoConnection);
  const IpAddress last{0, 0xffffffff, Family::ipv4};
  CHECK_EQ(table.value().lookup(last, last), 1u);
}

TEST("refuses host bits, lengths beyond the family, duplicates and mixed policy routes") {
  const Prefix any4 = prefix(Family::ipv4, 0, 0, 0);
  const Prefix any6 = prefix(Family::ipv6, 0, 0, 0);
  const Prefix host_bits{{0, 0x0a000001, Family::ipv4}, 8};
  const Prefix too_long{{0, 0x0a000000, Family::ipv4}, 33};
  CHECK(!RouteTable::create({}, std::vector<DestinationRoute>{{host_bits, 0}}).ok());
  CHECK(!RouteTable::create({}, std::vector<DestinationRoute>{{too_long, 0}}).ok());
  CHECK(!RouteTable::create({}, std::vector<DestinationRoute>{{any4, 0}, {any4, 1}}).ok());
  CHECK(!RouteTable::create(std::vector<PolicyRoute>{{any4, any6, 0}}, {}).ok());
  CHECK(!RouteTable::create(std::vector<PolicyRoute>{{host_bits, any4, 0}}, {}).ok());
}

}  // namespace
}  // namespace culvert::test
