// MSS clamping, ECN and ICMP: small changes to headers, each checked against a packet built from scratch.
#include <array>
#include <cstring>

#include "base/checksum.h"
#include "net/ecn.h"
#include "net/icmp.h"
#include "net/probe.h"
#include "net/tcp.h"
#include "test/check.h"
#include "test/net/packets.h"

namespace culvert::test {
namespace {

Bytes make_syn(const Bytes& options, Family family = Family::ipv4, uint8_t flags = net::kTcpSyn) {
  FlowSpec flow;
  flow.family = family;
  flow.flags = flags;
  flow.option_bytes = options.size();
  Bytes packet = make_packet(flow, {});
  std::copy(options.begin(), options.end(), packet.begin() + static_cast<ptrdiff_t>(ip_bytes(flow) + 20));
  finish_checksums(packet);
  return packet;
}

TEST("lowers the MSS of a SYN and keeps its checksum right, wherever the option stands") {
  const std::vector<Bytes> all = {
      {2, 4, 0x05, 0xb4},
      {1, 2, 4, 0x05, 0xb4, 1, 1, 0},  // at an odd offset
      {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 2, 4, 0x23, 0x00},
      {3, 3, 7, 2, 4, 0xff, 0xff, 0},
  };
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    for (const Bytes& options : all) {
      for (const uint16_t maximum : {uint16_t{536}, uint16_t{1382}, uint16_t{1}}) {
        Bytes packet = make_syn(options, family);
        const size_t ip = family == Family::ipv4 ? 20 : 40;
        CHECK(net::clamp_mss(packet.data() + ip, packet.size() - ip, maximum));
        CHECK(checksums_are_right(packet));
        const Bytes again = packet;
        CHECK(!net::clamp_mss(packet.data() + ip, packet.size() - ip, maximum));
        CHECK(packet == again);
      }
    }
  }
}

TEST("leaves alone what is no SYN, has no MSS, a small one, or broken options") {
  const auto clamps = [](const Bytes& options, uint8_t flags) {
    Bytes packet = make_syn(options, Family::ipv4, flags);
    const Bytes before = packet;
    const bool changed = net::clamp_mss(packet.data() + 20, packet.size() - 20, 1000);
    return changed || packet != before;
  };
  CHECK(clamps({2, 4, 5, 0xb4}, net::kTcpSyn | net::kTcpAck));
  CHECK(!clamps({2, 4, 5, 0xb4}, net::kTcpAck));
  CHECK(!clamps({2, 4, 3, 0xe8}, net::kTcpSyn));
  CHECK(!clamps({}, net::kTcpSyn));
  CHECK(!clamps({0, 0, 2, 4}, net::kTcpSyn));
  CHECK(!clamps({2, 0, 0, 0}, net::kTcpSyn));
  CHECK(!clamps({2, 1, 5, 0xb4}, net::kTcpSyn));
  CHECK(!clamps({1, 1, 2, 4}, net::kTcpSyn));
  CHECK(!clamps({2, 3, 5, 0xb4}, net::kTcpSyn));
  uint8_t tiny[19] = {};
  tiny[13] = net::kTcpSyn;
  CHECK(!net::clamp_mss(tiny, sizeof tiny, 1000));
}

TEST("combines inner and outer ECN as RFC 6040 §4.2 figure 4 says") {
  // Rows: inner Not-ECT, ECT(0), ECT(1), CE. Columns: outer Not-ECT, ECT(0), ECT(1), CE. 0xff: dropped.
  struct Row {
    uint8_t inner;
    std::array<uint8_t, 4> outcome;
  };
  const std::array<uint8_t, 4> outer = {0, 2, 1, 3};
  const Row rows[] = {{0, {0, 0, 0, 0xff}}, {2, {2, 2, 1, 3}}, {1, {1, 1, 1, 3}}, {3, {3, 3, 3, 3}}};
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    for (const Row& row : rows) {
      for (size_t i = 0; i < outer.size(); i++) {
        FlowSpec flow;
        flow.family = family;
        flow.traffic_class = static_cast<uint8_t>(0xb8 | row.inner);
        Bytes packet = make_packet(flow, {});
        const Drop drop = net::decapsulate_ecn(static_cast<uint8_t>(0x28 | outer[i]), packet.data());
        if (row.outcome[i] == 0xff) {
          CHECK_EQ(drop, Drop::ecn_not_supported);
          continue;
        }
        CHECK_EQ(drop, Drop::none);
        flow.traffic_class = static_cast<uint8_t>(0xb8 | row.outcome[i]);
        CHECK(packet == make_packet(flow, {}));
      }
    }
  }
}

TEST("answers an oversized packet with the ICMP error of its family, quoting it") {
  Random random(1);
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    FlowSpec flow;
    flow.family = family;
    const Bytes packet = make_packet(flow, random.bytes(1400));
    IpPacket ip;
    REQUIRE(parse_ip(packet, ip) == Drop::none);
    uint8_t error[net::kMaxIcmpBytes];
    const size_t length = net::build_too_big(packet, ip, 1390, error);
    IpPacket parsed;
    REQUIRE(parse_ip({error, length}, parsed) == Drop::none);
    CHECK(parsed.source == ip.destination && parsed.destination == ip.source);
    CHECK_EQ(parsed.total_length, length);
    const uint8_t* icmp = error + parsed.transport_offset;
    if (family == Family::ipv4) {
      CHECK_EQ(length, 576u);  // RFC 1812 §4.3.2.3
      CHECK_EQ(icmp[0], 3);
      CHECK_EQ(icmp[1], 4);
      CHECK_EQ(load_be16(icmp + 6), 1390);
      CHECK_EQ(naive_sum({error, 20}), 0xffff);
      CHECK_EQ(naive_sum({icmp, length - 20}), 0xffff);
    } else {
      CHECK_EQ(length, 1280u);  // RFC 4443 §2.4(c)
      CHECK_EQ(icmp[0], 2);
      CHECK_EQ(load_be32(icmp + 4), 1390u);
      CHECK(checksums_are_right({error, length}));
    }
    CHECK(std::memcmp(icmp + 8, packet.data(), length - parsed.transport_offset - 8) == 0);
  }
}

TEST("sends no ICMP error about an ICMP error, a multicast or a later fragment") {
  Random random(2);
  uint8_t error[net::kMaxIcmpBytes];
  const auto answered = [&](auto change) {
    Bytes packet = make_packet({}, random.bytes(1400));
    change(packet);
    IpPacket ip;
    CHECK_EQ(parse_ip(packet, ip), Drop::none);
    return net::build_too_big(packet, ip, 1000, error) != 0;
  };
  CHECK(answered([](Bytes&) {}));
  CHECK(!answered([](Bytes& p) { store_be16(&p[6], 100); }));
  CHECK(!answered([](Bytes& p) { p[16] = 224; }));
  CHECK(!answered([](Bytes& p) { store_be32(&p[16], 0xffffffff); }));
  CHECK(!answered([](Bytes& p) { store_be32(&p[12], 0); }));
  CHECK(!answered([](Bytes& p) {
    p[9] = kProtocolIcmp;
    p[20] = 3;
  }));
  CHECK(answered([](Bytes& p) {
    p[9] = kProtocolIcmp;
    p[20] = 8;
  }));
}

TEST("builds echo requests whose replies it recognises") {
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    const IpAddress a = family == Family::ipv4 ? IpAddress{0, 0x0a010001, family} : IpAddress{0xfd00u, 1, family};
    const IpAddress b = family == Family::ipv4 ? IpAddress{0, 0x0a020001, family} : IpAddress{0xfd00u, 2, family};
    uint8_t packet[net::kMaxIcmpBytes];
    const size_t length = net::build_echo_request(a, b, 0x1234, 7, packet);
    IpPacket ip;
    REQUIRE(parse_ip({packet, length}, ip) == Drop::none);
    CHECK(ip.source == a && ip.destination == b);
    net::EchoReply reply{};
    CHECK(!net::read_echo_reply({packet, length}, ip, reply));
    if (family == Family::ipv4) {
      CHECK_EQ(naive_sum({packet, 20}), 0xffff);
      CHECK_EQ(naive_sum({packet + 20, length - 20}), 0xffff);
    } else {
      CHECK(checksums_are_right({packet, length}));
    }
    packet[ip.transport_offset] = family == Family::ipv4 ? 0 : 129;
    REQUIRE(net::read_echo_reply({packet, length}, ip, reply));
    CHECK_EQ(reply.id, 0x1234);
    CHECK_EQ(reply.sequence, 7);
    ip.is_fragment = true;
    CHECK(!net::read_echo_reply({packet, length}, ip, reply));
  }
}

// An error from some router about a packet of ours, as the raw socket hands it over.
Bytes too_big_error(Family family, uint8_t protocol, uint16_t source_port, uint32_t mtu) {
  const bool v4 = family == Family::ipv4;
  const size_t ip = v4 ? 20 : 40;
  Bytes quoted(ip + 8, 0);
  quoted[0] = v4 ? 0x45 : 0x60;
  quoted[v4 ? 9 : 6] = protocol;
  quoted[v4 ? 15 : 23] = 1;  // source: …1
  quoted[v4 ? 19 : 39] = 2;  // destination: …2
  quoted[ip] = static_cast<uint8_t>(source_port >> 8);
  quoted[ip + 1] = static_cast<uint8_t>(source_port);
  Bytes error(v4 ? 20 : 0, 0);
  if (v4) error[0] = 0x45;
  const Bytes icmp = v4 ? Bytes{3, 4, 0, 0, 0, 0, static_cast<uint8_t>(mtu >> 8), static_cast<uint8_t>(mtu)}
                        : Bytes{2, 0, 0, 0, 0, 0, static_cast<uint8_t>(mtu >> 8), static_cast<uint8_t>(mtu)};
  error.insert(error.end(), icmp.begin(), icmp.end());
  error.insert(error.end(), quoted.begin(), quoted.end());
  return error;
}

TEST("reads what an ICMP error claims of a packet of ours, and of no other, whatever is cut off or changed") {
  for (const Family family : {Family::ipv4, Family::ipv6}) {
    const IpAddress local{0, 1, family};
    const IpAddress remote{0, 2, family};
    const uint8_t icmp = family == Family::ipv4 ? 20 : 0;
    for (const Bytes& error : {too_big_error(family, 17, 4500, 1400), too_big_error(family, 50, 0, 1400)}) {
      const auto claim = net::read_too_big(error, local, 4500);
      REQUIRE(claim.has_value());
      CHECK(claim->remote == remote && claim->mtu == 1400);
      CHECK(!net::read_too_big(error, remote, 4500).has_value());
      // The ports, or an SPI, must be there: two bytes of them.
      for (size_t length = 0; length + 6 < error.size(); length++)
        CHECK(!net::read_too_big(std::span(error).first(length), local, 4500).has_value());
      for (const size_t at : {size_t{icmp}, size_t{icmp} + 1, size_t{icmp} + 8}) {
        Bytes changed = error;
        changed[at] ^= 0xff;
        CHECK(!net::read_too_big(changed, local, 4500).has_value());
      }
    }
    CHECK(!net::read_too_big(too_big_error(family, 17, 4501, 1400), local, 4500).has_value());
    CHECK(!net::read_too_big(too_big_error(family, 6, 4500, 1400), local, 4500).has_value());
  }
}

}  // namespace
}  // namespace culvert::test
