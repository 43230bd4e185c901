#include "soak/round.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <thread>

#include "soak/site.h"
#include "soak/tcp_stream.h"
#include "soak/udp_flows.h"

namespace culvert::soak {
namespace {

using engine::Count;
using engine::Engine;

/** What an SA of each connection is made of: one suite of every kind, both encapsulations, both outer families. */
struct ConnectionKind {
  uint16_t encr;
  uint16_t encr_key_bits;
  uint16_t integ;
  size_t key_bytes;
  size_t integrity_key_bytes;
  bool esn;
  bool udp;
  Family outside;
  bool narrow;  // selectors for this connection's hosts alone
};
constexpr ConnectionKind kKinds[kConnections] = {
    {20, 128, 0, 20, 0, false, true, Family::ipv4, false},   // AES-GCM-128
    {20, 256, 0, 36, 0, true, true, Family::ipv4, true},     // AES-GCM-256, ESN
    {12, 128, 2, 16, 20, false, true, Family::ipv4, true},   // AES-CBC-128 with HMAC-SHA1-96
    {12, 256, 12, 32, 32, true, false, Family::ipv4, true},  // AES-CBC-256 with HMAC-SHA2-256, ESN, protocol 50
    {28, 256, 0, 36, 0, true, true, Family::ipv6, true},     // ChaCha20-Poly1305, ESN, IPv6 outside
    {13, 128, 12, 20, 32, false, true, Family::ipv6, true},  // AES-CTR-128 with HMAC-SHA2-256
    {20, 128, 0, 20, 0, true, false, Family::ipv6, false},   // AES-GCM-128, ESN, protocol 50 over IPv6
    {3, 192, 1, 24, 16, false, true, Family::ipv4, true},    // 3DES with HMAC-MD5-96
};
constexpr uint32_t kReplayWindow = 4096;
constexpr timespec kRekeyPause{0, 40'000'000};
constexpr timespec kRestPause{0, 20'000'000};
constexpr int kRestTurns = 500;
constexpr unsigned kQuietTurns = 5;

struct Numbers {
  std::vector<uint64_t> row = std::vector<uint64_t>(Engine::counter_row());
  uint64_t operator[](Count count) const { return row[static_cast<size_t>(count)]; }
  uint64_t operator[](Drop drop) const { return row[engine::kCounterCount + static_cast<size_t>(drop)]; }
};

Numbers numbers_of(const Engine& engine) {
  std::vector<uint64_t> all(Engine::counter_row() * engine.workers());
  engine.read_counters(all);
  Numbers sum;
  for (size_t i = 0; i < all.size(); i++) sum.row[i % Engine::counter_row()] += all[i];
  return sum;
}

// Which drops belong to which half. `lifetime` could be either: no SA here has one.
constexpr Drop kOutbound[] = {Drop::no_route,    Drop::no_sa,      Drop::not_ip,
                              Drop::malformed,   Drop::too_big,    Drop::sequence_exhausted,
                              Drop::ttl_expired, Drop::send_failed};
// What can become of a packet that the path damaged, repeated, delayed beyond its SA's life, or did nothing to.
constexpr Drop kDamage[] = {
    Drop::truncated,     Drop::unknown_spi, Drop::replayed,  Drop::sequence_zero,       Drop::bad_icv,
    Drop::bad_alignment, Drop::bad_ike,     Drop::keepalive, Drop::wrong_encapsulation, Drop::ecn_not_supported};
// Ours, not the path's.
constexpr Drop kOwn[] = {Drop::handoff_full, Drop::tun_write_failed};
// A packet that gets as far as any of these has passed its integrity check although nobody sealed it so.
constexpr Drop kForged[] = {Drop::bad_padding, Drop::bad_next_header,   Drop::dummy,
                            Drop::bad_inner,   Drop::selector_mismatch, Drop::lifetime};

uint64_t total(const Numbers& numbers, std::span<const Drop> drops) {
  uint64_t sum = 0;
  for (const Drop drop : drops) sum += numbers[drop];
  return sum;
}

struct LiveSa {
  unsigned direction;  // 0: from the first site to the second
  unsigned connection;
  uint32_t spi;
  uint64_t sealed = 0;  // packets, once the sending end is gone
};

class Round {
 public:
  explicit Round(const RoundOptions& options) : options_(options), random_(options.seed) {}

  RoundReport run() {
    if (!set_up()) return std::move(report_);
    std::vector<std::thread> relays;
    for (const auto& relay : relays_) relays.emplace_back([&] { relay->run(stop_relay_); });
    std::vector<std::thread> receivers;
    std::vector<std::thread> senders;
    for (const auto& flows : flows_) {
      receivers.emplace_back([&] { flows->receive(stop_receivers_); });
      senders.emplace_back([&] { flows->send(stop_senders_); });
    }
    for (const auto& stream : streams_) {
      senders.emplace_back([&] { stream->run_caller(stop_senders_); });
      senders.emplace_back([&] { stream->run_listener(stop_senders_); });
    }
    const uint64_t end = engine::monotonic_ns() + static_cast<uint64_t>(options_.seconds * 1e9);
    while (engine::monotonic_ns() < end) {
      if (options_.rekeys) rekey();
      drain_events();
      ::nanosleep(&kRekeyPause, nullptr);
    }
    stop_senders_.store(true);
    for (std::thread& thread : senders) thread.join();
    come_to_rest();
    stop_relay_.store(true);
    for (std::thread& thread : relays) thread.join();
    stop_receivers_.store(true);
    for (std::thread& thread : receivers) thread.join();
    drain_events();
    for (unsigned direction = 0; direction < 2; direction++) close_books(direction);
    if (leaving_) remove_inbound(*leaving_);
    for (LiveSa& sa : live_) {
      remove_outbound(sa);
      remove_inbound(sa);
    }
    for (const auto& site : sites_) expect(site->engine().list_sas().empty(), "an SA is left");
    describe();
    return std::move(report_);
  }

 private:
  Site& from(unsigned direction) { return *sites_[direction]; }
  Site& to(unsigned direction) { return *sites_[1 - direction]; }

  void expect(bool holds, const std::string& what) {
    if (!holds) report_.findings.push_back(what);
  }

  bool set_up() {
    for (unsigned i = 0; i < 2; i++) {
      auto site = Site::open(i + 1, options_.workers[i], {[](void*) {}, nullptr});
      if (!site) {
        report_.findings.push_back(site.error());
        return false;
      }
      sites_.push_back(std::move(site).value());
    }
    for (unsigned direction = 0; direction < 2; direction++) {
      relays_.push_back(std::make_unique<Relay>(from(direction).wire(), to(direction).wire(), options_.weather,
                                                options_.seed * 2 + direction));
      auto flows = UdpFlows::open(from(direction), to(direction), options_.seed * 3 + direction);
      if (!flows) {
        report_.findings.push_back(flows.error());
        return false;
      }
      flows_.push_back(std::move(flows).value());
      for (unsigned c = 0; c < kConnections; c++) install(direction, c);
      publish(direction);
    }
    if (!options_.tcp) return true;
    for (unsigned i = 0; i < 2; i++) {
      const auto connection = static_cast<unsigned>(random_.below(kConnections));
      auto stream = TcpStream::open(from(i), to(i), connection, i == 0 ? Family::ipv4 : Family::ipv6);
      if (!stream) {
        report_.findings.push_back(stream.error());
        return false;
      }
      streams_.push_back(std::move(stream).value());
    }
    return true;
  }

  template <typename Params>
  Params params(unsigned direction, unsigned connection, uint32_t spi, uint64_t last_sequence) {
    const ConnectionKind& kind = kKinds[connection];
    Params p;
    p.spi = spi;
    p.connection = static_cast<uint16_t>(connection);
    p.encr = kind.encr;
    p.encr_key_bits = kind.encr_key_bits;
    p.encr_key = {key_, kind.key_bytes};
    p.integ = kind.integ;
    p.integ_key = {key_ + 1, kind.integrity_key_bytes};
    p.esn = kind.esn;
    p.last_sequence = last_sequence;
    // The near hosts of an inbound SA are those of the receiving site.
    const bool inbound = std::is_same_v<Params, esp::InboundSa::Params>;
    const unsigned near = inbound ? to(direction).end() : from(direction).end();
    const unsigned far = inbound ? from(direction).end() : to(direction).end();
    local_ = selectors(near, connection, kind.narrow);
    remote_ = selectors(far, connection, kind.narrow);
    p.local_selectors = local_;
    p.remote_selectors = remote_;
    return p;
  }

  static std::vector<TrafficSelector> selectors(unsigned end, unsigned connection, bool narrow) {
    if (!narrow)
      return {{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}},
              {{0, 0, Family::ipv6}, {~uint64_t{0}, ~uint64_t{0}, Family::ipv6}}};
    std::vector<TrafficSelector> hosts;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
      const IpAddress host = inner_address(end, connection, family);
      hosts.push_back({host, host});
    }
    return hosts;
  }

  engine::SaAddresses addresses(unsigned near, unsigned far, unsigned connection) const {
    const ConnectionKind& kind = kKinds[connection];
    const uint16_t port = kind.udp ? uint16_t{4500} : uint16_t{0};
    return {.local = outer_address(near, kind.outside),
            .remote = outer_address(far, kind.outside),
            .udp = kind.udp,
            .local_port = port,
            .remote_port = port};
  }

  void install(unsigned direction, unsigned connection) {
    uint32_t spi = 0;
    const auto taken = [&](const LiveSa& sa) { return sa.spi == spi; };
    do {
      spi = static_cast<uint32_t>(0x1000 + random_.below(1u << 30));
    } while (std::any_of(live_.begin(), live_.end(), taken));
    for (uint8_t& byte : key_) byte = static_cast<uint8_t>(random_.next());
    // Half of the extended ones are about to cross 2^32.
    const bool crosses = kKinds[connection].esn && random_.below(2) == 0;
    const uint64_t last = crosses ? 0xffffffff - random_.below(2000) : 0;
    const unsigned near = from(direction).end();
    const unsigned far = to(direction).end();
    auto inbound = params<esp::InboundSa::Params>(direction, connection, spi, last);
    inbound.replay_window = kReplayWindow;
    const auto in = to(direction).engine().install(inbound, addresses(far, near, connection));
    expect(in.ok(), in.error());
    const auto outbound = params<esp::OutboundSa::Params>(direction, connection, spi, last);
    const auto out = from(direction).engine().install(outbound, addresses(near, far, connection));
    expect(out.ok(), out.error());
    live_.push_back({.direction = direction, .connection = connection, .spi = spi});
  }

  // The newest SA of each connection first.
  void publish(unsigned direction) {
    std::vector<route::DestinationRoute> routes;
    std::vector<engine::ConnectionPlan> plans;
    const unsigned far = to(direction).end();
    for (unsigned c = 0; c < kConnections; c++) {
      const auto number = static_cast<uint16_t>(c);
      routes.push_back({{inner_address(far, c, Family::ipv4), 32}, number});
      routes.push_back({{inner_address(far, c, Family::ipv6), 128}, number});
      engine::ConnectionPlan plan{.connection = number, .outbound = {}};
      for (auto sa = live_.rbegin(); sa != live_.rend(); ++sa) {
        if (sa->direction == direction && sa->connection == c)
          plan.outbound.push_back({sa->spi, outer_address(far, kKinds[c].outside)});
      }
      plans.push_back(std::move(plan));
    }
    auto table = route::RouteTable::create({}, routes);
    expect(table.ok() && from(direction).engine().publish(std::move(table).value(), std::move(plans)).ok(), "publish");
  }

  // Make before break: the oldest one that has a successor goes, and its receiving end one turn later.
  void rekey() {
    if (leaving_) remove_inbound(*leaving_);
    leaving_.reset();
    const auto direction = static_cast<unsigned>(random_.below(2));
    const auto connection = static_cast<unsigned>(random_.below(kConnections));
    install(direction, connection);
    publish(direction);
    rekeys_++;
    if (live_.size() <= 2 * kConnections + 8) return;
    const auto has_successor = [&](const LiveSa& old) {
      return std::count_if(live_.begin(), live_.end(), [&](const LiveSa& sa) {
               return sa.direction == old.direction && sa.connection == old.connection;
             }) > 1;
    };
    const auto old = std::find_if(live_.begin(), live_.end(), has_successor);
    leaving_ = *old;
    live_.erase(old);
    remove_outbound(*leaving_);
  }

  void remove_outbound(LiveSa& sa) {
    const IpAddress far = outer_address(to(sa.direction).end(), kKinds[sa.connection].outside);
    const auto out = from(sa.direction).engine().remove(Direction::outbound, sa.spi, far);
    expect(out.has_value(), "an outbound SA was not there to be removed");
    if (out) sa.sealed = out->packets;
  }

  void remove_inbound(const LiveSa& sa) {
    const IpAddress near = outer_address(from(sa.direction).end(), kKinds[sa.connection].outside);
    const auto in = to(sa.direction).engine().remove(Direction::inbound, sa.spi, near);
    expect(in.has_value(), "an inbound SA was not there to be removed");
    if (in) expect(in->packets <= sa.sealed, "more packets were accepted of an SA than were sealed");
  }

  void drain_events() {
    for (const auto& site : sites_)
      site->engine().drain_events([&](const engine::Event&, std::span<const uint8_t>) { events_++; });
  }

  // Until no number moves any more: nothing is held back, and no packet is in any queue.
  void come_to_rest() {
    for (const auto& relay : relays_) relay->calm();
    uint64_t before = 0;
    unsigned quiet = 0;
    for (int turn = 0; turn < kRestTurns && quiet < kQuietTurns; turn++) {
      ::nanosleep(&kRestPause, nullptr);
      drain_events();
      uint64_t now = 0;
      for (unsigned i = 0; i < 2; i++) {
        const Numbers n = numbers_of(sites_[i]->engine());
        for (size_t c = 0; c < n.row.size(); c++) now += c == static_cast<size_t>(Count::sleeps) ? 0 : n.row[c];
        now += relays_[i]->counts().left.read() + relays_[i]->counts().taken.read() + relays_[i]->held() * 1000 +
               flows_[i]->received().datagrams.read();
      }
      quiet = now == before && relays_[0]->held() + relays_[1]->held() == 0 ? quiet + 1 : 0;
      before = now;
    }
    expect(quiet >= kQuietTurns, "the traffic did not come to rest");
  }

  void close_books(unsigned direction) {
    const Numbers out = numbers_of(from(direction).engine());
    const Numbers in = numbers_of(to(direction).engine());
    const RelayCounts& relay = relays_[direction]->counts();
    const KernelDrops near = from(direction).kernel_drops();
    const KernelDrops far = to(direction).kernel_drops();
    const auto equal = [&](uint64_t left, uint64_t right, const std::string& what) {
      if (left == right) return;
      report_.findings.push_back("direction " + std::to_string(direction) + ": " + what + ": " + std::to_string(left) +
                                 " against " + std::to_string(right));
    };
    const auto within = [&](uint64_t value, uint64_t least, uint64_t most, const std::string& what) {
      if (value - least <= most - least && value >= least) return;
      report_.findings.push_back("direction " + std::to_string(direction) + ": " + what + ": " + std::to_string(value) +
                                 " is not within " + std::to_string(least) + " and " + std::to_string(most));
    };

    // Into the tunnel. Superpackets that a device's queue had no room for count as one there.
    equal(out[Count::tun_packets_in], out[Count::esp_packets_out] + total(out, kOutbound), "packets sealed");
    if (!options_.tcp) {
      const uint64_t taken = out[Count::tun_packets_in] - out[Drop::no_route];
      const uint64_t sent = flows_[direction]->sent();
      within(sent - taken, near.tunnel_device, near.tunnel_device * 64,
             "what the hosts sent and the tunnel did not take");
    }
    // Over the path.
    within(out[Count::esp_packets_out] - std::min(relay.taken.read(), out[Count::esp_packets_out]), near.outer_device,
           near.outer_device * 64, "ESP packets that the relay did not get");
    equal(relay.taken.read() + relay.doubled.read(), relay.left.read() + relay.dropped.read() + relay.refused.read(),
          "datagrams in the relay");
    // Out of the path: damaged headers lead packets astray, into the kernel's own drops.
    const uint64_t ike = in[Count::ike_datagrams_in];
    const uint64_t dropped = total(in, kDamage) + total(in, kOwn);
    const uint64_t arrived = in[Count::tun_packets_out] + ike + dropped;
    const uint64_t astray = relay.header_flipped.read() * 2;
    const uint64_t queues = far.outer_sockets;
    within(relay.left.read(), arrived, arrived + astray + queues * 64, "datagrams that left the relay and arrived");
    if (astray == 0 && queues == 0) equal(relay.left.read(), arrived, "datagrams on the far side");
    // Nothing damaged was taken for whole, and nothing was taken twice.
    const uint64_t damaged = relay.flipped.read() + relay.resized.read();
    within(in[Count::tun_packets_out], 1, relay.left.read() - std::min(damaged, relay.left.read()),
           "packets delivered, without those damaged");
    within(total(in, kDamage) + ike, damaged, ~uint64_t{0}, "damage that was found");
    if (damaged > 200)
      within(in[Drop::bad_icv], damaged / 2, damaged * 2 + relay.header_flipped.read() * 2, "ICVs that did not fit");
    equal(total(in, kForged), 0, "packets that passed the integrity check and should not have");
    if (!options_.rekeys && relay.header_flipped.read() == 0)
      within(in[Drop::replayed], relay.doubled.read() * 9 / 10, relay.doubled.read() + damaged, "replays refused");
    within(far.bad_checksums, 0, relay.header_flipped.read(), "bad checksums of UDP and TCP");

    const Received& received = flows_[direction]->received();
    equal(received.wrong.read(), 0, "datagrams with bytes that nobody sent");
    equal(received.twice.read(), 0, "datagrams delivered twice");
    if (!options_.tcp)
      equal(received.datagrams.read() + far.host_sockets, in[Count::tun_packets_out], "datagrams that the hosts got");
    if (options_.weather.delay == 0 && !options_.rekeys && options_.workers[0] + options_.workers[1] == 2)
      equal(received.late.read(), 0, "datagrams overtaken in their flow");
    report_.delivered += in[Count::tun_packets_out];
    report_.inner_bytes += in[Count::tun_bytes_out];
    if (!report_.findings.empty()) report_.findings.push_back(to(direction).kernel_text());
  }

  void describe() {
    std::string& text = report_.text;
    const auto add = [&](const std::string& name, uint64_t n) {
      if (n != 0) text += ",\"" + name + "\":" + std::to_string(n);
    };
    text = "{\"seed\":" + std::to_string(options_.seed) + ",\"workers\":[" + std::to_string(options_.workers[0]) + "," +
           std::to_string(options_.workers[1]) + "]";
    add("rekeys", rekeys_);
    add("events", events_);
    uint64_t wrong_tcp = 0;
    uint64_t tcp_bytes = 0;
    for (const auto& stream : streams_) {
      wrong_tcp += stream->wrong();
      tcp_bytes += stream->bytes();
    }
    expect(wrong_tcp == 0, "TCP delivered bytes that nobody sent");
    expect(streams_.empty() || tcp_bytes != 0, "TCP carried nothing");
    add("tcpBytes", tcp_bytes);
    for (unsigned direction = 0; direction < 2; direction++) {
      const Numbers out = numbers_of(from(direction).engine());
      const Numbers in = numbers_of(to(direction).engine());
      const RelayCounts& relay = relays_[direction]->counts();
      text += ",\"" + std::string(direction == 0 ? "there" : "back") +
              "\":{\"sealed\":" + std::to_string(out[Count::esp_packets_out]);
      add("delivered", in[Count::tun_packets_out]);
      add("udp", flows_[direction]->received().datagrams.read());
      add("late", flows_[direction]->received().late.read());
      add("handedOver", in[Count::handed_over]);
      add("relayTrains", relay.trains.read());
      add("relayOthers", relay.others.read());
      add("relayDropped", relay.dropped.read());
      add("relayDoubled", relay.doubled.read());
      add("relayFlipped", relay.flipped.read());
      add("relayResized", relay.resized.read());
      add("relayHeaderFlipped", relay.header_flipped.read());
      add("relayDelayed", relay.delayed.read());
      add("relayRefused", relay.refused.read());
      const KernelDrops kernel = to(direction).kernel_drops();
      add("kernelOuter", from(direction).kernel_drops().outer_device);
      add("kernelTunnel", from(direction).kernel_drops().tunnel_device);
      add("kernelOuterSockets", kernel.outer_sockets);
      add("kernelHostSockets", kernel.host_sockets);
      for (const auto& drops :
           {std::span<const Drop>(kDamage), std::span<const Drop>(kOwn), std::span<const Drop>(kForged)}) {
        for (const Drop drop : drops) add(std::string(kDropNames[static_cast<size_t>(drop)]), in[drop]);
      }
      for (const Drop drop : kOutbound) add(std::string(kDropNames[static_cast<size_t>(drop)]), out[drop]);
      text += "}";
    }
    text += "}";
  }

  const RoundOptions options_;
  Random random_;
  RoundReport report_;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::unique_ptr<Relay>> relays_;
  std::vector<std::unique_ptr<UdpFlows>> flows_;
  std::vector<std::unique_ptr<TcpStream>> streams_;
  std::deque<LiveSa> live_;
  std::optional<LiveSa> leaving_;
  uint8_t key_[80] = {};
  std::vector<TrafficSelector> local_;
  std::vector<TrafficSelector> remote_;
  uint64_t rekeys_ = 0;
  uint64_t events_ = 0;
  std::atomic<bool> stop_senders_{false};
  std::atomic<bool> stop_relay_{false};
  std::atomic<bool> stop_receivers_{false};
};

}  // namespace

RoundReport run_round(const RoundOptions& options) { return Round(options).run(); }

}  // namespace culvert::soak
