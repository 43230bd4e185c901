#include "engine/engine.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "net/icmp.h"
#include "net/probe.h"
#include "net/setup_error.h"

namespace culvert::engine {
namespace {

constexpr size_t kMaxProbes = 4096;
constexpr uint32_t kTcpAndIpv4Bytes = 40;
constexpr uint32_t kTcpAndIpv6Bytes = 60;
constexpr timespec kPassingPause{0, 20'000};

// IP and UDP headers on the outside.
uint32_t outer_bytes(const SaAddresses& addresses) {
  const size_t ip = addresses.remote.family == Family::ipv4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  return static_cast<uint32_t>(ip + (addresses.udp ? kUdpHeaderBytes : 0));
}

// Worker `index` to the CPU of that place among those that the process may use. A wish: without it the kernel chooses.
void pin(std::thread& thread, unsigned index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int count = CPU_COUNT(&allowed);
  int place = static_cast<int>(index) % (count == 0 ? 1 : count);
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || place-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
    return;
  }
}

uint16_t mss(uint32_t inner_mtu, uint32_t header_bytes) {
  return static_cast<uint16_t>(std::min<uint32_t>(inner_mtu > header_bytes ? inner_mtu - header_bytes : 1, 65535));
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options, Notify notify) {
  if (options.workers < 1 || options.workers > kMaxWorkers)
    return net::setup_error(EINVAL, "workers", "1 to " + std::to_string(kMaxWorkers));
  if (options.addresses.empty()) return net::setup_error(EINVAL, "outer addresses", "name at least one");
  std::unique_ptr<Engine> engine(new Engine(options.workers, options));
  engine->shared_.notify = notify;
  if (auto opened = engine->open_devices(); !opened) return Error{opened.error()};
  if (auto opened = engine->open_sockets(); !opened) return Error{opened.error()};
  engine->swap_in();
  if (auto started = engine->start_workers(); !started) return Error{started.error()};
  return engine;
}

Engine::Engine(unsigned workers, const EngineOptions& options)
    : options_(options), shared_(workers), routes_(std::make_unique<const route::RouteTable>()) {
  shared_.ike_port = options.ike_port;
  shared_.nat_port = options.nat_port;
  shared_.mark = options.mark;
  shared_.busy_poll_ns = uint64_t{1000} * options.busy_poll_us;
  // Where fragments go in a table is nobody's to foresee; a seed that was not drawn would only make that easier.
  if (::getrandom(&shared_.fragment_seed, sizeof shared_.fragment_seed, 0) < 0) shared_.fragment_seed = monotonic_ns();
}

Engine::~Engine() {
  shared_.stopping.store(true);
  for (unsigned i = 0; i < threads_.size(); i++) ::eventfd_write(shared_.worker[i]->wake.get(), 1);
  for (std::thread& thread : threads_) thread.join();
}

Result<Unit> Engine::open_devices() {
  auto tun = net::TunDevice::open({.name = options_.tun_name, .mtu = options_.tun_mtu, .queues = shared_.workers});
  if (!tun) return Error{tun.error()};
  shared_.tun = std::move(tun).value();
  for (auto& worker : shared_.worker) {
    worker->wake = net::Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!worker->wake.valid()) return net::setup_error(errno, "eventfd");
  }
  return Unit{};
}

Result<Unit> Engine::open_sockets() {
  for (const int fd : options_.ike_sockets) {
    auto socket = net::UdpSocket::inherit(fd, options_.mark);
    if (!socket) return Error{socket.error()};
    shared_.inherited.push_back(std::move(socket).value());
  }
  for (const IpAddress& address : options_.addresses) {
    const OuterAddress::Options outer{.address = address,
                                      .ike_port = shared_.inherited.empty() ? options_.ike_port : uint16_t{0},
                                      .nat_port = options_.nat_port,
                                      .mark = options_.mark,
                                      .workers = shared_.workers};
    auto opened = OuterAddress::open(outer);
    if (!opened) return Error{opened.error()};
    shared_.outers.push_back(std::move(opened).value());
  }
  return Unit{};
}

Result<Unit> Engine::start_workers() {
  for (unsigned i = 0; i < shared_.workers; i++) {
    auto worker = Worker::create(shared_, i);
    if (!worker) return Error{worker.error()};
    workers_.push_back(std::move(worker).value());
  }
  // Signals belong to Node's threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 0; i < shared_.workers; i++) {
    threads_.emplace_back([worker = workers_[i].get()] { worker->run(); });
    const std::string name = "culvert-" + std::to_string(i);
    ::pthread_setname_np(threads_.back().native_handle(), name.c_str());
    if (options_.pin_workers) pin(threads_.back(), i);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return Unit{};
}

Capabilities Engine::capabilities() const {
  Capabilities c;
  c.tun = shared_.tun.offloads;
  c.udp_send_runs = true;
  c.udp_receive_runs = true;
  for (const auto& outer : shared_.outers) {
    c.udp_send_runs = c.udp_send_runs && outer->sends_runs.load(std::memory_order_relaxed);
    c.udp_receive_runs = c.udp_receive_runs && outer->nat[0].receives_runs;
  }
  c.crypto = crypto::backend_description(crypto::default_backend());
  if (!c.tun.checksum) c.notices.emplace_back("the TUN driver computes checksums itself: no TUN_F_CSUM");
  if (!c.tun.tcp) c.notices.emplace_back("the TUN driver gives no TCP superpackets: no TUN_F_TSO4");
  if (!c.tun.udp) c.notices.emplace_back("the TUN driver gives no UDP superpackets: TUN_F_USO4 needs Linux 6.2");
  if (!c.udp_send_runs)
    c.notices.emplace_back(
        "each datagram is sent alone: UDP_SEGMENT needs Linux 4.18 and a device with checksum offload");
  if (!c.udp_receive_runs) c.notices.emplace_back("each datagram is received alone: UDP_GRO needs Linux 5.0");
  return c;
}

// --- SAs ---

Result<uint16_t> Engine::outer_of(const SaAddresses& addresses) const {
  if (addresses.local.family != addresses.remote.family)
    return net::setup_error(EINVAL, "SA addresses", "local and remote are of one family");
  if (addresses.udp && addresses.local_port != shared_.nat_port)
    return net::setup_error(EINVAL, "UDP encapsulation from port " + std::to_string(addresses.local_port),
                            "it leaves from the NAT-T port, " + std::to_string(shared_.nat_port));
  for (size_t i = 0; i < shared_.outers.size(); i++) {
    if (shared_.outers[i]->address == addresses.local) return static_cast<uint16_t>(i);
  }
  return net::setup_error(EADDRNOTAVAIL, "SA with local address " + net::to_text(addresses.local),
                          "use one of the gateway's addresses");
}

Result<Unit> Engine::install(const esp::InboundSa::Params& params, const SaAddresses& addresses) {
  if (auto outer = outer_of(addresses); !outer) return Error{outer.error()};
  if (inbound_.contains(params.spi))
    return net::setup_error(EEXIST, "inbound SPI " + std::to_string(params.spi), "SPIs are unique");
  auto sa = esp::InboundSa::create(params);
  if (!sa) return Error{"EINVAL: " + sa.error()};
  const auto at =
      inbound_.emplace(params.spi, Inbound{std::move(sa).value(), std::make_unique<InboundNotes>(), addresses});
  inbound_table_.insert(path_of(params.spi, at.first->second));
  swap_in();
  // The peer may use the SA as soon as it is told of it: no worker may still look it up in an older snapshot then.
  synchronize();
  return Unit{};
}

// The sockets that an outbound SA will need.
Result<Unit> Engine::ready_for(DfPolicy df, const SaAddresses& addresses, OuterAddress& outer) {
  const bool with_df = df != DfPolicy::clear && addresses.udp && addresses.remote.family == Family::ipv4;
  if (!with_df) return Unit{};
  return outer.open_nat_df();
}

Result<Unit> Engine::install(const esp::OutboundSa::Params& params, const SaAddresses& addresses, DfPolicy df) {
  auto outer = outer_of(addresses);
  if (!outer) return Error{outer.error()};
  const OutboundKey key{addresses.remote, params.spi};
  if (outbound_.contains(key))
    return net::setup_error(EEXIST, "outbound SPI " + std::to_string(params.spi) + " to this peer", "SPIs are unique");
  if (auto ready = ready_for(df, addresses, *shared_.outers[outer.value()]); !ready) return Error{ready.error()};
  auto sa = esp::OutboundSa::create(params);
  if (!sa) return Error{"EINVAL: " + sa.error()};
  outbound_.emplace(key, Outbound{std::move(sa).value(), addresses, outer.value(), df});
  // Mostly the plan that names it is still to come, and until then no worker sees it.
  if (planned_spis_.contains(params.spi)) {
    find_paths();
    swap_in();
  }
  return Unit{};
}

std::optional<esp::SaTotals> Engine::remove(Direction direction, uint32_t spi, const IpAddress& remote) {
  // The SA leaves the snapshot first, then the workers, then memory.
  if (direction == Direction::inbound) {
    auto node = inbound_.extract(spi);
    if (node.empty()) return std::nullopt;
    inbound_table_.erase(spi);
    swap_in();
    synchronize();
    return node.mapped().sa->totals();
  }
  auto node = outbound_.extract({remote, spi});
  if (node.empty()) return std::nullopt;
  if (planned_spis_.contains(spi)) {
    find_paths();
    swap_in();
  }
  synchronize();
  return node.mapped().sa->totals();
}

std::optional<esp::SaTotals> Engine::totals(Direction direction, uint32_t spi, const IpAddress& remote) const {
  if (direction == Direction::inbound) {
    const auto found = inbound_.find(spi);
    return found == inbound_.end() ? std::nullopt : std::optional(found->second.sa->totals());
  }
  const auto found = outbound_.find({remote, spi});
  return found == outbound_.end() ? std::nullopt : std::optional(found->second.sa->totals());
}

std::vector<SaView> Engine::list_sas() const {
  std::vector<SaView> views;
  const auto add = [&](Direction direction, const auto& installed) {
    const auto& sa = *installed.sa;
    SaView view{direction, sa.spi(), sa.connection(), installed.addresses, sa.totals(), {}};
    for (size_t i = 0; i < kDropCount; i++) view.drops[i] = sa.drops(static_cast<Drop>(i));
    views.push_back(view);
  };
  for (const auto& [spi, installed] : inbound_) add(Direction::inbound, installed);
  for (const auto& [key, installed] : outbound_) add(Direction::outbound, installed);
  return views;
}

Result<bool> Engine::update(Direction direction, uint32_t spi, const IpAddress& remote, const SaAddresses& addresses) {
  const auto outer = outer_of(addresses);
  if (!outer) return Error{outer.error()};
  if (direction == Direction::inbound) {
    const auto found = inbound_.find(spi);
    if (found == inbound_.end()) return false;
    found->second.addresses = addresses;
    inbound_table_.erase(spi);
    inbound_table_.insert(path_of(spi, found->second));
    swap_in();
    return true;
  }
  const auto found = outbound_.find({remote, spi});
  if (found == outbound_.end()) return false;
  const OutboundKey key{addresses.remote, spi};
  if (key != found->first && outbound_.contains(key))
    return net::setup_error(EEXIST, "outbound SPI " + std::to_string(spi) + " to this peer", "SPIs are unique");
  if (auto ready = ready_for(found->second.df, addresses, *shared_.outers[outer.value()]); !ready)
    return Error{ready.error()};
  // The SA itself stays where it is in memory: workers that read the old snapshot seal with the same counter.
  auto node = outbound_.extract(found);
  node.key() = key;
  node.mapped().addresses = addresses;
  node.mapped().outer = outer.value();
  outbound_.insert(std::move(node));
  for (ConnectionPlan& plan : plan_) {
    for (ConnectionPlan::Sa& sa : plan.outbound) {
      if (sa.spi == spi && sa.remote == remote) sa.remote = addresses.remote;
    }
  }
  find_paths();
  swap_in();
  return true;
}

uint32_t Engine::inner_mtu(uint32_t spi, const IpAddress& remote) const {
  const auto found = outbound_.find({remote, spi});
  return found == outbound_.end() ? 0 : inner_mtu_of(found->second.sa->geometry(), found->second.addresses);
}

uint32_t Engine::path_mtu_of(const SaAddresses& addresses) const {
  return addresses.path_mtu != 0 ? addresses.path_mtu : options_.path_mtu;
}

uint32_t Engine::inner_mtu_of(const esp::EspGeometry& geometry, const SaAddresses& addresses) const {
  const uint32_t outside = outer_bytes(addresses);
  const uint32_t path_mtu = path_mtu_of(addresses);
  if (path_mtu <= outside) return 0;
  return static_cast<uint32_t>(geometry.max_inner(path_mtu - outside));
}

// --- Snapshots ---

void Engine::publish(route::RouteTable routes, std::vector<ConnectionPlan> connections) {
  routes_before_ = std::exchange(routes_, std::make_unique<const route::RouteTable>(std::move(routes)));
  plan_ = std::move(connections);
  take_plan();
}

void Engine::publish(std::vector<ConnectionPlan> changed) {
  for (ConnectionPlan& row : changed) {
    const auto old = std::find_if(plan_.begin(), plan_.end(),
                                  [&](const ConnectionPlan& plan) { return plan.connection == row.connection; });
    if (old != plan_.end()) *old = std::move(row);
  }
  take_plan();
}

void Engine::take_plan() {
  planned_spis_.clear();
  for (const ConnectionPlan& plan : plan_) {
    for (const ConnectionPlan::Sa& sa : plan.outbound) planned_spis_.insert(sa.spi);
  }
  std::erase_if(probes_, [&](const ProbeKey& key) {
    return std::none_of(plan_.begin(), plan_.end(),
                        [&](const ConnectionPlan& plan) { return plan.connection == key.connection; });
  });
  find_paths();
  swap_in();
}

Engine::Outbound* Engine::find_outbound(uint32_t spi, const IpAddress& remote) {
  const auto found = outbound_.find({remote, spi});
  return found == outbound_.end() ? nullptr : &found->second;
}

InboundPath Engine::path_of(uint32_t spi, const Inbound& installed) const {
  const uint32_t mtu = std::min(inner_mtu_of(installed.sa->geometry(), installed.addresses), options_.tun_mtu);
  return {.spi = spi,
          .worker = static_cast<uint16_t>(net::worker_of_spi(spi, shared_.workers)),
          .udp = installed.addresses.udp,
          .mss_ipv4 = mss(mtu, kTcpAndIpv4Bytes),
          .mss_ipv6 = mss(mtu, kTcpAndIpv6Bytes),
          .sa = installed.sa.get(),
          .notes = installed.notes.get(),
          .remote = net::SocketAddress({installed.addresses.remote, installed.addresses.remote_port})};
}

// What is planned and installed, by connection.
void Engine::find_paths() {
  paths_.clear();
  ranges_.clear();
  path_indexes_.begin();
  for (const ConnectionPlan& plan : plan_) {
    if (plan.connection >= ranges_.size()) ranges_.resize(plan.connection + 1u);
    Snapshot::Range& range = ranges_[plan.connection];
    range = {.first = static_cast<uint32_t>(paths_.size())};
    for (const ConnectionPlan::Sa& sa : plan.outbound) {
      const Outbound* installed = find_outbound(sa.spi, sa.remote);
      if (installed == nullptr) continue;
      const SaAddresses& addresses = installed->addresses;
      range.follows_fragments = range.follows_fragments || installed->sa->selectors().needs_first_fragment();
      const uint32_t mtu = inner_mtu_of(installed->sa->geometry(), addresses);
      const uint16_t port = addresses.udp ? addresses.remote_port : uint16_t{0};
      paths_.push_back({.sa = installed->sa.get(),
                        .remote = net::SocketAddress({addresses.remote, port}),
                        .outer = installed->outer,
                        .udp = addresses.udp,
                        .df = addresses.remote.family == Family::ipv4 ? installed->df : DfPolicy::clear,
                        .path_mtu = path_mtu_of(addresses),
                        .inner_mtu = mtu,
                        .mss_ipv4 = mss(std::min(mtu, options_.tun_mtu), kTcpAndIpv4Bytes),
                        .mss_ipv6 = mss(std::min(mtu, options_.tun_mtu), kTcpAndIpv6Bytes)});
    }
    range.count = static_cast<uint32_t>(paths_.size()) - range.first;
    range.index = path_indexes_.of(plan.connection, std::span(paths_).subspan(range.first));
  }
  path_indexes_.end();
}

// Gives the workers a snapshot of everything: plain copies, so that one SA more costs little however many there are.
void Engine::swap_in() {
  auto next = std::make_unique<Snapshot>();
  next->generation = ++generation_;
  next->routes = routes_.get();
  next->probes = probes_;
  next->inbound = inbound_table_;
  next->paths = paths_;
  next->connections = ranges_;

  std::unique_ptr<const Snapshot> before = std::move(snapshot_);
  snapshot_ = std::move(next);
  shared_.current.store(snapshot_.get());
  const uint64_t epoch = shared_.epochs.advance();
  if (before != nullptr)
    retired_.push_back({epoch, std::move(before), path_indexes_.take_dropped(), std::move(routes_before_)});
  reclaim();
}

void Engine::reclaim() {
  std::erase_if(retired_, [&](const Retired& retired) { return shared_.epochs.all_passed(retired.epoch); });
}

// Returns when no worker reads anything older than the current snapshot. Workers pass once per turn of their loop and
// count as passed while they sleep, so this is a matter of microseconds, and of a time slice at worst.
void Engine::synchronize() {
  while (!retired_.empty()) {
    reclaim();
    if (!retired_.empty()) ::nanosleep(&kPassingPause, nullptr);
  }
}

// --- Sending from control ---

Result<Unit> Engine::send_ike(const net::Endpoint& local, const net::Endpoint& remote,
                              std::span<const uint8_t> message) {
  static constexpr uint8_t kNonEspMarker[4] = {};
  iovec pieces[] = {{const_cast<uint8_t*>(kNonEspMarker), sizeof kNonEspMarker},
                    {const_cast<uint8_t*>(message.data()), message.size()}};
  return send_udp(local, remote, std::span(pieces).subspan(local.port == shared_.nat_port ? 0 : 1));
}

Result<Unit> Engine::send_unfragmented(const net::Endpoint& local, const net::Endpoint& remote,
                                       std::span<const uint8_t> message) {
  const std::string what = "path-MTU probe to " + net::to_text(remote.address);
  static constexpr uint8_t kNonEspMarker[4] = {};
  if (local.address.family != remote.address.family)
    return net::setup_error(EINVAL, what, "local and remote are of one family");
  for (const auto& outer : shared_.outers) {
    if (outer->address != local.address) continue;
    const std::span<const uint8_t> marker(kNonEspMarker, local.port == shared_.nat_port ? sizeof kNonEspMarker : 0);
    const int error = net::send_unfragmented(outer->probe.get(), local, remote, marker, message);
    // Too big for our own interface is as lost as too big for another one on the way.
    if (error != 0 && error != EMSGSIZE) return net::setup_error(error, what);
    return Unit{};
  }
  return net::setup_error(EADDRNOTAVAIL, what + " from " + net::to_text(local.address), "use a gateway address");
}

Result<Unit> Engine::send_keepalive(const net::Endpoint& local, const net::Endpoint& remote) {
  static constexpr uint8_t kKeepalive = 0xff;
  iovec piece{const_cast<uint8_t*>(&kKeepalive), sizeof kKeepalive};
  return send_udp(local, remote, {&piece, 1});
}

Result<Unit> Engine::send_udp(const net::Endpoint& local, const net::Endpoint& remote, std::span<iovec> pieces) {
  const std::string what = "IKE message to " + net::to_text(remote.address);
  if (local.address.family != remote.address.family)
    return net::setup_error(EINVAL, what, "local and remote are of one family");
  const bool v4 = local.address.family == Family::ipv4;
  net::SocketAddress to(remote);
  msghdr header{};
  header.msg_name = to.get();
  header.msg_namelen = to.size();
  header.msg_iov = pieces.data();
  header.msg_iovlen = pieces.size();
  alignas(16) uint8_t control[64] = {};

  int fd = -1;
  for (const auto& outer : shared_.outers) {
    if (outer->address != local.address) continue;
    if (local.port == shared_.nat_port) fd = outer->nat[0].fd.get();
    if (local.port == shared_.ike_port && outer->ike.fd.valid()) fd = outer->ike.fd.get();
  }
  if (fd < 0 && local.port == shared_.ike_port) {
    // An inherited socket is bound to the wildcard address: the source is chosen for each datagram.
    for (const net::UdpSocket& socket : shared_.inherited) {
      int family = 0;
      socklen_t size = sizeof family;
      ::getsockopt(socket.fd.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
      if (family == (v4 ? AF_INET : AF_INET6)) fd = socket.fd.get();
    }
    auto* c = reinterpret_cast<cmsghdr*>(control);
    c->cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    c->cmsg_type = v4 ? IP_PKTINFO : IPV6_PKTINFO;
    if (v4) {
      in_pktinfo info{};
      // By way of room for either family: GCC 13 cannot tell that only four bytes are written, and warns.
      uint8_t source[16];
      local.address.store(source);
      std::memcpy(&info.ipi_spec_dst, source, sizeof info.ipi_spec_dst);
      c->cmsg_len = CMSG_LEN(sizeof info);
      std::memcpy(CMSG_DATA(c), &info, sizeof info);
      header.msg_controllen = CMSG_SPACE(sizeof info);
    } else {
      in6_pktinfo info{};
      local.address.store(&info.ipi6_addr);
      c->cmsg_len = CMSG_LEN(sizeof info);
      std::memcpy(CMSG_DATA(c), &info, sizeof info);
      header.msg_controllen = CMSG_SPACE(sizeof info);
    }
    header.msg_control = control;
  }
  if (fd < 0)
    return net::setup_error(EADDRNOTAVAIL,
                            what + " from " + net::to_text(local.address) + " port " + std::to_string(local.port),
                            "use a gateway address and an IKE port");
  if (::sendmsg(fd, &header, 0) < 0) return net::setup_error(errno, what);
  return Unit{};
}

Result<Unit> Engine::send_probe(uint16_t connection, const IpAddress& source, const IpAddress& destination, uint16_t id,
                                uint16_t sequence) {
  const std::string what = "probe of connection " + std::to_string(connection);
  if (source.family != destination.family) return net::setup_error(EINVAL, what, "addresses are of one family");
  const ProbeKey key{source, destination, id, connection};
  if (std::find(probes_.begin(), probes_.end(), key) == probes_.end()) {
    if (probes_.size() == kMaxProbes) return net::setup_error(ENOSPC, what, "too many different probes");
    probes_.push_back(key);
    swap_in();
  }
  alignas(16) uint8_t buffer[esp::kMaxHeadroom + net::kMaxIcmpBytes + esp::kMaxTailroom];
  uint8_t* inner = buffer + esp::kMaxHeadroom;
  const size_t length = net::build_echo_request(source, destination, id, sequence, inner);
  IpPacket ip;
  if (parse_ip({inner, length}, ip) != Drop::none) return net::setup_error(EINVAL, what);
  const OutboundPath* const found = snapshot_->first_path(
      connection, ip, [&ip](const OutboundPath& one) { return one.sa->selectors().matches(ip, Direction::outbound); });
  if (found != nullptr) {
    const OutboundPath& path = *found;
    esp::EncapItem item{};
    item.inner = inner;
    item.inner_length = static_cast<uint32_t>(length);
    item.next_header = source.family == Family::ipv4 ? kProtocolIpv4 : kProtocolIpv6;
    sent_probes_[next_probe_++ % sent_probes_.size()] = {key, sequence, monotonic_ns()};
    esp::encap_run(*path.sa, {&item, 1});
    if (item.drop != Drop::none)
      return net::setup_error(EKEYEXPIRED, what, std::string(kDropNames[static_cast<size_t>(item.drop)]));
    const OuterAddress& outer = *shared_.outers[path.outer];
    net::Outgoing outgoing{.data = item.esp,
                           .length = item.esp_length,
                           .segment = item.esp_length,
                           .to = &path.remote,
                           .traffic_class = 0,
                           .failed = 0};
    const int fd = path.udp ? outer.nat[0].fd.get() : outer.esp[0].get();
    const net::SendReport report = sender_.send(fd, {&outgoing, 1}, false);
    if (report.sent != 1) return net::setup_error(EHOSTUNREACH, what);
    return Unit{};
  }
  return net::setup_error(ENOTCONN, what, "it has no SA for these addresses");
}

// --- Counters and events ---

void Engine::read_counters(std::span<uint64_t> into) const {
  size_t at = 0;
  for (const auto& worker : shared_.worker) {
    for (const Counter& counter : worker->counters.counts) {
      if (at < into.size()) into[at++] = counter.read();
    }
    for (const Counter& counter : worker->counters.drops) {
      if (at < into.size()) into[at++] = counter.read();
    }
  }
}

void Engine::collect_events() {
  for (const auto& worker : shared_.worker) {
    worker->events.drain([&](Event event, std::span<const uint8_t> data) {
      if (event.kind == EventKind::probe_reply) {
        // Only the answer to a request that is remembered, and only the first one.
        const ProbeKey key{event.local.address, event.remote.address, event.id, event.connection};
        const auto sent = std::find_if(sent_probes_.begin(), sent_probes_.end(), [&](const SentProbe& probe) {
          return probe.at_ns != 0 && probe.sequence == event.sequence && probe.key == key;
        });
        if (sent == sent_probes_.end()) return;
        event.round_trip_us = static_cast<uint32_t>((event.stamp_ns - sent->at_ns) / 1000);
        sent->at_ns = 0;
      }
      queued_.push_back({event, queued_bytes_.size(), data.size()});
      queued_bytes_.insert(queued_bytes_.end(), data.begin(), data.end());
    });
  }
  std::stable_sort(queued_.begin(), queued_.end(),
                   [](const QueuedEvent& a, const QueuedEvent& b) { return a.event.stamp_ns < b.event.stamp_ns; });
}

}  // namespace culvert::engine
