// Thread: the thread that owns the Sender; the socket may be shared. Sending runs of datagrams in few system calls.
#pragma once
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>

#include "net/socket_address.h"

namespace culvert::net {

/** Datagrams of `segment` bytes that lie back to back, the last maybe shorter, to one place. */
struct Outgoing {
  const uint8_t* data;
  uint32_t length;
  uint32_t segment;
  const SocketAddress* to;
  uint8_t traffic_class;
  uint32_t failed = 0;  // out: datagrams that the kernel refused
};

/** How long a send waits, once, for room in a socket. */
inline constexpr int kSendPatienceMs = 2;

/** What became of a batch. */
struct SendReport {
  uint32_t sent = 0;                       // datagrams
  uint32_t failed = 0;                     // datagrams
  const SocketAddress* too_big = nullptr;  // the kernel knows a path MTU that a datagram to here exceeds
  bool runs_refused = false;               // the device cannot segment: send no more runs on this socket
};

class Sender {
 public:
  /** Longest run of one UDP_SEGMENT send: kernels before 6.9 take 64 datagrams, and no IP packet is longer. */
  static constexpr uint32_t kMaxRunDatagrams = 64;
  static constexpr uint32_t kMaxRunBytes = 65507 - 40;  // room for an IPv6 header as well

  /** Sends everything, in order, waiting up to kSendPatienceMs when the socket is full. `runs`: UDP_SEGMENT works here.
   */
  SendReport send(int fd, std::span<Outgoing> batch, bool runs);

 private:
  static constexpr unsigned kBatch = 64;
  static constexpr size_t kControlBytes = CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(int));

  void add(const uint8_t* data, uint32_t length, uint32_t segment, Outgoing& run);
  void flush(int fd, SendReport& report);
  void failed(int fd, int error_number, unsigned index, SendReport& report);

  unsigned count_ = 0;
  std::array<mmsghdr, kBatch> headers_;
  std::array<iovec, kBatch> pieces_;
  std::array<uint32_t, kBatch> datagrams_;
  std::array<uint32_t, kBatch> segments_;
  std::array<Outgoing*, kBatch> runs_;
  alignas(16) uint8_t control_[kBatch][kControlBytes];
};

}  // namespace culvert::net
