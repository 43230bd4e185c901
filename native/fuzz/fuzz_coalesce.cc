// Fuzzes the joining of decrypted packets: no packet is lost, doubled or read past its end, and every superpacket is
// one that the kernel could cut again.
//
// Input: packets of { uint16 length, bytes }; what is not exactly one IP packet is skipped, as ESP would have dropped
// it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "net/coalesce.h"
#include "net/ecn.h"
#include "net/segment.h"

namespace {

using namespace culvert;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_coalesce: %s\n", what);
  std::abort();
}

class Checker final : public net::PacketSink {
 public:
  void write(const net::VnetHeader& header, std::span<iovec> pieces, uint32_t packets) override {
    std::vector<uint8_t> packet;
    for (const iovec& piece : pieces.subspan(1)) {
      const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
      packet.insert(packet.end(), bytes, bytes + piece.iov_len);
    }
    written += packets;
    if (packets == 1) return require(header.gso_type == 0 && header.flags == 0, "one packet goes as it is");
    IpPacket ip;
    require(parse_ip(packet, ip) == Drop::none && ip.total_length == packet.size(), "a superpacket is one IP packet");
    net::Segmenter segmenter;
    require(segmenter.prepare(header, packet, ip) == Drop::none, "a superpacket can be cut");
    require(segmenter.count() == packets, "into as many packets as were joined");
  }

  uint32_t written = 0;
};

void finish_checksums(uint8_t* packet, size_t length) {
  IpPacket ip;
  if (parse_ip({packet, length}, ip) != Drop::none || ip.is_fragment) return;
  const size_t field = ip.transport_offset + (ip.protocol == kProtocolTcp ? 16u : 6u);
  if ((ip.protocol != kProtocolTcp && ip.protocol != kProtocolUdp) || field + 2 > length) return;
  if (ip.source.family == Family::ipv4) {
    std::memset(packet + 10, 0, 2);
    const uint16_t header = checksum_finish(checksum_partial(packet, ip.transport_offset));
    std::memcpy(packet + 10, &header, sizeof header);
  }
  std::memset(packet + field, 0, 2);
  const uint32_t bytes = ip.total_length - ip.transport_offset;
  const uint64_t pseudo = pseudo_header_checksum(ip.source, ip.destination, ip.protocol, bytes);
  uint16_t checksum = checksum_finish(checksum_partial(packet + ip.transport_offset, bytes, pseudo));
  if (checksum == 0) checksum = 0xffff;
  std::memcpy(packet + field, &checksum, sizeof checksum);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Checker sink;
  net::Coalescer coalescer(sink, size % 2 == 0);
  std::vector<std::unique_ptr<uint8_t[]>> packets;
  uint32_t pushed = 0;
  while (size >= 2) {
    const size_t length = load_be16(data) & 0x7fff;
    const bool right_checksums = (data[0] & 0x80) != 0;
    data += 2;
    size -= 2;
    if (length > size) break;
    if (length != 0) {
      packets.emplace_back(new uint8_t[length]);
      uint8_t* packet = packets.back().get();
      std::memcpy(packet, data, length);
      if (ip_total_length(packet, length, packet[0] >> 4 == 4 ? 4 : 6) == length) {
        (void)net::decapsulate_ecn(data[0], packet);
        if (right_checksums) finish_checksums(packet, length);
        coalescer.push(packet, static_cast<uint32_t>(length));
        pushed++;
      }
    }
    data += length;
    size -= length;
  }
  coalescer.flush();
  require(sink.written == pushed, "as many packets come out as went in");
  return 0;
}
