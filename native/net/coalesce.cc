#include "net/coalesce.h"

#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "net/tcp.h"

namespace culvert::net {
namespace {

constexpr uint16_t kIpv4DontFragment = 0x4000;
constexpr uint16_t kIpv4FragmentBits = 0x3fff;  // more fragments, and the offset
constexpr size_t kTcpChecksumOffset = 16;
constexpr size_t kUdpChecksumOffset = 6;
constexpr uint32_t kMaxTotalLength = 65535;

uint64_t word(uint32_t value) { return __builtin_bswap16(static_cast<uint16_t>(value)); }

// RFC 6864: the identification of a packet with DF means nothing, so it need not count up.
bool has_dont_fragment(const uint8_t* ipv4) { return (load_be16(ipv4 + 6) & kIpv4DontFragment) != 0; }

uint64_t pseudo_header_sum(const uint8_t* packet, bool ipv4, uint8_t protocol, uint32_t transport_length) {
  const uint64_t addresses = ipv4 ? checksum_partial(packet + 12, 8) : checksum_partial(packet + 8, 32);
  return addresses + word(protocol) + word(transport_length);
}

}  // namespace

void Coalescer::push(uint8_t* packet, uint32_t length) {
  Flow flow;
  if (!read_flow(packet, length, flow)) {
    // Fragments and everything else that hides its flow must not overtake what is held of the same hosts.
    if (open_ != 0) flush_address_pair(packet);
    return write_alone(packet, length);
  }

  for (size_t i = 0; i < open_; i++) {
    Group& group = groups_[order_[i]];
    if (!same_flow(group.first, flow)) continue;
    const Fit fits = flow.joinable ? fit(group, flow) : Fit::no;
    if (fits == Fit::no) {
      write_group(group);
      release(i);
      break;
    }
    group.packets++;
    group.total_length += length - flow.header_bytes;
    group.pieces[group.packets] = {packet + flow.header_bytes, length - flow.header_bytes};
    if (flow.tcp) {
      const uint8_t flags = packet[flow.transport_offset + kTcpFlagsOffset];
      group.first.packet[group.first.transport_offset + kTcpFlagsOffset] |= flags & kTcpPsh;
      group.next_sequence += length - flow.header_bytes;
    }
    group.next_id++;
    if (fits == Fit::joins_and_ends) {
      write_group(group);
      release(i);
    }
    return;
  }

  if (!flow.joinable) return write_alone(packet, length);
  if (open_ == kGroups) {
    write_group(groups_[order_[0]]);
    release(0);
  }
  Group& group = groups_[order_[open_++]];
  group.first = flow;
  group.total_length = length;
  group.segment_payload = length - flow.header_bytes;
  group.verified = false;
  group.packets = 1;
  group.pieces[1] = {packet, length};
  if (flow.tcp)
    group.next_sequence = load_be32(packet + flow.transport_offset + kTcpSequenceOffset) + group.segment_payload;
  if (flow.ipv4) group.next_id = static_cast<uint16_t>(load_be16(packet + 4) + 1);
}

void Coalescer::flush() {
  for (size_t i = 0; i < open_; i++) write_group(groups_[order_[i]]);
  open_ = 0;
}

// False: neither TCP nor UDP in a plain, unfragmented packet. `joinable` is what others may join, or which may join.
bool Coalescer::read_flow(uint8_t* packet, uint32_t length, Flow& flow) {
  uint8_t protocol;
  flow.packet = packet;
  flow.length = length;
  flow.ipv4 = (packet[0] >> 4) == 4;
  if (flow.ipv4) {
    if (packet[0] != 0x45 || (load_be16(packet + 6) & kIpv4FragmentBits) != 0) return false;
    protocol = packet[9];
    flow.transport_offset = kIpv4HeaderBytes;
  } else {
    protocol = packet[6];
    flow.transport_offset = kIpv6HeaderBytes;
  }
  const uint8_t* transport = packet + flow.transport_offset;
  const uint32_t transport_length = length - flow.transport_offset;
  if (protocol == kProtocolTcp) {
    if (transport_length < kTcpHeaderBytes) return false;
    const size_t header = tcp_header_bytes(transport);
    if (header < kTcpHeaderBytes || header > transport_length) return false;
    flow.tcp = true;
    flow.header_bytes = static_cast<uint16_t>(flow.transport_offset + header);
    constexpr uint8_t kHarmless = kTcpPsh | kTcpEce;
    flow.joinable = (transport[kTcpFlagsOffset] & static_cast<uint8_t>(~kHarmless)) == kTcpAck;
  } else if (protocol == kProtocolUdp) {
    if (transport_length < kUdpHeaderBytes) return false;
    flow.tcp = false;
    flow.header_bytes = static_cast<uint16_t>(flow.transport_offset + kUdpHeaderBytes);
    // RFC 768: a zero checksum is none, and a superpacket cannot say that of its parts.
    flow.joinable = load_be16(transport + 4) == transport_length && load_be16(transport + kUdpChecksumOffset) != 0;
  } else {
    return false;
  }
  flow.joinable = flow.joinable && length > flow.header_bytes;
  return true;
}

bool Coalescer::same_flow(const Flow& a, const Flow& b) {
  if (a.ipv4 != b.ipv4 || a.tcp != b.tcp) return false;
  const size_t at = a.ipv4 ? 12u : 8u;
  const size_t bytes = (a.ipv4 ? 8u : 32u) + 4u;  // addresses, and the ports right behind them
  return std::memcmp(a.packet + at, b.packet + at, bytes) == 0;
}

Coalescer::Fit Coalescer::fit(Group& group, const Flow& flow) const {
  const Flow& first = group.first;
  const uint32_t payload = flow.length - flow.header_bytes;
  if (!flow.tcp && (!join_udp_ || group.packets == kMaxUdpPackets)) return Fit::no;
  if (group.packets == kMaxPackets || group.total_length + payload > kMaxTotalLength) return Fit::no;
  if (payload > group.segment_payload || flow.header_bytes != first.header_bytes) return Fit::no;

  const uint8_t* a = first.packet;
  const uint8_t* b = flow.packet;
  if (flow.ipv4) {
    if (a[1] != b[1] || a[8] != b[8]) return Fit::no;       // traffic class, TTL
    if (std::memcmp(a + 6, b + 6, 2) != 0) return Fit::no;  // DF
    if (!has_dont_fragment(b) && load_be16(b + 4) != group.next_id) return Fit::no;
  } else if (std::memcmp(a, b, 4) != 0 || a[7] != b[7]) {  // class and flow label, hop limit
    return Fit::no;
  }

  a += first.transport_offset;
  b += flow.transport_offset;
  const bool ends = payload < group.segment_payload;
  if (flow.tcp) {
    if (load_be32(b + kTcpSequenceOffset) != group.next_sequence) return Fit::no;
    if (std::memcmp(a + kTcpAcknowledgmentOffset, b + kTcpAcknowledgmentOffset, 5) != 0) return Fit::no;
    if (((a[kTcpFlagsOffset] ^ b[kTcpFlagsOffset]) & ~kTcpPsh) != 0) return Fit::no;
    if (std::memcmp(a + 14, b + 14, 2) != 0) return Fit::no;  // window
    const size_t options = first.header_bytes - first.transport_offset - kTcpHeaderBytes;
    if (options != 0 && std::memcmp(a + kTcpHeaderBytes, b + kTcpHeaderBytes, options) != 0) return Fit::no;
  }

  if (!group.verified) {
    if (!checksums_verify(first)) return Fit::no;
    group.verified = true;
  }
  if (!checksums_verify(flow)) return Fit::no;
  return ends ? Fit::joins_and_ends : Fit::joins;
}

bool Coalescer::checksums_verify(const Flow& flow) {
  if (flow.ipv4 && checksum_fold(checksum_partial(flow.packet, kIpv4HeaderBytes)) != 0xffff) return false;
  const uint32_t length = flow.length - flow.transport_offset;
  const uint8_t protocol = flow.tcp ? kProtocolTcp : kProtocolUdp;
  const uint64_t sum = pseudo_header_sum(flow.packet, flow.ipv4, protocol, length);
  return checksum_fold(checksum_partial(flow.packet + flow.transport_offset, length, sum)) == 0xffff;
}

void Coalescer::write_alone(uint8_t* packet, uint32_t length) {
  iovec pieces[2] = {{}, {packet, length}};
  sink_.write(VnetHeader{}, pieces, 1);
}

void Coalescer::write_group(Group& group) {
  const Flow& first = group.first;
  if (group.packets == 1) return sink_.write(VnetHeader{}, std::span(group.pieces).first(2), 1);

  uint8_t* ip = first.packet;
  uint8_t* transport = ip + first.transport_offset;
  const uint32_t transport_length = group.total_length - first.transport_offset;
  if (first.ipv4) {
    store_be16(ip + 2, static_cast<uint16_t>(group.total_length));
    std::memset(ip + 10, 0, 2);
    const uint16_t checksum = checksum_finish(checksum_partial(ip, kIpv4HeaderBytes));
    std::memcpy(ip + 10, &checksum, sizeof checksum);
  } else {
    store_be16(ip + 4, static_cast<uint16_t>(transport_length));
  }
  // The kernel finishes the checksum: the field holds the pseudo-header's sum, not complemented.
  const uint8_t protocol = first.tcp ? kProtocolTcp : kProtocolUdp;
  const uint16_t partial = checksum_fold(pseudo_header_sum(ip, first.ipv4, protocol, transport_length));
  const size_t field = first.tcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  std::memcpy(transport + field, &partial, sizeof partial);
  if (!first.tcp) store_be16(transport + 4, static_cast<uint16_t>(transport_length));

  const VnetHeader header{
      .flags = VnetHeader::kNeedsChecksum,
      .gso_type = !first.tcp   ? VnetHeader::kGsoUdp
                  : first.ipv4 ? VnetHeader::kGsoTcp4
                               : VnetHeader::kGsoTcp6,
      .header_length = first.header_bytes,
      .gso_size = static_cast<uint16_t>(group.segment_payload),
      .checksum_start = first.transport_offset,
      .checksum_offset = static_cast<uint16_t>(field),
  };
  sink_.write(header, std::span(group.pieces).first(group.packets + 1), group.packets);
}

void Coalescer::flush_address_pair(const uint8_t* packet) {
  const bool ipv4 = (packet[0] >> 4) == 4;
  for (size_t i = 0; i < open_;) {
    Group& group = groups_[order_[i]];
    const bool same = group.first.ipv4 == ipv4 && (ipv4 ? std::memcmp(group.first.packet + 12, packet + 12, 8)
                                                        : std::memcmp(group.first.packet + 8, packet + 8, 32)) == 0;
    if (same) {
      write_group(group);
      release(i);
    } else {
      i++;
    }
  }
}

// Closes the group at `position` in the order; the others keep theirs.
void Coalescer::release(size_t position) {
  const uint8_t index = order_[position];
  for (size_t i = position; i + 1 < open_; i++) order_[i] = order_[i + 1];
  order_[--open_] = index;
}

}  // namespace culvert::net
