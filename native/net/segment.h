// Thread: any. TUN → ESP: cuts one superpacket into the IP packets that a wire would have carried.
//
// The kernel hands over up to 64 KB of one TCP or UDP flow with one header and a segment size. Segments are written
// straight to the places where ESP encrypts them, at equal stride, so that the datagrams of a run lie back to back for
// one UDP_SEGMENT send. Copying a payload and summing it is one pass over memory.
#pragma once
#include <cstdint>
#include <span>

#include "base/drop.h"
#include "base/ip.h"
#include "net/vnet_header.h"

namespace culvert::net {

/** One superpacket, checked and ready to be cut; also a packet that is not to be cut: `count` is 1 then. */
class Segmenter {
 public:
  /**
   * `packet`: what the TUN device gave, already parsed into `ip`; must outlive the calls of `emit`.
   * Drop::malformed when header and packet contradict each other.
   */
  Drop prepare(const VnetHeader& header, std::span<const uint8_t> packet, const IpPacket& ip);

  /** Segments; 1 to 65535. */
  uint32_t count() const { return count_; }
  /** Bytes of every segment but the last. */
  uint32_t segment_length() const { return count_ == 1 ? last_length() : header_bytes_ + gso_size_; }
  /** Bytes of the last segment, never more than the others have. */
  uint32_t last_length() const { return header_bytes_ + payload_bytes_ - (count_ - 1) * gso_size_; }

  /**
   * Writes segments `first` … `first + n - 1` with finished checksums to `to`, `to + stride`, …; `stride` is at least
   * `segment_length()`, and so is the room at each place.
   */
  void emit(uint32_t first, uint32_t n, uint8_t* to, size_t stride) const;

 private:
  void emit_whole(uint8_t* to) const;
  void emit_segment(uint32_t index, uint8_t* to) const;

  const uint8_t* packet_ = nullptr;
  uint32_t header_bytes_ = 0;  // IP and transport header; for a whole packet everything before checksum_start_
  uint32_t payload_bytes_ = 0;
  uint32_t gso_size_ = 0;
  uint32_t count_ = 0;
  uint16_t transport_offset_ = 0;
  uint16_t checksum_offset_ = 0;
  bool needs_checksum_ = false;
  bool ipv4_ = false;
  bool tcp_ = false;
  uint16_t ip_id_ = 0;
  uint32_t sequence_ = 0;
  uint8_t tcp_flags_ = 0;
  uint64_t ip_sum_ = 0;         // IPv4 header without length, id and checksum
  uint64_t transport_sum_ = 0;  // pseudo-header without length, transport header without what differs
};

}  // namespace culvert::net
