// Fuzzes the forwarding decision: a table of any policy and destination routes answers every lookup as a plain search
// through all of them does.
//
// Input: routes of 12 bytes, then lookups of 8 bytes; the first byte is the number of routes. Addresses are spread from
// few bits, so that prefixes nest and lookups hit their edges.
#include <cstdint>
#include <vector>

#include "base/byte_order.h"
#include "fuzz/suites.h"
#include "route/route_table.h"

namespace {

using namespace culvert;
using fuzz::require;

constexpr size_t kRouteBytes = 12;
constexpr size_t kLookupBytes = 9;

// 32 bits of input; in IPv6 they stand at either end, where the carries between the words are.
IpAddress address(uint32_t bits, bool v6) {
  if (!v6) return {0, bits, Family::ipv4};
  return {uint64_t{bits >> 16} << 48 | (bits >> 8 & 0xff), uint64_t{bits & 0xff} << 56 | (bits & 0xff), Family::ipv6};
}

// The prefix's address with its host bits zero, without the table's own arithmetic: bit by bit.
route::Prefix prefix(IpAddress from, unsigned length) {
  const unsigned most = from.family == Family::ipv4 ? 32 : 128;
  length %= most + 1;
  for (unsigned bit = length; bit < most; bit++) {
    const unsigned place = most - 1 - bit;  // from the right
    uint64_t& word = place >= 64 ? from.high : from.low;
    word &= ~(uint64_t{1} << (place % 64));
  }
  return {from, static_cast<uint8_t>(length)};
}

bool contains(const route::Prefix& p, const IpAddress& a) {
  return a.family == p.address.family && prefix(a, p.length).address == p.address;
}

uint32_t search(const std::vector<route::PolicyRoute>& policy, const std::vector<route::DestinationRoute>& destination,
                const IpAddress& from, const IpAddress& to) {
  for (const route::PolicyRoute& rule : policy) {
    if (contains(rule.source, from) && contains(rule.destination, to)) return rule.connection;
  }
  uint32_t best = route::RouteTable::kNoConnection;
  int longest = -1;
  for (const route::DestinationRoute& each : destination) {
    if (!contains(each.destination, to) || each.destination.length <= longest) continue;
    longest = each.destination.length;
    best = each.connection;
  }
  return best;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  size_t routes = data[0];
  data++;
  size--;
  std::vector<route::PolicyRoute> policy;
  std::vector<route::DestinationRoute> destination;
  for (; routes > 0 && size >= kRouteBytes; routes--, data += kRouteBytes, size -= kRouteBytes) {
    const bool v6 = (data[0] & 1) != 0;
    const auto connection = static_cast<uint16_t>(data[0] >> 2);
    const route::Prefix to = prefix(address(load_be32(data + 1), v6), data[5]);
    if ((data[0] & 2) != 0) {
      policy.push_back({prefix(address(load_be32(data + 6), v6), data[10]), to, connection});
      continue;
    }
    bool is_new = true;
    for (const route::DestinationRoute& other : destination)
      is_new = is_new && !(other.destination.address == to.address && other.destination.length == to.length);
    if (is_new) destination.push_back({to, connection});
  }
  auto table = route::RouteTable::create(policy, destination);
  require(table.ok(), "the table was refused");
  for (; size >= kLookupBytes; data += kLookupBytes, size -= kLookupBytes) {
    const bool v6 = (data[0] & 1) != 0;
    const IpAddress from = address(load_be32(data + 1), v6);
    const IpAddress to = address(load_be32(data + 5), v6);
    require(table.value().lookup(from, to) == search(policy, destination, from, to), "another connection");
  }
  return 0;
}
