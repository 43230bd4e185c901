// Thread: built by control, then immutable and read by any. RFC 4301 §4.4.1 selectors, as RFC 7296 §3.13.1 sends them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/ip_address.h"
#include "base/result.h"

namespace culvert {

/** A protocol, a port range and an address range; both ends of ranges belong to them. */
struct TrafficSelector {
  IpAddress start_address;
  IpAddress end_address;
  uint16_t start_port = 0;
  uint16_t end_port = 65535;  // start 65535 and end 0 is OPAQUE: packets whose ports cannot be seen
  uint8_t protocol = 0;       // 0 is any
};

/** Which way a packet goes through the tunnel. */
enum class Direction : uint8_t { inbound, outbound };

/**
 * The selectors of one SA. A packet belongs to it when its near end matches a local selector and its far end a remote
 * one; lists are matched independently of each other, as RFC 7296 §2.9 defines them.
 */
class SelectorSet {
 public:
  /** Error when a range is reversed (OPAQUE aside) or mixes families, or when one of the lists is empty. */
  static Result<SelectorSet> create(std::span<const TrafficSelector> local, std::span<const TrafficSelector> remote);

  std::span<const TrafficSelector> local() const { return local_; }
  std::span<const TrafficSelector> remote() const { return remote_; }

  /** True when every packet of the family matches, so that nothing needs to be looked at. */
  bool matches_all(Family family) const { return family == Family::ipv4 ? all_ipv4_ : all_ipv6_; }

  /** Inbound: the source is remote and the destination local. Outbound: the reverse. */
  bool matches(const IpPacket& packet, Direction direction) const;

  /** True when a selector names ports, types or codes: later fragments do not show whether they match. */
  bool names_ports() const { return names_ports_; }
  /** True when fragments need the first one of their packet to be judged: ports, or protocols, are named. */
  bool needs_first_fragment() const { return needs_first_fragment_; }
  /** For a later fragment: true when the packet that it is of may match, for all that the fragment shows. */
  bool may_match(const IpPacket& packet, Direction direction) const;

 private:
  SelectorSet() = default;

  std::vector<TrafficSelector> local_;
  std::vector<TrafficSelector> remote_;
  bool all_ipv4_ = false;
  bool all_ipv6_ = false;
  bool names_ports_ = false;
  bool needs_first_fragment_ = false;
};

}  // namespace culvert
