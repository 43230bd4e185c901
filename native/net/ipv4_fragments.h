// Thread: any. Cuts an IPv4 packet that may be fragmented into the fragments that a router would make of it
// (RFC 791 §3.2), before they enter a tunnel that must not be fragmented itself (RFC 4301 §8.2.1).
#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace culvert::net {

class Ipv4Fragments {
 public:
  /**
   * `packet`: one IPv4 packet with a valid header and without DF, maybe a fragment itself; written to by `next`. `mtu`:
   * bytes of the largest fragment, at least 68.
   */
  Ipv4Fragments(std::span<uint8_t> packet, uint32_t mtu);

  /** The next fragment, with its checksum; empty when there are no more. It overwrites what was handed out before. */
  std::span<uint8_t> next();

 private:
  static constexpr size_t kMaxHeaderBytes = 60;

  std::span<uint8_t> packet_;
  uint32_t mtu_;
  size_t done_ = 0;  // payload bytes handed out
  size_t first_header_bytes_;
  std::array<uint8_t, kMaxHeaderBytes> header_{};  // of the later fragments, which carry fewer options
  size_t header_bytes_;                            // of it
  uint16_t place_;                                 // the packet's own fragment offset, in units of 8 bytes
  bool more_;                                      // the packet's own MF
};

}  // namespace culvert::net
