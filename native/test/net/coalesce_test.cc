// What is joined can be cut again into exactly the packets that came in, in the order of their flow.
#include "net/coalesce.h"

#include <algorithm>
#include <map>

#include "net/segment.h"
#include "test/check.h"
#include "test/net/packets.h"

namespace culvert::test {
namespace {

using net::Coalescer;
using net::Segmenter;
using net::VnetHeader;

struct Written {
  VnetHeader header;
  Bytes packet;
  uint32_t packets;
};

class Collector final : public net::PacketSink {
 public:
  void write(const VnetHeader& header, std::span<iovec> pieces, uint32_t packets) override {
    Written one{header, {}, packets};
    for (const iovec& piece : pieces.subspan(1)) {
      const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
      one.packet.insert(one.packet.end(), bytes, bytes + piece.iov_len);
    }
    written.push_back(std::move(one));
  }

  // As the kernel would cut it for a wire.
  std::vector<Bytes> cut() const {
    std::vector<Bytes> packets;
    for (const Written& one : written) {
      IpPacket ip;
      Segmenter segmenter;
      if (!CHECK_EQ(parse_ip(one.packet, ip), Drop::none)) return {};
      if (!CHECK_EQ(segmenter.prepare(one.header, one.packet, ip), Drop::none)) return {};
      CHECK_EQ(segmenter.count(), one.packets);
      Bytes out(size_t{segmenter.segment_length()} * segmenter.count());
      segmenter.emit(0, segmenter.count(), out.data(), segmenter.segment_length());
      for (uint32_t i = 0; i < segmenter.count(); i++) {
        const auto at = out.begin() + static_cast<ptrdiff_t>(i * segmenter.segment_length());
        packets.emplace_back(at,
                             at + (i + 1 == segmenter.count() ? segmenter.last_length() : segmenter.segment_length()));
      }
    }
    return packets;
  }

  std::vector<uint32_t> sizes() const {
    std::vector<uint32_t> counts;
    for (const Written& one : written) counts.push_back(one.packets);
    return counts;
  }

  std::vector<Written> written;
};

// Pushes copies, because joining changes headers in place.
Collector push_all(const std::vector<Bytes>& packets, bool join_udp = true) {
  Collector sink;
  Coalescer coalescer(sink, join_udp);
  std::vector<Bytes> copies = packets;
  for (Bytes& packet : copies) coalescer.push(packet.data(), static_cast<uint32_t>(packet.size()));
  coalescer.flush();
  return sink;
}

std::vector<Bytes> tcp_run(FlowSpec flow, size_t count, size_t bytes, Random& random) {
  std::vector<Bytes> packets;
  for (size_t i = 0; i < count; i++) {
    packets.push_back(make_packet(flow, random.bytes(bytes)));
    flow.sequence += static_cast<uint32_t>(bytes);
    flow.id++;
  }
  return packets;
}

bool equal_sizes(const Collector& sink, std::vector<uint32_t> expected) { return sink.sizes() == expected; }

TEST("joins consecutive TCP segments into one write that cuts back into them") {
  Random random(1);
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    FlowSpec flow;
    flow.family = family;
    const auto packets = tcp_run(flow, 40, 1371, random);
    const Collector sink = push_all(packets);
    CHECK(equal_sizes(sink, {40}));
    CHECK(sink.cut() == packets);
  }
}

TEST("joins UDP datagrams of one size, and a shorter one ends the run") {
  Random random(2);
  FlowSpec flow;
  flow.tcp = false;
  flow.dont_fragment = false;
  std::vector<Bytes> packets;
  for (const size_t bytes : {1200u, 1200u, 1200u, 700u, 1200u}) {
    packets.push_back(make_packet(flow, random.bytes(bytes)));
    flow.id++;
  }
  const Collector sink = push_all(packets);
  CHECK(equal_sizes(sink, {4, 1}));
  CHECK(sink.cut() == packets);
  CHECK(equal_sizes(push_all(packets, false), {1, 1, 1, 1, 1}));
}

TEST("never makes a superpacket longer than IP can say or Linux takes") {
  Random random(3);
  const auto tcp = push_all(tcp_run({}, 100, 1400, random));
  for (const Written& one : tcp.written) CHECK(one.packet.size() <= 65535);
  CHECK_EQ(tcp.written[0].packets, 46u);
  FlowSpec flow;
  flow.tcp = false;
  std::vector<Bytes> small;
  for (int i = 0; i < 150; i++) small.push_back(make_packet(flow, random.bytes(64)));
  CHECK(equal_sizes(push_all(small), {64, 64, 22}));
}

TEST("does not join what differs in anything that a receiver would see") {
  Random random(4);
  const Bytes payload = random.bytes(1000);
  FlowSpec first;
  first.dont_fragment = false;
  FlowSpec next = first;
  next.sequence += 1000;
  next.id++;
  const auto joined = [&](auto change) {
    FlowSpec changed = next;
    change(changed);
    const std::vector<Bytes> packets = {make_packet(first, payload), make_packet(changed, payload)};
    const Collector sink = push_all(packets);
    CHECK(sink.cut() == packets);
    return sink.written.size() == 1;
  };
  CHECK(joined([](FlowSpec&) {}));
  CHECK(!joined([](FlowSpec& f) { f.sequence++; }));
  CHECK(!joined([](FlowSpec& f) { f.acknowledgment++; }));
  CHECK(!joined([](FlowSpec& f) { f.window++; }));
  CHECK(!joined([](FlowSpec& f) { f.timestamp++; }));
  CHECK(!joined([](FlowSpec& f) { f.option_bytes = 0; }));
  CHECK(!joined([](FlowSpec& f) { f.traffic_class = 2; }));
  CHECK(!joined([](FlowSpec& f) { f.hops--; }));
  CHECK(!joined([](FlowSpec& f) { f.id++; }));
  CHECK(!joined([](FlowSpec& f) { f.dont_fragment = true; }));
  CHECK(!joined([](FlowSpec& f) { f.source_port++; }));
  CHECK(!joined([](FlowSpec& f) { f.flags |= net::kTcpEce; }));
  for (const uint8_t flag : {net::kTcpFin, net::kTcpSyn, net::kTcpRst, net::kTcpUrg, net::kTcpCwr})
    CHECK(!joined([&](FlowSpec& f) { f.flags |= flag; }));
}

TEST("writes a packet with a wrong checksum alone and as it is") {
  Random random(5);
  for (const size_t wrong : {0u, 1u, 2u}) {
    auto packets = tcp_run({}, 3, 1000, random);
    packets[wrong].back() ^= 1;
    const Collector sink = push_all(packets);
    for (const Written& one : sink.written) {
      const bool is_wrong = one.packet == packets[wrong];
      if (one.packets > 1) CHECK((one.header.flags & VnetHeader::kNeedsChecksum) != 0);
      if (is_wrong) CHECK_EQ(one.header.flags, 0);
    }
    CHECK(std::any_of(sink.written.begin(), sink.written.end(),
                      [&](const Written& one) { return one.packet == packets[wrong]; }));
  }
  // A broken IPv4 header is not repaired either.
  auto packets = tcp_run({}, 2, 1000, random);
  packets[1][8]--;
  CHECK(push_all(packets).written.size() == 2);
  packets = tcp_run({}, 2, 1000, random);
  packets[0][10] ^= 1;
  CHECK(push_all(packets).written.size() == 2);
}

TEST("keeps the order of every flow while flows are interleaved") {
  Random random(6);
  for (int round = 0; round < 200; round++) {
    std::vector<FlowSpec> flows(12);
    for (size_t i = 0; i < flows.size(); i++) {
      flows[i].source_port = static_cast<uint16_t>(1000 + i);
      flows[i].tcp = i % 3 != 0;
      flows[i].family = i % 2 == 0 ? Family::ipv4 : Family::ipv6;
    }
    std::vector<Bytes> packets;
    for (int i = 0; i < 120; i++) {
      FlowSpec& flow = flows[random.below(random.below(10) == 0 ? flows.size() : 3)];
      const size_t bytes = random.below(8) == 0 ? random.below(300) : 300;
      FlowSpec sent = flow;
      if (random.below(15) == 0) sent.flags |= net::kTcpPsh;
      if (random.below(40) == 0) sent.flags |= net::kTcpFin;
      packets.push_back(make_packet(sent, random.bytes(bytes)));
      flow.sequence += static_cast<uint32_t>(random.below(20) == 0 ? bytes + 1 : bytes);
      flow.id++;
    }
    std::map<uint32_t, std::vector<Bytes>> expected;
    std::map<uint32_t, std::vector<Bytes>> found;
    const auto key = [](const Bytes& packet) {
      const size_t ip = packet[0] >> 4 == 4 ? 20 : 40;
      return static_cast<uint32_t>(packet[0]) << 24 | load_be16(&packet[ip]);
    };
    // PSH may move to the end of what it was joined with; everything else stays.
    const auto without_push = [](Bytes packet) {
      const size_t ip = packet[0] >> 4 == 4 ? 20 : 40;
      if (packet[ip == 20 ? 9 : 6] == kProtocolTcp) {
        packet[ip + 13] &= static_cast<uint8_t>(~net::kTcpPsh);
        finish_checksums(packet);
      }
      return packet;
    };
    for (const Bytes& packet : packets) expected[key(packet)].push_back(without_push(packet));
    for (const Bytes& packet : push_all(packets).cut()) found[key(packet)].push_back(without_push(packet));
    if (!CHECK(expected == found)) return;
  }
}

TEST("lets fragments and other protocols pass behind what is held of the same hosts") {
  Random random(7);
  auto packets = tcp_run({}, 2, 500, random);
  Bytes fragment = make_packet({}, random.bytes(100));
  store_be16(&fragment[6], 0x2000);
  store_be16(&fragment[10], 0);
  store_be16(&fragment[10], static_cast<uint16_t>(~naive_sum({fragment.data(), 20})));
  packets.push_back(fragment);
  const Collector sink = push_all(packets);
  CHECK(equal_sizes(sink, {2, 1}));
  CHECK(sink.written.back().packet == fragment);
}

TEST("does not join UDP without a checksum") {
  Random random(8);
  FlowSpec flow;
  flow.tcp = false;
  std::vector<Bytes> packets;
  for (int i = 0; i < 3; i++) {
    packets.push_back(make_packet(flow, random.bytes(100)));
    store_be16(&packets.back()[26], 0);
  }
  CHECK(equal_sizes(push_all(packets), {1, 1, 1}));
}

}  // namespace
}  // namespace culvert::test
