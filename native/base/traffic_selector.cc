#include "base/traffic_selector.h"

#include "base/fragment.h"

namespace culvert {
namespace {

bool is_any_port(const TrafficSelector& selector) { return selector.start_port == 0 && selector.end_port == 65535; }

bool is_opaque_port(const TrafficSelector& selector) { return selector.start_port == 65535 && selector.end_port == 0; }

bool covers(const TrafficSelector& selector, const IpAddress& address, uint16_t port, const IpPacket& packet) {
  if (address < selector.start_address || address > selector.end_address) return false;
  if (selector.protocol != 0 && selector.protocol != packet.protocol) return false;
  if (is_any_port(selector)) return true;
  // RFC 4301 §7.1: a fragment that hides its ports belongs to an SA for any port or for OPAQUE, and to no other.
  if (is_opaque_port(selector)) return !packet.has_ports;
  return packet.has_ports && port >= selector.start_port && port <= selector.end_port;
}

// What `covers` would say if all selectors were for any port, and for any protocol where the packet hides its own.
bool may_cover(const TrafficSelector& selector, const IpAddress& address, const IpPacket& packet) {
  if (address < selector.start_address || address > selector.end_address) return false;
  return selector.protocol == 0 || selector.protocol == packet.protocol || hides_protocol(packet);
}

bool any_may_cover(std::span<const TrafficSelector> selectors, const IpAddress& address, const IpPacket& packet) {
  for (const TrafficSelector& selector : selectors) {
    if (may_cover(selector, address, packet)) return true;
  }
  return false;
}

bool any_covers(std::span<const TrafficSelector> selectors, const IpAddress& address, uint16_t port,
                const IpPacket& packet) {
  for (const TrafficSelector& selector : selectors) {
    if (covers(selector, address, port, packet)) return true;
  }
  return false;
}

bool covers_everything(std::span<const TrafficSelector> selectors, Family family) {
  const uint64_t last_low = family == Family::ipv4 ? 0xffffffff : ~uint64_t{0};
  const uint64_t last_high = family == Family::ipv4 ? 0 : ~uint64_t{0};
  const IpAddress first{0, 0, family};
  const IpAddress last{last_high, last_low, family};
  for (const TrafficSelector& selector : selectors) {
    if (selector.protocol == 0 && is_any_port(selector) && selector.start_address == first &&
        selector.end_address == last) {
      return true;
    }
  }
  return false;
}

const char* first_fault(std::span<const TrafficSelector> selectors) {
  if (selectors.empty()) return "a list of traffic selectors is empty";
  for (const TrafficSelector& selector : selectors) {
    if (selector.start_address.family != selector.end_address.family)
      return "a traffic selector mixes address families";
    if (selector.start_address > selector.end_address) return "a traffic selector's address range is reversed";
    if (selector.start_port > selector.end_port && !is_opaque_port(selector)) {
      return "a traffic selector's port range is reversed";
    }
  }
  return nullptr;
}

}  // namespace

Result<SelectorSet> SelectorSet::create(std::span<const TrafficSelector> local,
                                        std::span<const TrafficSelector> remote) {
  for (const auto& selectors : {local, remote}) {
    if (const char* fault = first_fault(selectors)) return Error{fault};
  }
  SelectorSet set;
  set.local_.assign(local.begin(), local.end());
  set.remote_.assign(remote.begin(), remote.end());
  set.all_ipv4_ = covers_everything(local, Family::ipv4) && covers_everything(remote, Family::ipv4);
  set.all_ipv6_ = covers_everything(local, Family::ipv6) && covers_everything(remote, Family::ipv6);
  for (const auto& selectors : {local, remote}) {
    for (const TrafficSelector& selector : selectors) {
      const bool ports = !is_any_port(selector) && !is_opaque_port(selector);
      set.names_ports_ = set.names_ports_ || ports;
      set.needs_first_fragment_ = set.needs_first_fragment_ || ports || selector.protocol != 0;
    }
  }
  return set;
}

bool SelectorSet::matches(const IpPacket& packet, Direction direction) const {
  if (matches_all(packet.source.family)) return true;
  const bool inbound = direction == Direction::inbound;
  return any_covers(inbound ? remote_ : local_, packet.source, packet.source_port, packet) &&
         any_covers(inbound ? local_ : remote_, packet.destination, packet.destination_port, packet);
}

bool SelectorSet::may_match(const IpPacket& packet, Direction direction) const {
  const bool inbound = direction == Direction::inbound;
  return any_may_cover(inbound ? remote_ : local_, packet.source, packet) &&
         any_may_cover(inbound ? local_ : remote_, packet.destination, packet);
}

}  // namespace culvert
