// Thread: control (one thread calls everything here; the workers are inside).
//
// The data plane as one object: opens the kernel's devices and sockets, runs the workers, owns every SA. Forwarding
// state is an immutable snapshot: each change builds the next one and swaps it in, and the old one is freed when all
// workers have passed it.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "engine/event.h"
#include "engine/path_indexes.h"
#include "engine/shared.h"
#include "engine/worker.h"
#include "net/send.h"
#include "route/route_table.h"

namespace culvert::engine {

struct EngineOptions {
  std::string tun_name = "culvert0";
  uint32_t tun_mtu = 1400;
  unsigned workers = 1;  // 1 to kMaxWorkers
  std::vector<IpAddress> addresses;
  uint16_t ike_port = 500;
  uint16_t nat_port = 4500;
  uint32_t mark = 0;
  std::vector<int> ike_sockets;  // bound sockets for the IKE port, passed in; none: the engine binds one per address
  uint32_t path_mtu = 1500;      // of the way to the peers, bytes
  uint32_t busy_poll_us = 0;     // how long a worker that found nothing looks on before it sleeps; 0: not at all
  bool pin_workers = false;      // each to a CPU of its own, of those that the process may use
};

inline constexpr unsigned kMaxWorkers = 256;        // as many as an SPI's low byte can name
inline constexpr unsigned kMaxBusyPollUs = 10'000;  // whoever is idle for longer gives the CPU back

/** Where packets of an SA go to or come from. */
struct SaAddresses {
  IpAddress local;
  IpAddress remote;
  bool udp = false;  // RFC 3948
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint32_t path_mtu = 0;  // bytes of outer packet that the path carries, as found by probes; 0: the engine's own
};

/** The order in which a connection's outbound SAs are asked. */
struct ConnectionPlan {
  struct Sa {
    uint32_t spi;
    IpAddress remote;
  };
  uint16_t connection = 0;
  std::vector<Sa> outbound;
};

/** For an operator: what the kernel granted, and what was done without. */
struct Capabilities {
  net::TunOffloads tun;
  bool udp_send_runs = false;
  bool udp_receive_runs = false;
  std::string crypto;
  std::vector<std::string> notices;  // one sentence for each thing that is missing
};

/** One installed SA as it stands. */
struct SaView {
  Direction direction;
  uint32_t spi;
  uint16_t connection;
  SaAddresses addresses;
  esp::SaTotals totals;
  std::array<uint64_t, kDropCount> drops;
};

class Engine {
 public:
  /** Error messages begin with the errno's name and say what to do. */
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options, Notify notify);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Keys in `params` are copied; SAs are identified by SPI, outbound ones by SPI and the peer's address. When an
  // inbound SA is installed, every worker knows it.
  Result<Unit> install(const esp::InboundSa::Params& params, const SaAddresses& addresses);
  Result<Unit> install(const esp::OutboundSa::Params& params, const SaAddresses& addresses,
                       DfPolicy df = DfPolicy::clear);
  /** Final totals; nothing when there is no such SA. Waits until no worker uses it any more, then wipes its keys. */
  std::optional<esp::SaTotals> remove(Direction direction, uint32_t spi, const IpAddress& remote);
  std::optional<esp::SaTotals> totals(Direction direction, uint32_t spi, const IpAddress& remote) const;

  /** Replaces the whole forwarding state; SAs that it names and that are not installed yet count when they are. */
  void publish(route::RouteTable routes, std::vector<ConnectionPlan> connections);
  /** Replaces the rows of these connections in it, which has a row of each; the rest stays as it is. */
  void publish(std::vector<ConnectionPlan> changed);

  /**
   * Gives an SA other outer addresses, ports or encapsulation in place (RFC 7296 §2.23, RFC 4555 §3.5): key, sequence
   * numbers and replay window stay, and so does its place in the plan, which follows in the same snapshot. `remote` is
   * the peer's address so far. False when there is no such SA.
   */
  Result<bool> update(Direction direction, uint32_t spi, const IpAddress& remote, const SaAddresses& addresses);

  /** Sends an IKE message; behind the non-ESP marker when `local` is the NAT-T port (RFC 3948 §2.2). */
  Result<Unit> send_ike(const net::Endpoint& local, const net::Endpoint& remote, std::span<const uint8_t> message);
  /** The same, as one packet that nobody on the way may fragment: a probe of the path MTU. Lost if it is too big. */
  Result<Unit> send_unfragmented(const net::Endpoint& local, const net::Endpoint& remote,
                                 std::span<const uint8_t> message);
  /** RFC 3948 §2.3: one byte that keeps a NAT's mapping alive. */
  Result<Unit> send_keepalive(const net::Endpoint& local, const net::Endpoint& remote);
  /** An echo request through the connection's own SA, whatever the routes say; the reply becomes an event. */
  Result<Unit> send_probe(uint16_t connection, const IpAddress& source, const IpAddress& destination, uint16_t id,
                          uint16_t sequence);

  /** Every worker's counters, then its drops: `counter_row()` numbers for each worker. */
  void read_counters(std::span<uint64_t> into) const;
  static constexpr size_t counter_row() { return kCounterCount + kDropCount; }
  unsigned workers() const { return shared_.workers; }

  /** Events of all workers in the order in which they happened. The bytes are valid during the call only. */
  template <typename Each>
  void drain_events(Each each);

  std::vector<SaView> list_sas() const;
  /** As of now: what a device refuses later is seen when it does. */
  Capabilities capabilities() const;
  const net::TunDevice& tun() const { return shared_.tun; }
  /** What an inner packet may measure through outbound SA `spi`, bytes; 0 when it is unknown. */
  uint32_t inner_mtu(uint32_t spi, const IpAddress& remote) const;

 private:
  struct Inbound {
    std::unique_ptr<esp::InboundSa> sa;
    std::unique_ptr<InboundNotes> notes;
    SaAddresses addresses;
  };
  struct Outbound {
    std::unique_ptr<esp::OutboundSa> sa;
    SaAddresses addresses;
    uint16_t outer;
    DfPolicy df;
  };
  using OutboundKey = std::pair<IpAddress, uint32_t>;
  struct Retired {
    uint64_t epoch;
    std::unique_ptr<const Snapshot> snapshot;
    // What it, and snapshots before it, refer to.
    PathIndexes::Dropped indexes;
    std::unique_ptr<const route::RouteTable> routes;
  };
  struct SentProbe {
    ProbeKey key;
    uint16_t sequence = 0;
    uint64_t at_ns = 0;
  };
  struct QueuedEvent {
    Event event;
    size_t data_offset;
    size_t data_bytes;
  };

  Engine(unsigned workers, const EngineOptions& options);
  Result<Unit> open_devices();
  Result<Unit> open_sockets();
  Result<Unit> start_workers();
  Result<uint16_t> outer_of(const SaAddresses& addresses) const;
  static Result<Unit> ready_for(DfPolicy df, const SaAddresses& addresses, OuterAddress& outer);
  uint32_t path_mtu_of(const SaAddresses& addresses) const;
  uint32_t inner_mtu_of(const esp::EspGeometry& geometry, const SaAddresses& addresses) const;
  Outbound* find_outbound(uint32_t spi, const IpAddress& remote);
  InboundPath path_of(uint32_t spi, const Inbound& installed) const;
  void take_plan();
  void find_paths();
  void swap_in();
  void reclaim();
  void synchronize();
  void collect_events();
  Result<Unit> send_udp(const net::Endpoint& local, const net::Endpoint& remote, std::span<iovec> pieces);

  EngineOptions options_;
  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;

  std::unordered_map<uint32_t, Inbound> inbound_;
  std::map<OutboundKey, Outbound> outbound_;
  std::unique_ptr<const route::RouteTable> routes_;
  std::unique_ptr<const route::RouteTable> routes_before_;  // until the snapshot that follows it
  std::vector<ConnectionPlan> plan_;
  std::unordered_set<uint32_t> planned_spis_;  // every outbound SPI that the plan names
  std::vector<ProbeKey> probes_;
  // The next snapshot's parts, kept up to date.
  InboundTable inbound_table_;
  std::vector<OutboundPath> paths_;
  std::vector<Snapshot::Range> ranges_;
  PathIndexes path_indexes_;
  std::array<SentProbe, 256> sent_probes_;
  size_t next_probe_ = 0;

  std::unique_ptr<const Snapshot> snapshot_;
  uint64_t generation_ = 0;
  std::vector<Retired> retired_;

  net::Sender sender_;
  std::vector<QueuedEvent> queued_;
  std::vector<uint8_t> queued_bytes_;
};

template <typename Each>
void Engine::drain_events(Each each) {
  collect_events();
  for (const QueuedEvent& queued : queued_)
    each(queued.event, std::span<const uint8_t>(queued_bytes_).subspan(queued.data_offset, queued.data_bytes));
  queued_.clear();
  queued_bytes_.clear();
}

}  // namespace culvert::engine
