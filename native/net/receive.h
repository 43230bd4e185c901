// Thread: owning worker. Receiving datagrams in batches into memory that packets are decrypted in.
#pragma once
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "net/huge_buffer.h"
#include "net/socket_address.h"

namespace culvert::net {

/** One received message: a datagram, or with UDP_GRO a train of datagrams of `segment` bytes, the last maybe less. */
struct Received {
  uint8_t* data;
  uint32_t length;
  uint32_t segment;       // equals `length` when there is only one datagram
  uint8_t traffic_class;  // of the outer header: DSCP and ECN
  bool truncated;         // the datagram was longer than a slot
  SocketAddress from;
  IpAddress local;  // with IP_PKTINFO only, else unset
};

class ReceiveSlots {
 public:
  /** A train is at most one IP packet, and so is a datagram. */
  static constexpr size_t kSlotBytes = 65536;
  /** Behind every slot, for ciphers that look ahead. */
  static constexpr size_t kTailroomBytes = 64;
  static constexpr unsigned kSlots = 32;

  static Result<std::unique_ptr<ReceiveSlots>> create();
  ReceiveSlots(const ReceiveSlots&) = delete;
  ReceiveSlots& operator=(const ReceiveSlots&) = delete;

  /**
   * At most `wanted` messages that are there now, into the slots from `first` on (together at most kSlots); empty when
   * there are none. They stay valid until their slots are used again.
   */
  std::span<Received> receive(int fd, unsigned first, unsigned wanted);

 private:
  ReceiveSlots() = default;

  // Enough for UDP_GRO, the traffic class and IPV6_PKTINFO.
  static constexpr size_t kControlBytes = 128;
  // Slots of exactly 64 KB would all begin in the same cache sets.
  static constexpr size_t kStrideBytes = kSlotBytes + kTailroomBytes + 17 * 64;

  void read_control(msghdr& header, Received& message);

  HugeBuffer memory_;
  iovec pieces_[kSlots];
  mmsghdr headers_[kSlots];
  Received messages_[kSlots];
  alignas(16) uint8_t control_[kSlots][kControlBytes];
};

}  // namespace culvert::net
