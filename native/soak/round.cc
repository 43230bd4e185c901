#include "soak/round.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <thread>

#include "soak/books.h"
#include "soak/site.h"
#include "soak/tcp_stream.h"
#include "soak/udp_flows.h"

namespace culvert::soak {
namespace {

using engine::Count;

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
constexpr esp::SaLimits kPacketLimits{.soft_packets = 200, .hard_packets = 400};
constexpr esp::SaLimits kByteLimits{.soft_bytes = 100'000, .hard_bytes = 200'000};
constexpr timespec kRekeyPause{0, 40'000'000};
constexpr timespec kRestPause{0, 20'000'000};
constexpr int kRestTurns = 500;
constexpr unsigned kQuietTurns = 5;

/** Limits of one SA that were reported. */
struct Crossings {
  unsigned soft = 0;
  unsigned hard = 0;
};

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
    close_books();
    if (leaving_) remove_inbound(*leaving_);
    for (LiveSa& sa : live_) {
      remove_outbound(sa);
      remove_inbound(sa);
    }
    for (const auto& site : sites_) expect(site->engine().list_sas().empty(), "an SA is left");
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
    auto outbound = params<esp::OutboundSa::Params>(direction, connection, spi, last);
    if (options_.limits) outbound.limits = connection % 2 == 0 ? kPacketLimits : kByteLimits;
    const auto out = from(direction).engine().install(outbound, addresses(near, far, connection));
    expect(out.ok(), out.error());
    live_.push_back({.direction = direction, .connection = connection, .spi = spi});
  }

  void publish(unsigned direction) {
    std::vector<route::DestinationRoute> routes;
    std::vector<engine::ConnectionPlan> plans;
    const unsigned far = to(direction).end();
    for (unsigned c = 0; c < kConnections; c++) {
      const auto number = static_cast<uint16_t>(c);
      routes.push_back({{inner_address(far, c, Family::ipv4), 32}, number});
      routes.push_back({{inner_address(far, c, Family::ipv6), 128}, number});
      plans.push_back(plan(direction, c));
    }
    auto table = route::RouteTable::create({}, routes);
    expect(table.ok(), table.error());
    if (table.ok()) from(direction).engine().publish(std::move(table).value(), std::move(plans));
  }

  // The newest SA first.
  engine::ConnectionPlan plan(unsigned direction, unsigned connection) {
    engine::ConnectionPlan made{.connection = static_cast<uint16_t>(connection), .outbound = {}};
    const IpAddress peer = outer_address(to(direction).end(), kKinds[connection].outside);
    for (auto sa = live_.rbegin(); sa != live_.rend(); ++sa) {
      if (sa->direction == direction && sa->connection == connection) made.outbound.push_back({sa->spi, peer});
    }
    return made;
  }

  // Make before break: the oldest one that has a successor goes, and its receiving end one turn later.
  void rekey() {
    if (leaving_) remove_inbound(*leaving_);
    leaving_.reset();
    const auto direction = static_cast<unsigned>(random_.below(2));
    const auto connection = static_cast<unsigned>(random_.below(kConnections));
    install(direction, connection);
    from(direction).engine().publish({plan(direction, connection)});
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
      site->engine().drain_events([&](const engine::Event& event, std::span<const uint8_t>) {
        events_++;
        if (event.kind == engine::EventKind::soft_lifetime) crossings_[event.spi].soft++;
        if (event.kind == engine::EventKind::hard_lifetime) crossings_[event.spi].hard++;
      });
  }

  bool balanced() { return books(0).findings().empty() && books(1).findings().empty(); }

  // Until no number moves any more: nothing is held back, and no packet is in any queue. On a busy machine a thread may
  // not run for longer than that: books that do not balance get time.
  void come_to_rest() {
    for (const auto& relay : relays_) relay->calm();
    uint64_t before = 0;
    unsigned quiet = 0;
    for (int turn = 0; turn < kRestTurns && !(quiet >= kQuietTurns && balanced()); turn++) {
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

  Books books(unsigned direction) {
    return {.options = options_,
            .direction = direction,
            .out = numbers_of(from(direction).engine()),
            .in = numbers_of(to(direction).engine()),
            .relay = relays_[direction]->counts(),
            .near = from(direction).kernel_drops(),
            .far = to(direction).kernel_drops(),
            .sent = flows_[direction]->sent(),
            .received = flows_[direction]->received()};
  }

  // Limits hold to the packet however many workers seal, and each crossing is told once.
  void check_limits() {
    unsigned worn_out = 0;
    for (const LiveSa& sa : live_) {
      const IpAddress far = outer_address(to(sa.direction).end(), kKinds[sa.connection].outside);
      const auto out = from(sa.direction).engine().totals(Direction::outbound, sa.spi, far);
      const auto in = to(sa.direction).engine().totals(Direction::inbound, sa.spi, {});
      if (!out || !in) continue;
      const Crossings crossings = crossings_[sa.spi];
      const bool by_packets = sa.connection % 2 == 0;
      worn_out += crossings.hard;
      expect(crossings.soft <= 1 && crossings.hard <= crossings.soft, "a limit's crossing was told twice, or never");
      expect(in->packets <= kPacketLimits.hard_packets || !by_packets, "more packets than the hard limit");
      expect(in->bytes <= kByteLimits.hard_bytes || by_packets, "more bytes than the hard limit");
      expect(out->bytes == in->bytes, "bytes sealed and bytes opened differ");
      if (crossings.hard != 0 && by_packets)
        expect(in->packets == kPacketLimits.hard_packets, "fewer packets than the hard limit");
      // The last run of each worker may not have fitted whole.
      if (crossings.hard != 0 && !by_packets) expect(in->bytes > kByteLimits.soft_bytes, "far from the hard limit");
    }
    expect(worn_out != 0, "no SA reached its limit");
  }

  void close_books() {
    if (options_.limits) check_limits();
    for (unsigned direction = 0; direction < 2; direction++) {
      const Books closed = books(direction);
      const std::vector<std::string> findings = closed.findings();
      report_.findings.insert(report_.findings.end(), findings.begin(), findings.end());
      if (!findings.empty()) report_.findings.push_back(to(direction).kernel_text() + flows_[direction]->describe());
      report_.delivered += closed.in[Count::tun_packets_out];
      report_.inner_bytes += closed.in[Count::tun_bytes_out];
    }
    uint64_t wrong = 0;
    uint64_t carried = 0;
    for (const auto& stream : streams_) {
      wrong += stream->wrong();
      carried += stream->bytes();
    }
    expect(wrong == 0, "TCP delivered bytes that nobody sent");
    expect(streams_.empty() || carried != 0, "TCP carried nothing");
    report_.text = "{\"seed\":" + std::to_string(options_.seed) + ",\"workers\":[" +
                   std::to_string(options_.workers[0]) + "," + std::to_string(options_.workers[1]) +
                   "],\"rekeys\":" + std::to_string(rekeys_) + ",\"events\":" + std::to_string(events_) +
                   ",\"tcpBytes\":" + std::to_string(carried) + ",\"there\":" + books(0).describe() +
                   ",\"back\":" + books(1).describe() + "}";
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
  std::map<uint32_t, Crossings> crossings_;
  std::atomic<bool> stop_senders_{false};
  std::atomic<bool> stop_relay_{false};
  std::atomic<bool> stop_receivers_{false};
};

}  // namespace

RoundReport run_round(const RoundOptions& options) { return Round(options).run(); }

}  // namespace culvert::soak
