// Thread: owning worker. Puts a worker's events into its ring: coalesced, bounded, and never blocking.
#pragma once
#include <array>
#include <span>

#include "base/ip.h"
#include "engine/shared.h"

namespace culvert::engine {

class Reporter {
 public:
  Reporter(Shared& shared, WorkerShared& own) : shared_(shared), own_(own) {}

  /** Once per turn of the loop: what coalescing and time stamps are measured with. */
  void set_now(uint64_t now_ns) { now_ns_ = now_ns; }
  uint64_t now_ns() const { return now_ns_; }
  uint64_t now_ms() const { return now_ns_ / 1'000'000; }

  void ike(const net::Endpoint& local, const net::Endpoint& remote, std::span<const uint8_t> datagram);
  /**
   * At most one in kAcquireIntervalMs for the same connection and addresses, and kAcquiresPerInterval for a
   * connection: it may have an SA for each pair of subnets, and one that the peer refuses must not silence the others.
   */
  void acquire(uint32_t connection, const IpPacket& packet);
  /** `crossed`: bits of take_crossed_limits. */
  void limits(Direction direction, uint32_t spi, const net::SocketAddress& remote, uint8_t crossed);
  /** Once in the life of an inbound SA; the caller knows when. */
  void sa_in_use(const InboundPath& path);
  /** At most one for each new address in kMovedIntervalMs. */
  void peer_moved(const InboundPath& path, const net::SocketAddress& from);
  void probe_reply(const ProbeKey& key, uint16_t sequence);
  /** Asks the kernel for the path MTU to `to`; at most once in kMtuIntervalMs. */
  void path_mtu(const IpAddress& from, const net::SocketAddress& to);
  /** An ICMP error says that the path to `remote` carries only `mtu`; at most kClaimsPerInterval in kMtuIntervalMs. */
  void path_mtu_claimed(const IpAddress& remote, uint32_t mtu);

  /** Tells control that events wait, when some were pushed since the last call. */
  void flush();

 private:
  static constexpr uint64_t kAcquireIntervalMs = 1000;
  static constexpr unsigned kAcquiresPerInterval = 16;
  static constexpr uint64_t kMovedIntervalMs = 1000;
  static constexpr uint64_t kMtuIntervalMs = 1000;
  static constexpr unsigned kClaimsPerInterval = 32;

  void push(Event& event, std::span<const uint8_t> data = {});

  Shared& shared_;
  WorkerShared& own_;
  uint64_t now_ns_ = 0;
  uint64_t last_mtu_ms_ = 0;
  uint64_t claims_since_ms_ = 0;
  unsigned claims_ = 0;
  bool pushed_ = false;
  // What was reported lately, by the low bits of its hash; something else in the same place only means that one more
  // event is sent, within what the connection still has.
  struct Recent {
    uint64_t hash = 0;
    uint64_t at_ms = 0;
  };
  std::array<Recent, 256> recent_;
  struct Allowance {
    uint64_t since_ms = 0;
    unsigned used = 0;
  };
  std::array<Allowance, 64> allowances_;  // by the low bits of the connection's number
};

}  // namespace culvert::engine
