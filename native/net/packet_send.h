// Thread: the thread that owns the PacketSender; the socket may be shared. Datagrams that leave as whole IP packets,
// headers and all, because no option of the sockets for ESP says what is wanted of them.
#pragma once
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>

#include "base/ip.h"
#include "base/result.h"
#include "net/fd.h"
#include "net/send.h"
#include "net/socket_address.h"

namespace culvert::net {

/**
 * A raw socket for whole IP packets from `address`, which receives nothing and believes no ICMP; `mark` is its SO_MARK.
 */
Result<Fd> open_packet_socket(const IpAddress& address, uint32_t mark);

class PacketSender {
 public:
  /** ESP as protocol 50 over IPv4 with DF, on a socket of `open_packet_socket`; waits as Sender does. */
  SendReport send_unfragmented(int fd, const IpAddress& local, std::span<Outgoing> batch);

  /** How IPv6 datagrams leave in fragments. */
  struct Fragmentation {
    Endpoint local;
    bool udp;           // RFC 3948, from the port of `local`
    uint32_t path_mtu;  // bytes of the largest fragment, IP header included
  };
  /**
   * Over IPv6, where only the sender fragments (RFC 8200 §4.5) and the kernel knows no MTU but its own interface's: in
   * pieces that fit `how.path_mtu`, or what every IPv6 link carries if the interface takes less.
   */
  SendReport send_fragments(int fd, const Fragmentation& how, std::span<Outgoing> batch);

 private:
  static constexpr unsigned kBatch = 64;

  void flush(int fd, SendReport& report);

  unsigned count_ = 0;
  std::array<mmsghdr, kBatch> headers_;
  std::array<std::array<iovec, 2>, kBatch> pieces_;
  std::array<Outgoing*, kBatch> runs_;
  alignas(16) uint8_t ip_[kBatch][kIpv4HeaderBytes];
};

}  // namespace culvert::net
