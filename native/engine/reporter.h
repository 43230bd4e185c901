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
  /** At most one for each connection in kAcquireIntervalMs. */
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

  /** Tells control that events wait, when some were pushed since the last call. */
  void flush();

 private:
  static constexpr uint64_t kAcquireIntervalMs = 1000;
  static constexpr uint64_t kMovedIntervalMs = 1000;
  static constexpr uint64_t kMtuIntervalMs = 1000;

  void push(Event& event, std::span<const uint8_t> data = {});

  Shared& shared_;
  WorkerShared& own_;
  uint64_t now_ns_ = 0;
  uint64_t last_mtu_ms_ = 0;
  bool pushed_ = false;
  // Connections that were reported lately, by their number's low bits; another connection in the same place only
  // means that one more event is sent.
  struct Recent {
    uint32_t connection = ~uint32_t{0};
    uint64_t at_ms = 0;
  };
  std::array<Recent, 256> recent_;
};

}  // namespace culvert::engine
