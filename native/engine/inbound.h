// Thread: owning worker. ESP → TUN: receives trains, finds their SA, opens them, joins what comes out, writes it.
//
//   recvmsg (one train) → split → runs of one SA → decap_run → ECN, MSS, probes → Coalescer → one TUN write
#pragma once
#include <array>
#include <memory>
#include <utility>

#include "engine/fragments.h"
#include "engine/reporter.h"
#include "engine/shared.h"
#include "esp/esp.h"
#include "net/coalesce.h"
#include "net/receive.h"

namespace culvert::engine {

class Inbound final : net::PacketSink {
 public:
  Inbound(Shared& shared, unsigned worker, Reporter& reporter, std::unique_ptr<net::ReceiveSlots> slots);

  // Each handles one batch at most; true when there may be more.

  /** The NAT-T socket of outer address `outer`: ESP, IKE behind its marker, keepalives. */
  bool run_nat(const Snapshot& snapshot, size_t outer);
  /** The raw socket of outer address `outer`. */
  bool run_esp(const Snapshot& snapshot, size_t outer);
  /** The IKE socket of outer address `outer`. */
  bool run_ike(size_t outer);
  bool run_inherited(size_t socket);
  bool run_too_big(size_t outer);
  /** ESP packets that other workers received for SAs of this one. */
  bool run_strays(const Snapshot& snapshot);
  /** Packets that the raw sockets have brought since the last call. */
  uint64_t take_raw_count() { return std::exchange(raw_count_, 0); }
  /** True while fragments wait for the first one of their packet: `expire_fragments` wants to be called. */
  bool holds_fragments() const { return fragments_.holds(); }
  void expire_fragments(const Snapshot& snapshot);

 private:
  static constexpr size_t kMaxItems = 256;
  static constexpr unsigned kIkeBatch = 8;

  void take_message(const Snapshot& snapshot, const net::Received& message, const net::Endpoint& local);
  void take_datagram(const Snapshot& snapshot, std::span<uint8_t> datagram, const net::Received& message,
                     const net::Endpoint& local);
  void take_esp(const Snapshot& snapshot, std::span<uint8_t> esp, const net::SocketAddress& from, uint8_t traffic_class,
                bool udp, bool is_stray);
  void take_ike(std::span<const uint8_t> datagram, const net::Endpoint& local, const net::SocketAddress& from);
  void open_run(const Snapshot& snapshot);
  void deliver(const Snapshot& snapshot, esp::DecapItem& item, uint8_t traffic_class);
  void follow_fragment(const Snapshot& snapshot, std::span<uint8_t> packet);
  void deliver_later(std::span<uint8_t> packet, const InboundPath& path, const IpPacket& ip, const Fragment& fragment,
                     const FragmentKey& key);
  void drop_accepted(esp::InboundSa& sa, Drop reason);
  bool is_probe_reply(const Snapshot& snapshot, std::span<const uint8_t> packet);
  void flush();
  void write(const net::VnetHeader& header, std::span<iovec> pieces, uint32_t packets) override;

  Shared& shared_;
  WorkerCounters& counters_;
  Reporter& reporter_;
  net::TunQueue& tun_;
  HandoffRing& strays_;
  const unsigned worker_;
  std::unique_ptr<net::ReceiveSlots> slots_;
  net::Coalescer coalescer_;
  FragmentTable fragments_;
  bool expects_trains_ = false;
  uint64_t raw_count_ = 0;
  // Whose packets wait in the coalescer: one SA's, mostly, or `several_`.
  esp::InboundSa* owner_ = nullptr;
  bool several_ = false;

  // The run that is being gathered: packets of one SA from one peer address.
  const InboundPath* path_ = nullptr;
  net::SocketAddress from_;
  bool moved_ = false;
  size_t item_count_ = 0;
  std::array<esp::DecapItem, kMaxItems> items_;
  std::array<uint8_t, kMaxItems> classes_;
};

}  // namespace culvert::engine
