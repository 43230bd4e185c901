// Thread: control. One gateway in a network namespace of its own: its outer device, whose far end is the relay's, its
// data plane, and the addresses of the hosts behind it, which live on the tunnel's device itself.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "net/fd.h"
#include "net/tun.h"

namespace culvert::soak {

inline constexpr unsigned kConnections = 8;
inline constexpr uint32_t kPathMtu = 1500;

/** Which end: 1 or 2, as in 192.0.2.1 and 10.1.c.1. */
IpAddress outer_address(unsigned end, Family family);
/** Of the host behind `end` that belongs to the connection. */
IpAddress inner_address(unsigned end, unsigned connection, Family family);

/** What the kernel dropped, by its own counters. */
struct KernelDrops {
  uint64_t outer_device = 0;   // the relay did not read in time; superpackets count as one
  uint64_t tunnel_device = 0;  // the data plane did not read in time; superpackets count as one
  uint64_t outer_sockets = 0;  // the data plane's: full, or a bad checksum
  uint64_t host_sockets = 0;   // the same of the hosts
  uint64_t bad_checksums = 0;  // UDP and TCP, inside and outside
};

class Site {
 public:
  /** Moves the calling thread into a new namespace and builds the site there; needs root. */
  static Result<std::unique_ptr<Site>> open(unsigned end, unsigned workers, engine::Notify notify);

  /** Moves the calling thread into the site's namespace. */
  bool enter() const;

  engine::Engine& engine() { return *engine_; }
  const engine::Engine& engine() const { return *engine_; }
  net::TunQueue& wire() { return wire_.queues.front(); }
  unsigned end() const { return end_; }
  /** Since the site was opened. */
  KernelDrops kernel_drops() const;
  /** All numbers of the kernel, for a report about a finding. */
  std::string kernel_text() const;

 private:
  Site() = default;

  unsigned end_ = 0;
  net::Fd netns_;
  net::TunDevice wire_;
  std::unique_ptr<engine::Engine> engine_;
  struct ProcFiles {
    net::Fd dev, udp, udp6, raw, raw6, snmp, snmp6;
  } proc_;
};

}  // namespace culvert::soak
