#include "net/tcp.h"

#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"

namespace culvert::net {

bool clamp_mss(uint8_t* tcp, size_t length, uint16_t maximum) {
  if (length < kTcpHeaderBytes || (tcp[kTcpFlagsOffset] & kTcpSyn) == 0) return false;
  const size_t end = tcp_header_bytes(tcp);
  if (end > length) return false;
  size_t at = kTcpHeaderBytes;
  while (at + 1 < end) {
    const uint8_t kind = tcp[at];
    if (kind == 0) return false;  // end of option list
    if (kind == 1) {              // no-operation
      at++;
      continue;
    }
    const size_t size = tcp[at + 1];
    if (size < 2 || at + size > end) return false;
    if (kind == 2 && size == 4) {
      const uint16_t value = load_be16(tcp + at + 2);
      if (value <= maximum) return false;
      // RFC 1624: HC' = ~(~HC + ~m + m'). The option may begin at an odd offset; then the value's bytes stand in the
      // other halves of the checksum's words, and swapping them is all the difference.
      const uint16_t before = at % 2 == 0 ? value : __builtin_bswap16(value);
      const uint16_t after = at % 2 == 0 ? maximum : __builtin_bswap16(maximum);
      uint32_t sum = static_cast<uint16_t>(~load_be16(tcp + 16));
      sum += static_cast<uint16_t>(~before);
      sum += after;
      sum = (sum & 0xffff) + (sum >> 16);
      sum = (sum & 0xffff) + (sum >> 16);
      store_be16(tcp + 16, static_cast<uint16_t>(~sum));
      store_be16(tcp + at + 2, maximum);
      return true;
    }
    at += size;
  }
  return false;
}

}  // namespace culvert::net
