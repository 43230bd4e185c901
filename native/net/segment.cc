#include "net/segment.h"

#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "net/tcp.h"

namespace culvert::net {
namespace {

constexpr size_t kTcpChecksumOffset = 16;
constexpr size_t kUdpChecksumOffset = 6;

// A 16-bit field, as the sum of the machine's own words sees it.
uint64_t word(uint16_t value) { return __builtin_bswap16(value); }

}  // namespace

Drop Segmenter::prepare(const VnetHeader& header, std::span<const uint8_t> packet, const IpPacket& ip) {
  packet_ = packet.data();
  const uint32_t length = ip.total_length;
  const uint8_t gso_type = header.gso_type & static_cast<uint8_t>(~VnetHeader::kGsoEcn);
  if (gso_type == VnetHeader::kGsoNone) {
    count_ = 1;
    gso_size_ = 0;
    needs_checksum_ = (header.flags & VnetHeader::kNeedsChecksum) != 0;
    header_bytes_ = needs_checksum_ ? header.checksum_start : length;
    if (header_bytes_ > length) return Drop::malformed;
    payload_bytes_ = length - header_bytes_;
    checksum_offset_ = header.checksum_offset;
    if (needs_checksum_ && checksum_offset_ + 2u > payload_bytes_) return Drop::malformed;
    return Drop::none;
  }

  ipv4_ = ip.source.family == Family::ipv4;
  tcp_ = gso_type == VnetHeader::kGsoTcp4 || gso_type == VnetHeader::kGsoTcp6;
  if (!tcp_ && gso_type != VnetHeader::kGsoUdp) return Drop::malformed;
  if (ip.protocol != (tcp_ ? kProtocolTcp : kProtocolUdp) || ip.is_fragment) return Drop::malformed;
  transport_offset_ = ip.transport_offset;
  const size_t minimum = transport_offset_ + (tcp_ ? kTcpHeaderBytes : kUdpHeaderBytes);
  if (length < minimum) return Drop::malformed;
  const uint8_t* transport = packet_ + transport_offset_;
  const size_t transport_bytes = tcp_ ? tcp_header_bytes(transport) : kUdpHeaderBytes;
  header_bytes_ = static_cast<uint32_t>(transport_offset_ + transport_bytes);
  if (transport_bytes < kTcpHeaderBytes && tcp_) return Drop::malformed;
  gso_size_ = header.gso_size;
  if (header_bytes_ >= length || gso_size_ == 0) return Drop::malformed;
  payload_bytes_ = length - header_bytes_;
  count_ = (payload_bytes_ + gso_size_ - 1) / gso_size_;

  // What all segments have in common is summed once.
  if (ipv4_) {
    ip_id_ = load_be16(packet_ + 4);
    uint8_t fixed[60];
    std::memcpy(fixed, packet_, transport_offset_);
    std::memset(fixed + 2, 0, 4);   // total length, identification
    std::memset(fixed + 10, 0, 2);  // checksum
    ip_sum_ = checksum_partial(fixed, transport_offset_);
  }
  uint8_t fixed[60];
  std::memcpy(fixed, transport, transport_bytes);
  if (tcp_) {
    sequence_ = load_be32(transport + kTcpSequenceOffset);
    tcp_flags_ = transport[kTcpFlagsOffset];
    std::memset(fixed + kTcpSequenceOffset, 0, 4);
    fixed[kTcpFlagsOffset] = 0;
    std::memset(fixed + kTcpChecksumOffset, 0, 2);
  } else {
    std::memset(fixed + 4, 0, 4);  // length, checksum
  }
  transport_sum_ = checksum_add(pseudo_header_checksum(ip.source, ip.destination, ip.protocol, 0),
                                checksum_partial(fixed, transport_bytes));
  return Drop::none;
}

void Segmenter::emit(uint32_t first, uint32_t n, uint8_t* to, size_t stride) const {
  if (gso_size_ == 0) return emit_whole(to);
  for (uint32_t i = 0; i < n; i++) emit_segment(first + i, to + i * stride);
}

void Segmenter::emit_whole(uint8_t* to) const {
  std::memcpy(to, packet_, header_bytes_);
  if (!needs_checksum_) return;
  // The field already holds the pseudo-header's sum, and is summed with the rest.
  const uint64_t sum = copy_and_checksum(to + header_bytes_, packet_ + header_bytes_, payload_bytes_);
  uint16_t checksum = checksum_finish(sum);
  if (checksum == 0) checksum = 0xffff;  // RFC 768: zero would mean "none"; for TCP both are the same number
  std::memcpy(to + header_bytes_ + checksum_offset_, &checksum, sizeof checksum);
}

void Segmenter::emit_segment(uint32_t index, uint8_t* to) const {
  const uint32_t offset = index * gso_size_;
  const bool last = index + 1 == count_;
  const uint32_t payload = last ? payload_bytes_ - offset : gso_size_;
  const uint32_t transport_length = header_bytes_ - transport_offset_ + payload;
  std::memcpy(to, packet_, header_bytes_);

  if (ipv4_) {
    const uint16_t total = static_cast<uint16_t>(header_bytes_ + payload);
    const uint16_t id = static_cast<uint16_t>(ip_id_ + index);
    store_be16(to + 2, total);
    store_be16(to + 4, id);
    const uint16_t checksum = checksum_finish(ip_sum_ + word(total) + word(id));
    std::memcpy(to + 10, &checksum, sizeof checksum);
  } else {
    store_be16(to + 4, static_cast<uint16_t>(header_bytes_ - kIpv6HeaderBytes + payload));
  }

  uint8_t* transport = to + transport_offset_;
  uint64_t sum = transport_sum_ + word(static_cast<uint16_t>(transport_length));
  size_t field = kUdpChecksumOffset;
  if (tcp_) {
    field = kTcpChecksumOffset;
    const uint32_t sequence = sequence_ + offset;
    uint8_t flags = tcp_flags_;
    if (!last) flags &= static_cast<uint8_t>(~(kTcpFin | kTcpPsh));
    if (index != 0) flags &= static_cast<uint8_t>(~kTcpCwr);  // RFC 3168 §6.1.2: said once
    store_be32(transport + kTcpSequenceOffset, sequence);
    transport[kTcpFlagsOffset] = flags;
    sum += __builtin_bswap32(sequence) + word(flags);
  } else {
    store_be16(transport + 4, static_cast<uint16_t>(transport_length));
    sum += word(static_cast<uint16_t>(transport_length));
  }
  sum = copy_and_checksum(to + header_bytes_, packet_ + header_bytes_ + offset, payload, sum);
  uint16_t checksum = checksum_finish(sum);
  if (checksum == 0 && !tcp_) checksum = 0xffff;
  std::memcpy(transport + field, &checksum, sizeof checksum);
}

}  // namespace culvert::net
