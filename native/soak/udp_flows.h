// Thread: see each class. UDP between the hosts of two sites: many flows of different sizes, as fast as they arrive.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/fd.h"
#include "soak/payload.h"
#include "soak/site.h"

namespace culvert::soak {

/** One flow in one direction. */
struct UdpFlow {
  uint32_t number;
  unsigned connection;
  Family family;
  uint32_t bytes;                    // of payload; 0: any
  bool superpackets;                 // sent with UDP_SEGMENT
  net::Fd sender;                    // in the one namespace
  net::Fd receiver;                  // in the other
  std::atomic<uint64_t> sent{0};     // the next sequence number
  std::atomic<uint64_t> reached{0};  // one more than the highest that arrived
  Arrivals arrivals;                 // the receiver's
  Counter got;                       // datagrams that arrived
};

/** Counted by the receiver, of all flows. */
struct Received {
  Counter datagrams;
  Counter bytes;
  Counter late;   // behind one that was sent later
  Counter twice;  // must stay 0
  Counter wrong;  // must stay 0: bytes that nobody sent
};

/** All flows of one direction; one thread sends, another receives. */
class UdpFlows {
 public:
  static Result<std::unique_ptr<UdpFlows>> open(const Site& from, const Site& to, uint64_t seed);

  void send(const std::atomic<bool>& stop);
  void receive(const std::atomic<bool>& stop);

  /** Datagrams that the kernel took. */
  uint64_t sent() const;
  /** Each of them in order, per flow: how many were overtaken. */
  const Received& received() const { return received_; }
  /** A line for each flow: what was sent and got, and what its socket refused. Where a datagram is lost, it is looked
   * for. */
  std::string describe() const;

 private:
  UdpFlows() = default;
  uint32_t send_burst(UdpFlow& flow);
  void take(UdpFlow& flow);

  std::vector<std::unique_ptr<UdpFlow>> flows_;
  Received received_;
  Random random_{0};
  std::unique_ptr<uint8_t[]> send_buffer_;
  std::unique_ptr<uint8_t[]> receive_buffer_;
};

}  // namespace culvert::soak
