// Thread: any. The few TCP header facts (RFC 9293 §3.1) that cutting, joining and clamping need.
#pragma once
#include <cstddef>
#include <cstdint>

namespace culvert::net {

inline constexpr size_t kTcpHeaderBytes = 20;  // without options
inline constexpr size_t kTcpSequenceOffset = 4;
inline constexpr size_t kTcpAcknowledgmentOffset = 8;
inline constexpr size_t kTcpDataOffset = 12;
inline constexpr size_t kTcpFlagsOffset = 13;

inline constexpr uint8_t kTcpFin = 0x01;
inline constexpr uint8_t kTcpSyn = 0x02;
inline constexpr uint8_t kTcpRst = 0x04;
inline constexpr uint8_t kTcpPsh = 0x08;
inline constexpr uint8_t kTcpAck = 0x10;
inline constexpr uint8_t kTcpUrg = 0x20;
inline constexpr uint8_t kTcpEce = 0x40;
inline constexpr uint8_t kTcpCwr = 0x80;

/** What the data offset says, in bytes: 0 to 60. At least kTcpHeaderBytes must be readable. */
inline size_t tcp_header_bytes(const uint8_t* tcp) { return static_cast<size_t>(tcp[kTcpDataOffset] >> 4) * 4; }

/**
 * Lowers the MSS option of a SYN to `maximum` and adjusts the finished checksum (RFC 1624). `tcp`: the header and
 * everything behind it, `length` bytes. True when something was changed.
 */
bool clamp_mss(uint8_t* tcp, size_t length, uint16_t maximum);

}  // namespace culvert::net
