// A superpacket is cut into exactly the packets that a sender without offloads would have sent.
#include "net/segment.h"

#include <algorithm>

#include "test/check.h"
#include "test/net/packets.h"

namespace culvert::test {
namespace {

using net::Segmenter;
using net::VnetHeader;

// What the kernel hands over: one header, pseudo-header sum in the checksum field, `gso_size` bytes for each segment.
Bytes make_superpacket(const FlowSpec& flow, std::span<const uint8_t> payload) {
  Bytes packet = make_packet(flow, payload);
  const size_t field = ip_bytes(flow) + (flow.tcp ? 16 : 6);
  store_be16(&packet[field], naive_pseudo_sum(packet));
  return packet;
}

VnetHeader gso_header(const FlowSpec& flow, uint16_t gso_size) {
  VnetHeader header;
  header.flags = VnetHeader::kNeedsChecksum;
  header.gso_type = !flow.tcp                     ? VnetHeader::kGsoUdp
                    : flow.family == Family::ipv4 ? VnetHeader::kGsoTcp4
                                                  : VnetHeader::kGsoTcp6;
  header.gso_size = gso_size;
  header.header_length = static_cast<uint16_t>(header_bytes(flow));
  header.checksum_start = static_cast<uint16_t>(ip_bytes(flow));
  header.checksum_offset = flow.tcp ? 16 : 6;
  return header;
}

std::vector<Bytes> cut(const VnetHeader& header, const Bytes& packet) {
  IpPacket ip;
  Segmenter segmenter;
  if (!CHECK_EQ(parse_ip(packet, ip), Drop::none)) return {};
  if (!CHECK_EQ(segmenter.prepare(header, packet, ip), Drop::none)) return {};
  const size_t stride = segmenter.segment_length() + 37;  // ESP's overhead, odd on purpose
  Bytes out(stride * segmenter.count());
  const uint32_t first = segmenter.count() / 2;
  segmenter.emit(0, first, out.data(), stride);
  segmenter.emit(first, segmenter.count() - first, out.data() + first * stride, stride);
  std::vector<Bytes> packets;
  for (uint32_t i = 0; i < segmenter.count(); i++) {
    const auto at = out.begin() + static_cast<ptrdiff_t>(i * stride);
    const uint32_t length = i + 1 == segmenter.count() ? segmenter.last_length() : segmenter.segment_length();
    packets.emplace_back(at, at + length);
  }
  return packets;
}

// What a sender without offloads would send.
std::vector<Bytes> expected(const FlowSpec& flow, std::span<const uint8_t> payload, size_t gso_size) {
  std::vector<Bytes> packets;
  for (size_t at = 0; at < payload.size(); at += gso_size) {
    const size_t n = std::min(gso_size, payload.size() - at);
    FlowSpec part = flow;
    part.sequence = flow.sequence + static_cast<uint32_t>(at);
    part.id = static_cast<uint16_t>(flow.id + at / gso_size);
    if (at + n != payload.size()) part.flags &= static_cast<uint8_t>(~(net::kTcpFin | net::kTcpPsh));
    if (at != 0) part.flags &= static_cast<uint8_t>(~net::kTcpCwr);
    packets.push_back(make_packet(part, payload.subspan(at, n)));
  }
  return packets;
}

TEST("cuts TCP and UDP superpackets of both families into what a sender would have sent") {
  Random random(1);
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    for (const bool tcp : {true, false}) {
      for (const size_t payload_bytes : {1u, 1399u, 1400u, 1401u, 2800u, 64000u}) {
        for (const uint16_t gso_size : {uint16_t{1}, uint16_t{536}, uint16_t{1400}, uint16_t{1371}}) {
          if (payload_bytes / gso_size > 4000) continue;
          FlowSpec flow;
          flow.family = family;
          flow.tcp = tcp;
          flow.sequence = static_cast<uint32_t>(random.next());
          flow.id = static_cast<uint16_t>(random.next());
          flow.flags = net::kTcpAck | net::kTcpPsh | net::kTcpFin | net::kTcpCwr | net::kTcpEce;
          flow.option_bytes = random.below(11) * 4;
          const Bytes payload = random.bytes(payload_bytes);
          Note note("payload " + std::to_string(payload_bytes) + " gso " + std::to_string(gso_size));
          const auto packets = cut(gso_header(flow, gso_size), make_superpacket(flow, payload));
          CHECK(packets == expected(flow, payload, gso_size));
        }
      }
    }
  }
}

TEST("completes the checksum of a packet that is not cut") {
  Random random(2);
  for (const bool tcp : {true, false}) {
    for (const size_t payload_bytes : {0u, 1u, 1203u}) {
      FlowSpec flow;
      flow.tcp = tcp;
      const Bytes payload = random.bytes(payload_bytes);
      VnetHeader header = gso_header(flow, 0);
      header.gso_type = VnetHeader::kGsoNone;
      const auto packets = cut(header, make_superpacket(flow, payload));
      REQUIRE(packets.size() == 1);
      CHECK(packets[0] == make_packet(flow, payload));
    }
  }
}

TEST("passes a finished packet through unchanged") {
  Random random(3);
  const Bytes packet = make_packet({}, random.bytes(900));
  const auto packets = cut(VnetHeader{}, packet);
  REQUIRE(packets.size() == 1);
  CHECK(packets[0] == packet);
}

TEST("writes 0xffff where a UDP checksum comes out as zero (RFC 768)") {
  FlowSpec flow;
  flow.tcp = false;
  Bytes payload(4, 0);
  // The last word is chosen so that the sum is 0xffff.
  Bytes probe = make_packet(flow, payload);
  const uint16_t checksum = load_be16(&probe[26]);
  store_be16(&payload[2], checksum);
  VnetHeader header = gso_header(flow, 2);
  const auto packets = cut(header, make_superpacket(flow, payload));
  for (const Bytes& packet : packets) {
    CHECK(checksums_are_right(packet));
    CHECK(load_be16(&packet[26]) != 0);
  }
  header = gso_header(flow, 0);
  header.gso_type = VnetHeader::kGsoNone;
  const auto whole = cut(header, make_superpacket(flow, payload));
  REQUIRE(whole.size() == 1);
  CHECK_EQ(load_be16(&whole[0][26]), 0xffff);
}

TEST("refuses superpackets whose header and packet contradict each other") {
  Random random(4);
  const FlowSpec flow;
  const Bytes packet = make_superpacket(flow, random.bytes(3000));
  IpPacket ip;
  REQUIRE(parse_ip(packet, ip) == Drop::none);
  Segmenter segmenter;
  const auto refused = [&](auto change) {
    VnetHeader header = gso_header(flow, 1000);
    change(header);
    return segmenter.prepare(header, packet, ip) == Drop::malformed;
  };
  CHECK(!refused([](VnetHeader&) {}));
  CHECK(refused([](VnetHeader& h) { h.gso_size = 0; }));
  CHECK(refused([](VnetHeader& h) { h.gso_type = VnetHeader::kGsoUdp; }));
  CHECK(refused([](VnetHeader& h) { h.gso_type = 3; }));  // UFO, which is not asked for
  CHECK(refused([](VnetHeader& h) {
    h.gso_type = 0;
    h.checksum_start = 60000;
  }));
  CHECK(refused([&](VnetHeader& h) {
    h.gso_type = 0;
    h.checksum_start = static_cast<uint16_t>(packet.size() - 1);
  }));
  // A TCP header length that runs out of the packet.
  Bytes short_packet = make_superpacket(flow, {});
  short_packet[32] = 0xf0;
  REQUIRE(parse_ip(short_packet, ip) == Drop::none);
  CHECK_EQ(segmenter.prepare(gso_header(flow, 1000), short_packet, ip), Drop::malformed);
}

}  // namespace
}  // namespace culvert::test
