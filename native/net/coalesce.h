// Thread: owning worker. ESP → TUN: joins decrypted packets of one flow into superpackets, one TUN write each.
//
// The rules are those of generic receive offload: TCP segments join when they are consecutive and their headers say
// the same, UDP datagrams when they are of one size. What is joined can be cut again into exactly the packets that
// came in, but for PSH: it moves to the end of what it was joined with, where it pushes no less. Checksums are verified
// before joining (a packet that fails goes to the TUN device alone and as it is), so the superpacket can leave its
// checksum to the kernel. Packets of one flow keep their order. Payloads are not copied: the write gathers them, so a
// packet's bytes must stay in place until `flush`.
#pragma once
#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "net/vnet_header.h"

namespace culvert::net {

/** Where finished packets go: the TUN queue, or a test. */
class PacketSink {
 public:
  /** One packet, or `packets` joined ones. `pieces[0]` is free for a header; the rest is the packet. */
  virtual void write(const VnetHeader& header, std::span<iovec> pieces, uint32_t packets) = 0;

 protected:
  ~PacketSink() = default;
};

class Coalescer {
 public:
  /** `join_udp`: the kernel takes UDP superpackets (TunOffloads::udp). */
  Coalescer(PacketSink& sink, bool join_udp) : sink_(sink), join_udp_(join_udp) {}

  /**
   * Takes one valid IP packet of exactly `length` bytes; it is written now, or with others at the latest by `flush`.
   * The header of a packet that others join is changed in place.
   */
  void push(uint8_t* packet, uint32_t length);

  /** Writes everything that is still held. */
  void flush();

 private:
  // Linux 6.2 to 6.8 refuse more than 64 datagrams in one UDP superpacket; TCP has no such limit, but 64 KB of
  // full-sized segments are 48.
  static constexpr size_t kMaxUdpPackets = 64;
  static constexpr size_t kMaxPackets = 128;
  static constexpr size_t kGroups = 8;

  struct Flow {
    uint8_t* packet;
    uint32_t length;
    uint16_t transport_offset;
    uint16_t header_bytes;  // IP and transport
    bool ipv4;
    bool tcp;
    bool joinable;
  };
  struct Group {
    Flow first;
    uint32_t total_length;
    uint32_t segment_payload;
    uint32_t next_sequence;
    uint16_t next_id;
    bool verified;  // the first packet's checksum; others are verified as they join
    uint32_t packets;
    std::array<iovec, kMaxPackets + 1> pieces;
  };

  enum class Fit { no, joins, joins_and_ends };

  static bool read_flow(uint8_t* packet, uint32_t length, Flow& flow);
  static bool same_flow(const Flow& a, const Flow& b);
  static bool checksums_verify(const Flow& flow);
  Fit fit(Group& group, const Flow& flow) const;
  void write_alone(uint8_t* packet, uint32_t length);
  void write_group(Group& group);
  void flush_address_pair(const uint8_t* packet);
  void release(size_t position);

  PacketSink& sink_;
  bool join_udp_;
  size_t open_ = 0;
  std::array<uint8_t, kGroups> order_{0, 1, 2, 3, 4, 5, 6, 7};  // indexes into groups_: the open ones, oldest first
  std::array<Group, kGroups> groups_;
};

}  // namespace culvert::net
