// Thread: opened by control before the workers start; each member says who may touch it afterwards.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "base/result.h"
#include "net/fd.h"
#include "net/sockets.h"

namespace culvert::engine {

/** Our end of tunnels: one outer address and its sockets. */
struct OuterAddress {
  struct Options {
    IpAddress address;
    uint16_t ike_port;  // 0: inherited sockets serve IKE
    uint16_t nat_port;
    uint32_t mark;
    unsigned workers;
  };
  static Result<std::unique_ptr<OuterAddress>> open(const Options& options);

  /**
   * Opens `nat_df`, unless that is done. Only for the first SA that sends with DF: what ICMP says about a path, which
   * anybody can say, reaches the kernel's routes through such sockets. No worker looks at them before it has that SA.
   */
  Result<Unit> open_nat_df();

  IpAddress address;
  std::vector<net::UdpSocket> nat;     // NAT-T port, one for each worker
  std::vector<net::UdpSocket> nat_df;  // the same port, one for each worker: sends with DF. IPv4 only
  net::UdpSocket ike;                  // IKE port; absent when inherited sockets serve it
  std::vector<net::Fd> esp;            // protocol 50, one for each worker
  std::vector<net::Fd> packets;        // whole packets with headers of our own, one for each worker
  net::Fd probe;                       // control sends path-MTU probes here
  net::Fd too_big;                     // ICMP errors, read by worker 0
  Options options;
  std::atomic<bool> sends_runs{false};  // UDP_SEGMENT works on the way to the peers; any worker clears it
};

}  // namespace culvert::engine
