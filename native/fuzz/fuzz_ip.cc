// Fuzzes the IP header parser and the selectors: nothing is read outside the packet, and what is reported lies inside
// it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/ip.h"
#include "base/traffic_selector.h"

namespace {

using namespace culvert;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_ip: %s\n", what);
  std::abort();
}

const SelectorSet& selectors() {
  static const SelectorSet set = [] {
    const TrafficSelector local[] = {{{0, 0, Family::ipv4}, {0, 0x7fffffff, Family::ipv4}, 0, 1023, kProtocolUdp},
                                     {{0, 0, Family::ipv6}, {1, 0, Family::ipv6}, 65535, 0, 0}};
    const TrafficSelector remote[] = {{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}}};
    auto made = SelectorSet::create(local, remote);
    require(made.ok(), "selectors");
    return std::move(made).value();
  }();
  return set;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[size]);
  if (size != 0) std::memcpy(exact.get(), data, size);
  IpPacket packet;
  const Drop drop = parse_ip({exact.get(), size}, packet);
  if (drop != Drop::none) return 0;
  require(packet.total_length <= size, "total length");
  require(packet.transport_offset <= packet.total_length, "transport offset");
  require(!packet.is_later_fragment || !packet.has_ports, "ports of a later fragment");
  require(ip_total_length(exact.get(), size, exact[0] >> 4) == packet.total_length, "two opinions on the length");
  const bool inbound = selectors().matches(packet, Direction::inbound);
  require(!inbound || packet.source.family == Family::ipv4, "a selector of the other family matched");
  return 0;
}
