// Thread: any. ICMP that the tunnel itself sends: "too big" to inner sources, echo requests of health checks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/ip.h"

namespace culvert::net {

/** Longest packet that the builders here write. */
inline constexpr size_t kMaxIcmpBytes = 1280;

/**
 * Fragmentation needed (RFC 1191 §4) or Packet Too Big (RFC 4443 §3.2) for `packet`, which is `ip`, to its source;
 * `mtu` is what the tunnel carries. The error comes from the packet's destination: an address of our own would be
 * refused by the kernel as martian when it arrives on the TUN device. Length written to `to` (kMaxIcmpBytes), or 0
 * when RFC 1122 §3.2.2 or RFC 4443 §2.4 forbid an error about this packet.
 */
size_t build_too_big(std::span<const uint8_t> packet, const IpPacket& ip, uint32_t mtu, uint8_t* to);

/** An echo request; both addresses of one family. Length written to `to` (kMaxIcmpBytes). */
size_t build_echo_request(const IpAddress& source, const IpAddress& destination, uint16_t id, uint16_t sequence,
                          uint8_t* to);

/** An echo reply and what it says. */
struct EchoReply {
  uint16_t id;
  uint16_t sequence;
};
/** True when the packet, which is `ip`, is an unfragmented echo reply. */
bool read_echo_reply(std::span<const uint8_t> packet, const IpPacket& ip, EchoReply& reply);

}  // namespace culvert::net
