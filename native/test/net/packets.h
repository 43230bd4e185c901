// Packets for tests, with checksums computed the slow, obvious way (RFC 1071), independent of the code under test.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_order.h"
#include "base/ip.h"
#include "net/tcp.h"

namespace culvert::test {

using Bytes = std::vector<uint8_t>;

/** One's complement sum of big-endian words, folded, not complemented. */
inline uint16_t naive_sum(std::span<const uint8_t> bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); i++) {
    sum += i % 2 == 0 ? static_cast<uint32_t>(bytes[i]) << 8 : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

struct FlowSpec {
  Family family = Family::ipv4;
  bool tcp = true;
  uint16_t source_port = 40000;
  uint16_t destination_port = 443;
  uint32_t sequence = 1000;
  uint32_t acknowledgment = 77;
  uint8_t flags = net::kTcpAck;
  uint16_t window = 501;
  uint16_t id = 1;
  bool dont_fragment = true;
  uint8_t traffic_class = 0;
  uint8_t hops = 63;
  size_t option_bytes = 12;  // TCP: a timestamp option
  uint32_t timestamp = 9;
};

inline size_t ip_bytes(const FlowSpec& flow) { return flow.family == Family::ipv4 ? 20 : 40; }
inline size_t header_bytes(const FlowSpec& flow) { return ip_bytes(flow) + (flow.tcp ? 20 + flow.option_bytes : 8); }

/** Sum of the pseudo-header for what the packet says of itself. */
inline uint16_t naive_pseudo_sum(std::span<const uint8_t> packet) {
  const bool ipv4 = packet[0] >> 4 == 4;
  const size_t ip = ipv4 ? 20 : 40;
  Bytes pseudo;
  if (ipv4) {
    pseudo.assign(packet.begin() + 12, packet.begin() + 20);
  } else {
    pseudo.assign(packet.begin() + 8, packet.begin() + 40);
  }
  const size_t length = packet.size() - ip;
  for (const unsigned shift : {24u, 16u, 8u, 0u}) pseudo.push_back(static_cast<uint8_t>(length >> shift));
  for (const uint8_t byte : {uint8_t{0}, uint8_t{0}, uint8_t{0}, packet[ipv4 ? 9u : 6u]}) pseudo.push_back(byte);
  return naive_sum(pseudo);
}

/** Writes both checksums of an IPv4 or IPv6 packet with TCP or UDP. */
inline void finish_checksums(Bytes& packet) {
  const bool ipv4 = packet[0] >> 4 == 4;
  const size_t ip = ipv4 ? 20 : 40;
  if (ipv4) {
    store_be16(&packet[10], 0);
    store_be16(&packet[10], static_cast<uint16_t>(~naive_sum({packet.data(), 20})));
  }
  const bool tcp = packet[ipv4 ? 9u : 6u] == kProtocolTcp;
  uint8_t* field = &packet[ip + (tcp ? 16 : 6)];
  store_be16(field, 0);
  const uint16_t sum = naive_sum({packet.data() + ip, packet.size() - ip}, naive_pseudo_sum(packet));
  const uint16_t checksum = static_cast<uint16_t>(~sum);
  store_be16(field, checksum == 0 && !tcp ? 0xffff : checksum);
}

/** True when the IPv4 header's and the transport's checksum are right. */
inline bool checksums_are_right(std::span<const uint8_t> packet) {
  const bool ipv4 = packet[0] >> 4 == 4;
  const size_t ip = ipv4 ? 20 : 40;
  if (ipv4 && naive_sum(packet.first(20)) != 0xffff) return false;
  return naive_sum(packet.subspan(ip), naive_pseudo_sum(packet)) == 0xffff;
}

inline Bytes make_packet(const FlowSpec& flow, std::span<const uint8_t> payload) {
  const size_t ip = ip_bytes(flow);
  Bytes packet(header_bytes(flow) + payload.size());
  uint8_t* transport = packet.data() + ip;
  if (flow.family == Family::ipv4) {
    packet[0] = 0x45;
    packet[1] = flow.traffic_class;
    store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
    store_be16(&packet[4], flow.id);
    store_be16(&packet[6], flow.dont_fragment ? 0x4000 : 0);
    packet[8] = flow.hops;
    packet[9] = flow.tcp ? kProtocolTcp : kProtocolUdp;
    store_be32(&packet[12], 0x0a010002);
    store_be32(&packet[16], 0x0a020002);
  } else {
    store_be32(&packet[0], 0x60000000u | static_cast<uint32_t>(flow.traffic_class) << 20 | 0x12345);
    store_be16(&packet[4], static_cast<uint16_t>(packet.size() - 40));
    packet[6] = flow.tcp ? kProtocolTcp : kProtocolUdp;
    packet[7] = flow.hops;
    store_be64(&packet[8], 0xfd00000100000000);
    store_be64(&packet[16], 2);
    store_be64(&packet[24], 0xfd00000200000000);
    store_be64(&packet[32], 2);
  }
  store_be16(transport, flow.source_port);
  store_be16(transport + 2, flow.destination_port);
  if (flow.tcp) {
    store_be32(transport + 4, flow.sequence);
    store_be32(transport + 8, flow.acknowledgment);
    transport[12] = static_cast<uint8_t>((20 + flow.option_bytes) / 4 << 4);
    transport[13] = flow.flags;
    store_be16(transport + 14, flow.window);
    for (size_t i = 0; i < flow.option_bytes; i++) transport[20 + i] = 1;
    if (flow.option_bytes >= 12) {
      transport[22] = 8;
      transport[23] = 10;
      store_be32(transport + 24, flow.timestamp);
      store_be32(transport + 28, 5);
    }
  } else {
    store_be16(transport + 4, static_cast<uint16_t>(8 + payload.size()));
  }
  std::copy(payload.begin(), payload.end(), packet.begin() + static_cast<ptrdiff_t>(header_bytes(flow)));
  finish_checksums(packet);
  return packet;
}

}  // namespace culvert::test
