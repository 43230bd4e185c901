// Fuzzes encap_run against decap_run, in every suite: whatever the inner bytes are, sealing writes nothing outside the
// datagram's place, measures what the geometry says, never uses a number twice and never one beyond the limits, and
// the other end opens it to the same bytes or refuses them for what they are.
//
// Input: suite, settings, then packets of { uint16 length, bytes }.
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "base/byte_order.h"
#include "base/ip.h"
#include "esp/inbound_sa.h"
#include "esp/outbound_sa.h"
#include "fuzz/suites.h"

namespace {

using namespace culvert;
using fuzz::require;
using fuzz::Suite;

constexpr uint64_t kLast32 = 0xffffffff;
constexpr size_t kMaxPackets = 100;

struct Settings {
  bool esn;
  bool near_end;
  bool narrow;
  uint64_t hard_packets;
  uint64_t hard_bytes;
  explicit Settings(uint8_t byte)
      : esn((byte & 1) != 0),
        near_end((byte & 2) != 0),
        narrow((byte & 4) != 0),
        hard_packets((byte & 8) != 0 ? 5 : 0),
        hard_bytes((byte & 16) != 0 ? 1000 : 0) {}
  /** Near the end of 32 bits, which ends an SA without ESN and is nothing special to one with. */
  uint64_t last_sequence() const { return near_end ? kLast32 - 4 : 0; }
};

struct Packet {
  std::unique_ptr<uint8_t[]> memory;  // headroom, inner packet, tailroom: not one byte more
  std::vector<uint8_t> inner;
};

const TrafficSelector kAny[] = {{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}},
                                {{0, 0, Family::ipv6}, {~uint64_t{0}, ~uint64_t{0}, Family::ipv6}}};
const TrafficSelector kNarrow[] = {{{0, 0, Family::ipv4}, {0, 0x7fffffff, Family::ipv4}, 0, 1023, kProtocolUdp}};

// What the other end has to make of an inner packet.
Drop expected(const std::vector<uint8_t>& inner, const esp::InboundSa& sa, size_t& length) {
  const unsigned version = inner.empty() ? 0 : inner[0] >> 4;
  length = ip_total_length(inner.data(), inner.size(), version == 6 ? 6 : 4);
  if (length == 0) return Drop::bad_inner;
  if (sa.selectors().matches_all(version == 6 ? Family::ipv6 : Family::ipv4)) return Drop::none;
  IpPacket ip;
  if (parse_ip({inner.data(), length}, ip) != Drop::none) return Drop::bad_inner;
  return sa.selectors().matches(ip, Direction::inbound) ? Drop::none : Drop::selector_mismatch;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const Suite& suite = fuzz::suites()[data[0] % fuzz::suites().size()];
  const Settings settings(data[1]);
  data += 2;
  size -= 2;
  std::span<const TrafficSelector> selectors = kAny;
  if (settings.narrow) selectors = kNarrow;
  auto out = fuzz::sa_params<esp::OutboundSa::Params>(suite, settings.esn, kAny, selectors);
  out.last_sequence = settings.last_sequence();
  out.limits.hard_packets = settings.hard_packets;
  out.limits.hard_bytes = settings.hard_bytes;
  auto in = fuzz::sa_params<esp::InboundSa::Params>(suite, settings.esn, selectors, kAny);
  in.last_sequence = settings.last_sequence();
  auto outbound = esp::OutboundSa::create(out);
  auto inbound = esp::InboundSa::create(in);
  require(outbound.ok() && inbound.ok(), "the SAs could not be made");

  std::vector<Packet> packets;
  std::vector<esp::EncapItem> items;
  while (size >= 2 && packets.size() < kMaxPackets) {
    const size_t length = std::min<size_t>(load_be16(data), size - 2);
    Packet packet{std::unique_ptr<uint8_t[]>(new uint8_t[esp::kMaxHeadroom + length + esp::kMaxTailroom]),
                  {data + 2, data + 2 + length}};
    if (length != 0) std::memcpy(packet.memory.get() + esp::kMaxHeadroom, data + 2, length);
    const uint8_t next = length != 0 && data[2] >> 4 == 6 ? kProtocolIpv6 : kProtocolIpv4;
    items.push_back(
        {packet.memory.get() + esp::kMaxHeadroom, static_cast<uint32_t>(length), next, Drop::none, nullptr, 0});
    packets.push_back(std::move(packet));
    data += 2 + length;
    size -= 2 + length;
  }
  esp::encap_run(*outbound.value(), items);

  std::set<uint32_t> numbers;
  uint64_t inner_bytes = 0;
  bool ended = false;
  std::vector<std::unique_ptr<uint8_t[]>> datagrams;
  std::vector<esp::DecapItem> arrived;
  std::vector<size_t> of;
  for (size_t i = 0; i < items.size(); i++) {
    const esp::EncapItem& item = items[i];
    if (item.drop != Drop::none) {
      require(item.drop == Drop::lifetime || item.drop == Drop::sequence_exhausted, "why it was not sealed");
      ended = true;
      continue;
    }
    require(!ended, "sealed behind the end of the run");
    require(item.esp_length == outbound.value()->sealed_size(item.inner_length), "sealed size");
    require(item.esp == item.inner - suite.text_at(), "where the datagram begins");
    require(load_be32(item.esp) == fuzz::kSpi, "SPI");
    require(numbers.insert(load_be32(item.esp + 4)).second, "a number used twice");
    inner_bytes += item.inner_length;
    datagrams.emplace_back(new uint8_t[item.esp_length]);
    std::memcpy(datagrams.back().get(), item.esp, item.esp_length);
    arrived.push_back({datagrams.back().get(), item.esp_length, Drop::none, 0, nullptr, 0});
    of.push_back(i);
  }
  require(settings.hard_packets == 0 || arrived.size() <= settings.hard_packets, "more packets than the limit");
  require(settings.hard_bytes == 0 || inner_bytes <= settings.hard_bytes, "more bytes than the limit");
  require(settings.esn || !settings.near_end || arrived.size() <= 4, "numbers beyond the last");
  require(settings.esn || !numbers.contains(0), "number 0");

  esp::decap_run(*inbound.value(), arrived);
  for (size_t i = 0; i < arrived.size(); i++) {
    const std::vector<uint8_t>& inner = packets[of[i]].inner;
    size_t length = 0;
    const Drop drop = expected(inner, *inbound.value(), length);
    require(arrived[i].drop == drop, "the other end's verdict");
    if (drop != Drop::none) continue;
    require(arrived[i].inner_length == length, "inner length");
    require(std::memcmp(arrived[i].inner, inner.data(), length) == 0, "inner bytes");
  }
  return 0;
}
