#include "net/ipv4_fragments.h"

#include <algorithm>
#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"

namespace culvert::net {
namespace {

constexpr uint16_t kMoreFragments = 0x2000;
constexpr uint16_t kOffsetMask = 0x1fff;
constexpr size_t kUnit = 8;
constexpr uint8_t kEndOfOptions = 0;
constexpr uint8_t kNoOperation = 1;
constexpr uint8_t kCopied = 0x80;  // RFC 791 §3.1: this option goes into all fragments

// The header of later fragments: `from` with those options only that are copied. Its length, a multiple of 4.
size_t copy_later_header(const uint8_t* from, size_t header_bytes, uint8_t* to) {
  std::memcpy(to, from, kIpv4HeaderBytes);
  size_t length = kIpv4HeaderBytes;
  for (size_t at = kIpv4HeaderBytes; at < header_bytes && from[at] != kEndOfOptions;) {
    if (from[at] == kNoOperation) {
      at++;
      continue;
    }
    const size_t bytes = at + 1 < header_bytes ? from[at + 1] : 0;
    if (bytes < 2 || at + bytes > header_bytes) break;  // no option is that short or that long: the rest is nothing
    if ((from[at] & kCopied) != 0) {
      std::memcpy(to + length, from + at, bytes);
      length += bytes;
    }
    at += bytes;
  }
  while (length % 4 != 0) to[length++] = kEndOfOptions;
  to[0] = static_cast<uint8_t>(0x40 | length / 4);
  return length;
}

}  // namespace

Ipv4Fragments::Ipv4Fragments(std::span<uint8_t> packet, uint32_t mtu)
    : packet_(packet.first(load_be16(packet.data() + 2))),
      mtu_(mtu),
      first_header_bytes_(static_cast<size_t>(packet[0] & 0x0f) * 4),
      header_bytes_(copy_later_header(packet.data(), first_header_bytes_, header_.data())) {
  const uint16_t field = load_be16(packet.data() + 6);
  place_ = field & kOffsetMask;
  more_ = (field & kMoreFragments) != 0;
}

std::span<uint8_t> Ipv4Fragments::next() {
  const size_t left = packet_.size() - first_header_bytes_ - done_;
  if (left == 0) return {};
  // A later header is no longer than the first one, so that it fits in front of what it stands for.
  const size_t header_bytes = done_ == 0 ? first_header_bytes_ : header_bytes_;
  uint8_t* const fragment = packet_.data() + first_header_bytes_ + done_ - header_bytes;
  if (done_ != 0) std::memcpy(fragment, header_.data(), header_bytes);
  const size_t room = mtu_ - header_bytes;
  const size_t payload = left <= room ? left : room / kUnit * kUnit;
  const bool more = more_ || payload < left;
  store_be16(fragment + 2, static_cast<uint16_t>(header_bytes + payload));
  store_be16(fragment + 6, static_cast<uint16_t>((more ? kMoreFragments : 0) | (place_ + done_ / kUnit)));
  store_be16(fragment + 10, 0);
  const uint16_t checksum = checksum_finish(checksum_partial(fragment, header_bytes));
  std::memcpy(fragment + 10, &checksum, sizeof checksum);
  done_ += payload;
  return {fragment, header_bytes + payload};
}

}  // namespace culvert::net
