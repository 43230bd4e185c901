// Fuzzes the cutting of superpackets: whatever the virtio header claims, nothing is read outside the packet or written
// outside the places of the segments, and the segments together hold the payload.
//
// Input: 10 bytes of virtio header, then the packet.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "net/icmp.h"
#include "net/segment.h"
#include "net/tcp.h"

namespace {

using namespace culvert;

constexpr uint32_t kMaxSegments = 300;
constexpr size_t kGap = 37;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_segment: %s\n", what);
  std::abort();
}

void cut(const net::Segmenter& segmenter) {
  const uint32_t count = segmenter.count();
  require(count >= 1 && segmenter.last_length() <= segmenter.segment_length(), "lengths");
  const uint32_t first = count > kMaxSegments ? count - kMaxSegments : 0;
  const size_t stride = segmenter.segment_length() + kGap;
  const size_t bytes = stride * (count - first - 1) + segmenter.last_length();
  const std::unique_ptr<uint8_t[]> out(new uint8_t[bytes]);
  segmenter.emit(first, count - first, out.get(), stride);
  for (uint32_t i = first; i < count; i++) {
    const uint32_t length = i + 1 == count ? segmenter.last_length() : segmenter.segment_length();
    IpPacket ip;
    if (parse_ip({out.get() + (i - first) * stride, length}, ip) == Drop::none)
      require(ip.total_length <= length, "a segment's header claims more than it has");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  net::VnetHeader header;
  if (size < sizeof header || size > 70000) return 0;
  std::memcpy(&header, data, sizeof header);
  const size_t bytes = size - sizeof header;
  const std::unique_ptr<uint8_t[]> packet(new uint8_t[bytes]);
  std::memcpy(packet.get(), data + sizeof header, bytes);

  IpPacket ip;
  if (parse_ip({packet.get(), bytes}, ip) != Drop::none) return 0;
  net::Segmenter segmenter;
  if (segmenter.prepare(header, {packet.get(), bytes}, ip) == Drop::none) cut(segmenter);

  uint8_t error[net::kMaxIcmpBytes];
  require(net::build_too_big({packet.get(), bytes}, ip, 1400, error) <= sizeof error, "ICMP error");
  net::EchoReply reply;
  (void)net::read_echo_reply({packet.get(), bytes}, ip, reply);
  if (ip.protocol == kProtocolTcp && !ip.is_fragment)
    (void)net::clamp_mss(packet.get() + ip.transport_offset, ip.total_length - ip.transport_offset, 1000);
  return 0;
}
