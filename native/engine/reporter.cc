#include "engine/reporter.h"

#include <sys/eventfd.h>

namespace culvert::engine {

namespace {

/** Collisions cost an event, or delay one by a second, and nothing more. */
uint64_t flow_hash(uint32_t connection, const IpPacket& packet) {
  uint64_t hash = connection;
  for (const uint64_t word : {packet.source.high, packet.source.low, packet.destination.high, packet.destination.low}) {
    hash = (hash ^ word) * uint64_t{0x9e3779b97f4a7c15};
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

void Shared::wake(unsigned index) {
  WorkerShared& other = *worker[index];
  if (other.wake_pending.exchange(true)) return;
  ::eventfd_write(other.wake.get(), 1);
}

void Reporter::push(Event& event, std::span<const uint8_t> data) {
  event.stamp_ns = now_ns_;
  const Drop drop = own_.events.push(event, data);
  if (drop != Drop::none) own_.counters.drop(drop);
  pushed_ = true;
}

void Reporter::flush() {
  if (!pushed_) return;
  pushed_ = false;
  shared_.notify.call(shared_.notify.context);
}

void Reporter::ike(const net::Endpoint& local, const net::Endpoint& remote, std::span<const uint8_t> datagram) {
  Event event;
  event.kind = EventKind::ike;
  event.local = local;
  event.remote = remote;
  own_.counters.add(Count::ike_datagrams_in, 1);
  push(event, datagram);
}

void Reporter::acquire(uint32_t connection, const IpPacket& packet) {
  const uint64_t hash = flow_hash(connection, packet);
  Recent& recent = recent_[hash % recent_.size()];
  if (recent.hash == hash && now_ms() - recent.at_ms < kAcquireIntervalMs) return;
  Allowance& allowance = allowances_[connection % allowances_.size()];
  if (now_ms() - allowance.since_ms >= kAcquireIntervalMs) allowance = {now_ms(), 0};
  if (allowance.used == kAcquiresPerInterval) return;
  allowance.used++;
  recent = {hash, now_ms()};
  Event event;
  event.kind = EventKind::acquire;
  event.connection = static_cast<uint16_t>(connection);
  event.protocol = packet.protocol;
  event.local = {packet.source, packet.source_port};
  event.remote = {packet.destination, packet.destination_port};
  own_.counters.add(Count::acquires, 1);
  push(event);
}

void Reporter::limits(Direction direction, uint32_t spi, const net::SocketAddress& remote, uint8_t crossed) {
  for (const auto& [bit, kind] :
       {std::pair{esp::kSoftLimit, EventKind::soft_lifetime}, std::pair{esp::kHardLimit, EventKind::hard_lifetime}}) {
    if ((crossed & bit) == 0) continue;
    Event event;
    event.kind = kind;
    event.direction = direction;
    event.spi = spi;
    event.remote = remote.endpoint();
    push(event);
  }
}

void Reporter::sa_in_use(const InboundPath& path) {
  Event event;
  event.kind = EventKind::sa_in_use;
  event.spi = path.spi;
  event.remote = path.remote.endpoint();
  push(event);
}

void Reporter::peer_moved(const InboundPath& path, const net::SocketAddress& from) {
  InboundNotes& notes = *path.notes;
  if (notes.moved_at_ms != 0 && notes.moved_to == from && now_ms() - notes.moved_at_ms < kMovedIntervalMs) return;
  notes.moved_to = from;
  notes.moved_at_ms = now_ms();
  Event event;
  event.kind = EventKind::peer_moved;
  event.spi = path.spi;
  event.remote = from.endpoint();
  push(event);
}

void Reporter::probe_reply(const ProbeKey& key, uint16_t sequence) {
  Event event;
  event.kind = EventKind::probe_reply;
  event.connection = key.connection;
  event.id = key.id;
  event.sequence = sequence;
  event.local.address = key.source;
  event.remote.address = key.destination;
  const uint64_t loop_ns = now_ns_;
  now_ns_ = monotonic_ns();  // a round trip is measured to the packet, not to the batch
  push(event);
  now_ns_ = loop_ns;
}

void Reporter::path_mtu(const IpAddress& from, const net::SocketAddress& to) {
  if (last_mtu_ms_ != 0 && now_ms() - last_mtu_ms_ < kMtuIntervalMs) return;
  last_mtu_ms_ = now_ms();
  Event event;
  event.kind = EventKind::path_mtu;
  event.remote = to.endpoint();
  event.mtu = net::path_mtu({from, 0}, event.remote, shared_.mark);
  if (event.mtu != 0) push(event);
}

void Reporter::path_mtu_claimed(const IpAddress& remote, uint32_t mtu) {
  if (now_ms() - claims_since_ms_ >= kMtuIntervalMs) {
    claims_since_ms_ = now_ms();
    claims_ = 0;
  }
  if (claims_ == kClaimsPerInterval) return;
  claims_++;
  Event event;
  event.kind = EventKind::path_mtu;
  event.remote.address = remote;
  event.mtu = mtu;
  push(event);
}

}  // namespace culvert::engine
