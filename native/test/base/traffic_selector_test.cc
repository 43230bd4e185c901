#include "base/traffic_selector.h"

#include "test/check.h"

namespace culvert {
namespace {

IpAddress four(uint32_t number) { return {0, number, Family::ipv4}; }
IpAddress six(uint64_t high, uint64_t low) { return {high, low, Family::ipv6}; }

const TrafficSelector kAny4{four(0), four(0xffffffff)};
const TrafficSelector kAny6{six(0, 0), six(~uint64_t{0}, ~uint64_t{0})};

IpPacket packet(IpAddress source, IpAddress destination, uint8_t protocol = kProtocolTcp, uint16_t source_port = 1000,
                uint16_t destination_port = 2000) {
  IpPacket made{};
  made.source = source;
  made.destination = destination;
  made.protocol = protocol;
  made.source_port = source_port;
  made.destination_port = destination_port;
  made.has_ports = true;
  return made;
}

SelectorSet make(std::vector<TrafficSelector> local, std::vector<TrafficSelector> remote) {
  auto set = SelectorSet::create(local, remote);
  CHECK(set.ok());
  return std::move(set).value();
}

TEST("any to any takes everything of its family and nothing of the other") {
  const SelectorSet set = make({kAny4}, {kAny4});
  CHECK(set.matches_all(Family::ipv4));
  CHECK(!set.matches_all(Family::ipv6));
  CHECK(set.matches(packet(four(1), four(2)), Direction::inbound));
  CHECK(!set.matches(packet(six(0, 1), six(0, 2)), Direction::inbound));
  const SelectorSet both = make({kAny4, kAny6}, {kAny6, kAny4});
  CHECK(both.matches_all(Family::ipv4) && both.matches_all(Family::ipv6));
}

TEST("everything but one protocol or one port is not everything") {
  TrafficSelector tcp = kAny4;
  tcp.protocol = kProtocolTcp;
  CHECK(!make({tcp}, {kAny4}).matches_all(Family::ipv4));
  TrafficSelector ports = kAny4;
  ports.start_port = 1;
  CHECK(!make({kAny4}, {ports}).matches_all(Family::ipv4));
  const TrafficSelector half{four(0), four(0xfffffffe)};
  CHECK(!make({half}, {kAny4}).matches_all(Family::ipv4));
}

TEST("inbound the source is remote, outbound it is local; range ends belong to the range") {
  const TrafficSelector local{four(0x0a010000), four(0x0a01ffff)};
  const TrafficSelector remote{four(0x0a020005), four(0x0a020009)};
  const SelectorSet set = make({local}, {remote});
  CHECK(set.matches(packet(four(0x0a020005), four(0x0a010000)), Direction::inbound));
  CHECK(set.matches(packet(four(0x0a020009), four(0x0a01ffff)), Direction::inbound));
  CHECK(set.matches(packet(four(0x0a010000), four(0x0a020005)), Direction::outbound));
  CHECK(!set.matches(packet(four(0x0a010000), four(0x0a020005)), Direction::inbound));
  CHECK(!set.matches(packet(four(0x0a020004), four(0x0a010000)), Direction::inbound));
  CHECK(!set.matches(packet(four(0x0a02000a), four(0x0a010000)), Direction::inbound));
  CHECK(!set.matches(packet(four(0x0a020005), four(0x0a020000)), Direction::inbound));
}

TEST("IPv6 ranges compare all 128 bits") {
  const SelectorSet set = make({kAny6}, {{six(1, 10), six(2, 20)}});
  const IpAddress here = six(9, 9);
  CHECK(set.matches(packet(six(1, 10), here), Direction::inbound));
  CHECK(set.matches(packet(six(1, ~uint64_t{0}), here), Direction::inbound));
  CHECK(set.matches(packet(six(2, 20), here), Direction::inbound));
  CHECK(!set.matches(packet(six(1, 9), here), Direction::inbound));
  CHECK(!set.matches(packet(six(2, 21), here), Direction::inbound));
}

TEST("protocol and both ports are compared") {
  TrafficSelector web = kAny4;
  web.protocol = kProtocolTcp;
  web.start_port = 80;
  web.end_port = 443;
  const SelectorSet set = make({kAny4}, {web});
  CHECK(set.matches(packet(four(1), four(2), kProtocolTcp, 5, 80), Direction::outbound));
  CHECK(set.matches(packet(four(1), four(2), kProtocolTcp, 443, 5), Direction::inbound));
  CHECK(!set.matches(packet(four(1), four(2), kProtocolTcp, 443, 5), Direction::outbound));
  CHECK(!set.matches(packet(four(1), four(2), kProtocolTcp, 5, 444), Direction::outbound));
  CHECK(!set.matches(packet(four(1), four(2), kProtocolUdp, 5, 80), Direction::outbound));
}

TEST("a packet that hides its ports matches any port and OPAQUE, and no port range (RFC 4301 §7.1)") {
  IpPacket fragment = packet(four(1), four(2), kProtocolUdp, 0, 0);
  fragment.has_ports = false;
  fragment.is_later_fragment = true;
  TrafficSelector udp = kAny4;
  udp.protocol = kProtocolUdp;
  CHECK(make({kAny4}, {udp}).matches(fragment, Direction::inbound));
  TrafficSelector zero = udp;
  zero.end_port = 0;
  CHECK(!make({kAny4}, {zero}).matches(fragment, Direction::inbound));
  TrafficSelector opaque = udp;
  opaque.start_port = 65535;
  opaque.end_port = 0;
  CHECK(make({kAny4}, {opaque}).matches(fragment, Direction::inbound));
  CHECK(!make({kAny4}, {opaque}).matches(packet(four(1), four(2), kProtocolUdp), Direction::inbound));
}

TEST("each list is searched for itself") {
  const TrafficSelector first{four(10), four(19)};
  const TrafficSelector second{four(30), four(39)};
  const SelectorSet set = make({first, second}, {first, second});
  CHECK(set.matches(packet(four(10), four(39)), Direction::inbound));
  CHECK(set.matches(packet(four(35), four(15)), Direction::inbound));
  CHECK(!set.matches(packet(four(25), four(15)), Direction::inbound));
}

TEST("impossible selectors are refused with a reason") {
  const TrafficSelector reversed{four(2), four(1)};
  const TrafficSelector mixed{four(2), six(0, 3)};
  TrafficSelector ports = kAny4;
  ports.start_port = 2;
  ports.end_port = 1;
  const std::vector<TrafficSelector> any{kAny4};
  for (const TrafficSelector& bad : {reversed, mixed, ports}) {
    const std::vector<TrafficSelector> list{kAny4, bad};
    CHECK(!SelectorSet::create(any, list).ok());
    CHECK(!SelectorSet::create(list, any).error().empty());
  }
  CHECK(!SelectorSet::create(any, {}).ok());
  CHECK(!SelectorSet::create({}, any).ok());
}

}  // namespace
}  // namespace culvert
