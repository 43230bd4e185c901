// Thread: built by control, then immutable and read by any worker.
//
// Which connection takes a packet: policy rules in their order, then the destination routes by longest prefix. Many
// policy rules have an index, because most of them are of other packets. The destination routes are flattened into
// disjoint ranges, so that a lookup is one binary search whatever the prefix lengths are; a thousand routes are ten
// steps in 24 KB.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"
#include "route/pair_index.h"

namespace culvert::route {

/** `address` with its host bits zero. `length`: bits, 0 to 32 or 0 to 128. */
struct Prefix {
  IpAddress address;
  uint8_t length = 0;

  bool contains(const IpAddress& other) const;
};

struct PolicyRoute {
  Prefix source;
  Prefix destination;
  uint16_t connection = 0;
};

struct DestinationRoute {
  Prefix destination;
  uint16_t connection = 0;
};

class RouteTable {
 public:
  static constexpr uint32_t kNoConnection = 0xffffffff;

  RouteTable() = default;

  /**
   * Error when a prefix length exceeds its family's, when a policy route mixes families, or when two destination
   * routes have one prefix (the control plane resolves weights before it publishes).
   */
  static Result<RouteTable> create(std::span<const PolicyRoute> policy, std::span<const DestinationRoute> destination);

  /** The connection's number, or kNoConnection. */
  uint32_t lookup(const IpAddress& source, const IpAddress& destination) const;

 private:
  struct Ranges {
    std::vector<uint32_t> starts;
    std::vector<uint32_t> connections;
  };
  struct WideRanges {
    std::vector<IpAddress> starts;
    std::vector<uint32_t> connections;
  };

  std::vector<PolicyRoute> policy_;
  PairIndex policy_index_;  // empty when there are few rules
  Ranges ipv4_;
  WideRanges ipv6_;
};

}  // namespace culvert::route
