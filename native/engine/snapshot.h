// Thread: built by control, then immutable and read by any worker. The whole forwarding state at one instant.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "esp/inbound_sa.h"
#include "esp/outbound_sa.h"
#include "net/socket_address.h"
#include "route/route_table.h"

namespace culvert::engine {

/** DF in the outer header of IPv4, for each SA (RFC 4301 §8.1). */
enum class DfPolicy : uint8_t { clear, copy, set };

/** How packets of one outbound SA leave. */
struct OutboundPath {
  esp::OutboundSa* sa;
  net::SocketAddress remote;
  uint16_t outer;      // index of our outer address
  bool udp;            // encapsulated (RFC 3948), from our NAT-T port; else protocol 50
  DfPolicy df;         // over IPv6, which has no DF: clear
  uint32_t path_mtu;   // longest outer packet that leaves unfragmented, bytes
  uint32_t inner_mtu;  // longest inner packet that leaves unfragmented, bytes
  uint16_t mss_ipv4;   // TCP MSS that fits it
  uint16_t mss_ipv6;
};

static_assert(sizeof(OutboundPath) <= kCacheLineBytes, "a packet touches one line of its path");

/** What the owning worker remembers of an inbound SA beside the SA itself; lives as long as it. */
struct InboundNotes {
  net::SocketAddress moved_to;  // the last address that was reported
  uint64_t moved_at_ms = 0;
};

/** What an inbound SPI leads to. */
struct InboundPath {
  uint32_t spi;
  uint16_t worker;
  bool udp;           // the peer's address is watched: it sits behind a NAT, or may
  uint16_t mss_ipv4;  // for SYNs that come out of the tunnel
  uint16_t mss_ipv6;
  esp::InboundSa* sa;
  InboundNotes* notes;
  net::SocketAddress remote;  // where its packets are expected from
};

static_assert(sizeof(InboundPath) <= kCacheLineBytes, "a lookup touches one line");

/** Inbound paths by SPI: open addressing, at most half full. */
class InboundTable {
 public:
  InboundTable() : slots_(2) {}

  /** The SPI must not be in the table. */
  void insert(const InboundPath& path);
  void erase(uint32_t spi);

  const InboundPath* find(uint32_t spi) const {
    for (size_t at = hash(spi);; at++) {
      const InboundPath& path = slots_[at & mask_];
      if (path.spi == spi && path.sa != nullptr) return &path;
      if (path.sa == nullptr) return nullptr;
    }
  }

 private:
  // Peers cannot choose our SPIs, but the low bits are not random: they name the worker.
  static size_t hash(uint32_t spi) { return (spi * uint64_t{0x9e3779b97f4a7c15}) >> 40; }

  std::vector<InboundPath> slots_;
  size_t mask_ = 1;
  size_t count_ = 0;
};

/** An echo request of ours: its reply ends here instead of on the TUN device. */
struct ProbeKey {
  IpAddress source;  // of the request
  IpAddress destination;
  uint16_t id = 0;
  uint16_t connection = 0;

  friend bool operator==(const ProbeKey&, const ProbeKey&) = default;
};

struct Snapshot {
  uint64_t generation = 0;  // no two snapshots have the same
  const route::RouteTable* routes = nullptr;
  InboundTable inbound;
  std::vector<OutboundPath> paths;  // of all connections, each connection's in order of preference
  struct Range {
    uint32_t first = 0;
    uint32_t count = 0;
    bool follows_fragments = false;           // an SA of it needs to know the first fragment of a packet
    const route::PairIndex* index = nullptr;  // over its paths, when they are many
  };
  std::vector<Range> connections;  // by number
  std::vector<ProbeKey> probes;    // echo replies that are ours to take; mostly none

  bool follows_fragments(uint32_t connection) const {
    return connection < connections.size() && connections[connection].follows_fragments;
  }
  std::span<const OutboundPath> paths_of(uint32_t connection) const {
    if (connection >= connections.size()) return {};
    return std::span(paths).subspan(connections[connection].first, connections[connection].count);
  }
  /**
   * The first of a connection's paths that `accepts` likes, among those whose selectors have both addresses of `ip`, or
   * nullptr. `accepts` looks at the selectors: it may be asked of others as well.
   */
  template <typename Accepts>
  const OutboundPath* first_path(uint32_t connection, const IpPacket& ip, Accepts accepts) const {
    const std::span<const OutboundPath> all = paths_of(connection);
    size_t at = 0;
    if (!all.empty() && connections[connection].index != nullptr) {
      const route::PairIndex& index = *connections[connection].index;
      const auto likes = [&](size_t i) { return accepts(all[i]); };
      if (const size_t i = index.first(ip.source, ip.destination, likes); i != route::PairIndex::kNone) return &all[i];
      at = index.size();
    }
    for (; at < all.size(); at++) {
      if (accepts(all[at])) return &all[at];
    }
    return nullptr;
  }
};

}  // namespace culvert::engine
