// Two engines in a network namespace of their own, over the loopback device: traffic flows while control installs,
// rekeys, publishes, moves peers and removes. Also what the thread sanitizer is run on.
#include "engine/engine.h"

#include <linux/udp.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "test/check.h"

namespace culvert::test {
namespace {

using engine::ConnectionPlan;
using engine::Count;
using engine::Engine;
using engine::EngineOptions;
using engine::SaAddresses;

constexpr uint32_t kLoopbackA = 0x7f000001;
constexpr uint32_t kLoopbackB = 0x7f000002;
constexpr uint32_t kLoopbackC = 0x7f000003;
constexpr uint32_t kLoopbackD = 0x7f000004;
constexpr uint32_t kInnerA = 0x0a080001;
constexpr uint32_t kInnerNet = 0x0a090000;

IpAddress ipv4(uint32_t address) { return {0, address, Family::ipv4}; }

sockaddr socket_address(uint32_t address, uint16_t port = 0) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  store_be32(&in.sin_addr, address);
  store_be16(&in.sin_port, port);
  sockaddr any;
  std::memcpy(&any, &in, sizeof any);
  return any;
}

void set_name(ifreq& request, const char* name) { std::memcpy(request.ifr_name, name, std::strlen(name) + 1); }

// False when the machine does not allow it. This thread, and those that it starts, are alone then.
bool enter_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) return false;
  net::Fd control(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  set_name(request, "lo");
  request.ifr_flags = IFF_UP;
  return ::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
}

// Everything for 10.9.0.0/16 goes into the device.
bool route_into(const char* device) {
  net::Fd control(::socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  set_name(request, device);
  request.ifr_addr = socket_address(kInnerA);
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) return false;
  rtentry route{};
  std::string name = device;
  route.rt_dst = socket_address(kInnerNet);
  route.rt_genmask = socket_address(0xffff0000);
  route.rt_flags = RTF_UP;
  route.rt_dev = name.data();
  return ::ioctl(control.get(), SIOCADDRT, &route) == 0;
}

Result<std::unique_ptr<Engine>> open_engine(std::vector<uint32_t> own, const char* device, unsigned workers,
                                            std::atomic<uint64_t>& notified, uint32_t busy_poll_us = 0) {
  EngineOptions options;
  options.busy_poll_us = busy_poll_us;
  options.tun_name = device;
  options.workers = workers;
  for (const uint32_t address : own) options.addresses.push_back(ipv4(address));
  return Engine::open(options,
                      {[](void* context) { static_cast<std::atomic<uint64_t>*>(context)->fetch_add(1); }, &notified});
}

template <typename Params>
Params sa_params(uint32_t spi) {
  static const TrafficSelector kAny[] = {{ipv4(0), ipv4(0xffffffff)}};
  static const uint8_t kKey[20] = {1, 2, 3};
  Params params;
  params.spi = spi;
  params.encr = 20;
  params.encr_key_bits = 128;
  params.encr_key = kKey;
  params.local_selectors = kAny;
  params.remote_selectors = kAny;
  return params;
}

SaAddresses addresses(uint32_t local, uint32_t remote, bool udp) {
  return {.local = ipv4(local), .remote = ipv4(remote), .udp = udp, .local_port = 4500, .remote_port = 4500};
}

ConnectionPlan plan_of(std::vector<uint32_t> spis) {
  ConnectionPlan plan{.connection = 0, .outbound = {}};
  for (const uint32_t spi : spis) plan.outbound.push_back({spi, ipv4(kLoopbackB)});
  return plan;
}

bool publish(Engine& engine, std::vector<uint32_t> spis) {
  const route::DestinationRoute all{{ipv4(kInnerNet), 16}, 0};
  auto routes = route::RouteTable::create({}, {&all, 1});
  if (!routes.ok()) return false;
  engine.publish(std::move(routes).value(), {plan_of(std::move(spis))});
  return true;
}

uint64_t sum(const Engine& engine, size_t column) {
  std::vector<uint64_t> numbers(Engine::counter_row() * engine.workers());
  engine.read_counters(numbers);
  uint64_t total = 0;
  for (size_t i = column; i < numbers.size(); i += Engine::counter_row()) total += numbers[i];
  return total;
}
uint64_t counted(const Engine& engine, Count count) { return sum(engine, static_cast<size_t>(count)); }
uint64_t dropped(const Engine& engine, Drop drop) {
  return sum(engine, engine::kCounterCount + static_cast<size_t>(drop));
}

// Datagrams into the tunnel, alone and as superpackets, until told to stop; never more than a few hundred on the way,
// so that no queue overflows however slow the build is. How many were sent.
uint64_t send_traffic(const std::atomic<bool>& stop, const Engine& receiver) {
  net::Fd fd(::socket(AF_INET, SOCK_DGRAM, 0));
  std::vector<uint8_t> payload(20 * 1000, 0x5a);
  uint64_t sent = 0;
  for (uint32_t i = 0; !stop.load(); i++) {
    while (!stop.load() && sent > counted(receiver, Count::tun_packets_out) + 200) std::this_thread::yield();
    const sockaddr to = socket_address(kInnerNet + 1 + i % 16, static_cast<uint16_t>(9 + i % 4));
    const int segment = i % 3 == 0 ? 1000 : 0;
    ::setsockopt(fd.get(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    const size_t bytes = segment != 0 ? payload.size() : 100 + i % 900;
    if (::sendto(fd.get(), payload.data(), bytes, 0, &to, sizeof to) > 0) sent += segment != 0 ? 20 : 1;
  }
  return sent;
}

// Waits until `holds`, at most ten seconds.
template <typename Condition>
bool eventually(Condition holds) {
  const timespec pause{0, 2'000'000};
  for (int i = 0; i < 5000; i++) {
    if (holds()) return true;
    ::nanosleep(&pause, nullptr);
  }
  return false;
}

TEST("engines carry traffic while control changes everything around it") {
  if (!enter_namespace()) SKIP("network namespaces need root");
  for (const bool udp : {true, false}) {
    Note note(udp ? "in UDP" : "protocol 50");
    std::atomic<uint64_t> notified{0};
    auto a = open_engine({kLoopbackA}, "cvta", 2, notified);
    auto b = open_engine({kLoopbackB}, "cvtb", 3, notified, engine::kMaxBusyPollUs);
    if (!a.ok() || !b.ok()) {
      report_failure(__FILE__, __LINE__, a.error() + b.error());
      return;
    }
    Engine& left = *a.value();
    Engine& right = *b.value();
    REQUIRE(route_into("cvta"));

    // Neighbouring SPIs belong to different workers of the receiver.
    const auto install_pair = [&](uint32_t spi) {
      CHECK(right.install(sa_params<esp::InboundSa::Params>(spi), addresses(kLoopbackB, kLoopbackA, udp)).ok());
      CHECK(left.install(sa_params<esp::OutboundSa::Params>(spi), addresses(kLoopbackA, kLoopbackB, udp)).ok());
    };
    install_pair(1000);
    REQUIRE(publish(left, {1000}));

    std::atomic<bool> stop{false};
    uint64_t sent = 0;
    std::thread sender([&] { sent = send_traffic(stop, right); });
    uint64_t lost_by_removal = 0;
    for (uint32_t spi = 1001; spi <= 1040; spi++) {
      // Make before break: inbound, outbound, switch, and only then remove.
      install_pair(spi);
      // With everything or with what differs: the same.
      if (spi % 2 == 0)
        CHECK(publish(left, {spi, spi - 1}));
      else
        left.publish(std::vector<ConnectionPlan>{plan_of({spi, spi - 1})});
      const auto same = addresses(kLoopbackB, kLoopbackA, udp);
      CHECK(!right.update(Direction::inbound, 4242, ipv4(kLoopbackA), same).value());
      CHECK(right.update(Direction::inbound, spi, ipv4(kLoopbackA), same).value());
      const uint64_t before = counted(right, Count::tun_packets_out);
      eventually([&] { return counted(right, Count::tun_packets_out) > before + 50; });
      const auto out = left.remove(Direction::outbound, spi - 1, ipv4(kLoopbackB));
      REQUIRE(out.has_value());
      // What was sealed is on its way or there.
      const auto arrived = [&] { return right.totals(Direction::inbound, spi - 1, {})->packets == out->packets; };
      if (!CHECK(eventually(arrived))) lost_by_removal++;
      CHECK(right.remove(Direction::inbound, spi - 1, ipv4(kLoopbackA)).has_value());
      CHECK(!left.list_sas().empty());
      left.drain_events([](const engine::Event&, std::span<const uint8_t>) {});
      right.drain_events([](const engine::Event&, std::span<const uint8_t>) {});
    }
    stop.store(true);
    sender.join();

    CHECK(sent > 1000);
    CHECK_EQ(lost_by_removal, 0u);
    CHECK(eventually([&] { return counted(left, Count::esp_packets_out) == counted(right, Count::tun_packets_out); }));
    for (size_t i = 1; i < kDropCount; i++) {
      const auto drop = static_cast<Drop>(i);
      if (drop == Drop::link_scope) continue;  // the kernel's own multicast
      Note reason{std::string(kDropNames[i])};
      CHECK_EQ(dropped(left, drop), 0u);
      CHECK_EQ(dropped(right, drop), 0u);
    }
    // Superpackets went both into and out of the tunnel.
    CHECK(counted(left, Count::tun_packets_in) > counted(left, Count::tun_reads));
    CHECK(counted(right, Count::tun_writes) < counted(right, Count::tun_packets_out));
    CHECK(counted(right, Count::esp_receives) > 0);
    // The receiver busy polls, the sender does not.
    CHECK(counted(right, Count::busy_polls) > 0);
    CHECK_EQ(counted(left, Count::busy_polls), 0u);
  }
}

TEST("an SA moves in place, back and forth, and no packet is lost") {
  if (!enter_namespace()) SKIP("network namespaces need root");
  std::atomic<uint64_t> notified{0};
  auto a = open_engine({kLoopbackA, kLoopbackC}, "cvta", 2, notified);
  auto b = open_engine({kLoopbackB, kLoopbackD}, "cvtb", 3, notified);
  if (!a.ok() || !b.ok()) {
    report_failure(__FILE__, __LINE__, a.error() + b.error());
    return;
  }
  Engine& left = *a.value();
  Engine& right = *b.value();
  REQUIRE(route_into("cvta"));
  constexpr uint32_t kSpi = 1000;
  CHECK(right.install(sa_params<esp::InboundSa::Params>(kSpi), addresses(kLoopbackB, kLoopbackA, true)).ok());
  CHECK(left.install(sa_params<esp::OutboundSa::Params>(kSpi), addresses(kLoopbackA, kLoopbackB, true)).ok());
  REQUIRE(publish(left, {kSpi}));

  std::atomic<bool> stop{false};
  uint64_t sent = 0;
  std::thread sender([&] { sent = send_traffic(stop, right); });
  uint32_t from = kLoopbackA;
  uint32_t to = kLoopbackB;
  bool udp = true;
  for (uint32_t i = 0; i < 60; i++) {
    // Every step changes something else: our address, the peer's, the encapsulation, all of them.
    const uint32_t next_from = i % 2 == 0 ? kLoopbackC : kLoopbackA;
    const uint32_t next_to = i % 3 == 0 ? kLoopbackD : kLoopbackB;
    udp = i % 4 < 2;
    CHECK(right.update(Direction::inbound, kSpi, ipv4(from), addresses(next_to, next_from, udp)).value());
    const auto moved = left.update(Direction::outbound, kSpi, ipv4(to), addresses(next_from, next_to, udp));
    CHECK(moved.ok() && moved.value());
    from = next_from;
    to = next_to;
    const uint64_t before = counted(right, Count::tun_packets_out);
    CHECK(eventually([&] { return counted(right, Count::tun_packets_out) > before + 20; }));
    for (const engine::SaView& view : left.list_sas()) {
      CHECK(view.addresses.local == ipv4(from) && view.addresses.remote == ipv4(to));
      CHECK_EQ(view.addresses.udp, udp);
    }
    right.drain_events([](const engine::Event&, std::span<const uint8_t>) {});
    left.drain_events([](const engine::Event&, std::span<const uint8_t>) {});
  }
  stop.store(true);
  sender.join();
  CHECK(sent > 500);
  CHECK(eventually([&] { return counted(left, Count::esp_packets_out) == counted(right, Count::tun_packets_out); }));
  // The one sequence went on: nothing was sealed twice with a number, nothing was refused as a replay.
  CHECK_EQ(dropped(right, Drop::replayed), 0u);
  // What the kernel had no room for on a busy machine is sealed, and counted.
  CHECK(eventually([&] {
    return left.totals(Direction::outbound, kSpi, ipv4(to))->packets ==
           counted(left, Count::esp_packets_out) + dropped(left, Drop::send_failed);
  }));

  // The name follows: under the old address there is nothing, and under the new one it is removed.
  const uint32_t elsewhere = to == kLoopbackB ? kLoopbackD : kLoopbackB;
  CHECK(!left.totals(Direction::outbound, kSpi, ipv4(elsewhere)).has_value());
  CHECK(!left.update(Direction::outbound, kSpi, ipv4(elsewhere), addresses(from, to, true)).value());
  // Never onto another SA, never to what is not ours, never across families.
  CHECK(left.install(sa_params<esp::OutboundSa::Params>(kSpi), addresses(from, elsewhere, true)).ok());
  CHECK(!left.update(Direction::outbound, kSpi, ipv4(to), addresses(from, elsewhere, true)).ok());
  CHECK(!left.update(Direction::outbound, kSpi, ipv4(to), addresses(kLoopbackB, to, true)).ok());
  SaAddresses mixed = addresses(from, to, true);
  mixed.remote = {0, 1, Family::ipv6};
  CHECK(!left.update(Direction::outbound, kSpi, ipv4(to), mixed).ok());
  CHECK(left.remove(Direction::outbound, kSpi, ipv4(to)).has_value());
}

TEST("engines pass IKE messages and count what is no ESP") {
  if (!enter_namespace()) SKIP("network namespaces need root");
  std::atomic<uint64_t> notified{0};
  auto a = open_engine({kLoopbackA}, "cvta", 2, notified);
  auto b = open_engine({kLoopbackB}, "cvtb", 2, notified);
  REQUIRE(a.ok() && b.ok());
  const net::Endpoint from{ipv4(kLoopbackA), 4500};
  const net::Endpoint to{ipv4(kLoopbackB), 4500};
  for (uint32_t i = 0; i < 50; i++) {
    std::vector<uint8_t> message(28 + i * 400, static_cast<uint8_t>(i));
    CHECK(a.value()->send_ike(from, to, message).ok());
  }
  uint32_t received = 0;
  CHECK(eventually([&] {
    b.value()->drain_events([&](const engine::Event& event, std::span<const uint8_t> data) {
      CHECK(event.kind == engine::EventKind::ike && event.remote == from && event.local == to);
      CHECK_EQ(data.size(), 28 + received * 400);
      CHECK(!data.empty() && data[0] == received && data.back() == received);
      received++;
    });
    return received == 50;
  }));
  CHECK(notified > 0);
  CHECK(a.value()->send_keepalive(from, to).ok());
  CHECK(eventually([&] { return dropped(*b.value(), Drop::keepalive) == 1; }));
}

TEST("an engine that cannot open leaves nothing behind") {
  if (!enter_namespace()) SKIP("network namespaces need root");
  std::atomic<uint64_t> notified{0};
  for (int i = 0; i < 3; i++) {
    auto refused = open_engine({0x0a000001}, "cvta", 2, notified);
    CHECK(!refused.ok() && refused.error().starts_with("EADDRNOTAVAIL: "));
  }
  auto opened = open_engine({kLoopbackA}, "cvta", 2, notified);
  REQUIRE(opened.ok());
  auto again = open_engine({kLoopbackA}, "cvtb", 2, notified);
  CHECK(!again.ok() && again.error().starts_with("EADDRINUSE: "));
  opened = Error{"closed"};
  CHECK(open_engine({kLoopbackA}, "cvta", 1, notified).ok());
}

}  // namespace
}  // namespace culvert::test
