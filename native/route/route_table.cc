#include "route/route_table.h"

#include <algorithm>

namespace culvert::route {
namespace {

unsigned bits_of(Family family) { return family == Family::ipv4 ? 32 : 128; }

struct Mask {
  uint64_t high;
  uint64_t low;
};

// Ones where the prefix is; an IPv4 address is in the low 32 bits.
Mask mask_of(Family family, unsigned length) {
  if (family == Family::ipv4) return {0, length == 0 ? 0 : (~uint64_t{0} << (32 - length)) & 0xffffffff};
  if (length == 0) return {0, 0};
  if (length <= 64) return {~uint64_t{0} << (64 - length), 0};
  return {~uint64_t{0}, ~uint64_t{0} << (128 - length)};
}

IpAddress last_of(const Prefix& prefix) {
  const Family family = prefix.address.family;
  const Mask mask = mask_of(family, prefix.length);
  IpAddress last = prefix.address;
  if (family == Family::ipv6) last.high |= ~mask.high;
  last.low |= family == Family::ipv4 ? ~mask.low & 0xffffffff : ~mask.low;
  return last;
}

bool is_canonical(const Prefix& prefix) {
  if (prefix.length > bits_of(prefix.address.family)) return false;
  const Mask mask = mask_of(prefix.address.family, prefix.length);
  return (prefix.address.high & ~mask.high) == 0 && (prefix.address.low & ~mask.low) == 0;
}

// The address behind `address`; false when there is none in its family.
bool increment(IpAddress& address) {
  if (address.family == Family::ipv4) return ++address.low <= 0xffffffff;
  if (++address.low != 0) return true;
  return ++address.high != 0;
}

struct Flattened {
  std::vector<IpAddress> starts;
  std::vector<uint32_t> connections;

  // From `start` on it is `connection`; a later call with the same start wins.
  void set(const IpAddress& start, uint32_t connection) {
    if (!starts.empty() && starts.back() == start) {
      connections.back() = connection;
    } else if (connections.empty() || connections.back() != connection) {
      starts.push_back(start);
      connections.push_back(connection);
    }
  }
};

// One sweep over the sorted prefixes: those that contain the current address are a stack, the longest on top.
Flattened flatten(std::vector<DestinationRoute>& routes) {
  std::sort(routes.begin(), routes.end(), [](const DestinationRoute& a, const DestinationRoute& b) {
    if (a.destination.address != b.destination.address) return a.destination.address < b.destination.address;
    return a.destination.length < b.destination.length;
  });
  Flattened flat;
  std::vector<const DestinationRoute*> open;
  const auto close_until = [&](const IpAddress* next) {
    while (!open.empty()) {
      IpAddress behind = last_of(open.back()->destination);
      if (next != nullptr && !(behind < *next)) return;
      open.pop_back();
      if (!increment(behind)) continue;
      flat.set(behind, open.empty() ? RouteTable::kNoConnection : open.back()->connection);
    }
  };
  for (const DestinationRoute& route : routes) {
    close_until(&route.destination.address);
    flat.set(route.destination.address, route.connection);
    open.push_back(&route);
  }
  close_until(nullptr);
  return flat;
}

PairIndex index_of(std::span<const PolicyRoute> rules) {
  std::vector<AddressRange> ends;
  for (const PolicyRoute& rule : rules) {
    ends.push_back({rule.source.address, last_of(rule.source)});
    ends.push_back({rule.destination.address, last_of(rule.destination)});
  }
  const std::span<const AddressRange> all = ends;
  std::vector<PairIndex::Entry> entries;
  for (size_t i = 0; i < rules.size(); i++) entries.push_back({all.subspan(2 * i, 1), all.subspan(2 * i + 1, 1)});
  return PairIndex(entries);
}

}  // namespace

bool Prefix::contains(const IpAddress& other) const {
  if (other.family != address.family) return false;
  const Mask mask = mask_of(address.family, length);
  return ((other.high ^ address.high) & mask.high) == 0 && ((other.low ^ address.low) & mask.low) == 0;
}

Result<RouteTable> RouteTable::create(std::span<const PolicyRoute> policy,
                                      std::span<const DestinationRoute> destination) {
  RouteTable table;
  for (const PolicyRoute& rule : policy) {
    if (!is_canonical(rule.source) || !is_canonical(rule.destination))
      return Error{"EINVAL: a policy route's prefix has host bits or is too long"};
    if (rule.source.address.family != rule.destination.address.family)
      return Error{"EINVAL: a policy route mixes IPv4 and IPv6"};
  }
  table.policy_.assign(policy.begin(), policy.end());
  if (policy.size() >= PairIndex::kLeastEntries) table.policy_index_ = index_of(policy);

  std::vector<DestinationRoute> ipv4;
  std::vector<DestinationRoute> ipv6;
  for (const DestinationRoute& route : destination) {
    if (!is_canonical(route.destination)) return Error{"EINVAL: a route's prefix has host bits or is too long"};
    (route.destination.address.family == Family::ipv4 ? ipv4 : ipv6).push_back(route);
  }
  const Flattened narrow = flatten(ipv4);
  const Flattened wide = flatten(ipv6);
  for (const auto* family : {&ipv4, &ipv6}) {
    for (size_t i = 1; i < family->size(); i++) {
      const Prefix& a = (*family)[i - 1].destination;
      const Prefix& b = (*family)[i].destination;
      if (a.address == b.address && a.length == b.length) return Error{"EINVAL: two routes have the same prefix"};
    }
  }
  for (const IpAddress& start : narrow.starts) table.ipv4_.starts.push_back(static_cast<uint32_t>(start.low));
  table.ipv4_.connections = narrow.connections;
  table.ipv6_.starts = wide.starts;
  table.ipv6_.connections = wide.connections;
  return table;
}

uint32_t RouteTable::lookup(const IpAddress& source, const IpAddress& destination) const {
  // A prefix is one range, so that what the index finds needs no second look.
  if (policy_index_.size() != 0) {
    const size_t indexed = policy_index_.first(source, destination, [](size_t) { return true; });
    if (indexed != PairIndex::kNone) return policy_[indexed].connection;
  }
  for (const PolicyRoute& rule : std::span(policy_).subspan(policy_index_.size())) {
    if (rule.destination.contains(destination) && rule.source.contains(source)) return rule.connection;
  }
  const auto find = [](const auto& ranges, const auto& key) {
    const auto behind = std::upper_bound(ranges.starts.begin(), ranges.starts.end(), key);
    return behind == ranges.starts.begin()
               ? kNoConnection
               : ranges.connections[static_cast<size_t>(behind - ranges.starts.begin()) - 1];
  };
  if (destination.family == Family::ipv4) return find(ipv4_, static_cast<uint32_t>(destination.low));
  return find(ipv6_, destination);
}

}  // namespace culvert::route
