// Fragments out of SAs whose selectors name ports or protocols (RFC 4301 §7.3). An SA's packets come to one worker, so
// its table sees them all.
#include "engine/inbound.h"

namespace culvert::engine {

// Judges one fragment that decap_run let pass for now and delivers it, holds it, or counts why not.
void Inbound::follow_fragment(const Snapshot& snapshot, std::span<uint8_t> packet) {
  IpPacket ip;
  Fragment fragment;
  Drop drop = parse_ip(packet, ip);
  if (drop == Drop::none) drop = read_fragment(packet, ip, fragment);
  if (drop != Drop::none) return drop_accepted(*path_->sa, Drop::bad_inner);
  const FragmentKey key = FragmentKey::of(ip, fragment, path_->sa->connection());
  if (ip.is_later_fragment) return deliver_later(packet, *path_, ip, fragment, key);
  if (drop = fragments_.remember(key, ip, fragment, reporter_.now_ms()); drop != Drop::none)
    return drop_accepted(*path_->sa, drop);
  coalescer_.push(packet.data(), static_cast<uint32_t>(packet.size()));
  fragments_.release(key, [&](std::span<uint8_t> waiting, uint32_t spi) {
    const InboundPath* path = snapshot.inbound.find(spi);
    // Read before it was held: it can be read again.
    if (path == nullptr || parse_ip(waiting, ip) != Drop::none || read_fragment(waiting, ip, fragment) != Drop::none)
      return counters_.drop(Drop::fragment_orphan);
    flush();  // what waits there may be another SA's
    owner_ = path->sa;
    deliver_later(waiting, *path, ip, fragment, key);
    flush();  // the bytes are in a place that is used again
    owner_ = path_->sa;
  });
}

void Inbound::deliver_later(std::span<uint8_t> packet, const InboundPath& path, const IpPacket& ip,
                            const Fragment& fragment, const FragmentKey& key) {
  esp::InboundSa& sa = *path.sa;
  IpPacket whole = ip;
  FragmentTable::Recalled recalled;
  if (const Drop drop = fragments_.recall(key, fragment, reporter_.now_ms(), whole, recalled); drop != Drop::none)
    return drop_accepted(sa, drop);
  const bool matches =
      sa.selectors().matches(ip, Direction::inbound) ||
      (recalled == FragmentTable::Recalled::known && sa.selectors().matches(whole, Direction::inbound));
  if (matches) return coalescer_.push(packet.data(), static_cast<uint32_t>(packet.size()));
  if (recalled == FragmentTable::Recalled::known) return drop_accepted(sa, Drop::selector_mismatch);
  if (!fragments_.hold(key, path.spi, packet, reporter_.now_ms())) drop_accepted(sa, Drop::fragment_orphan);
}

void Inbound::expire_fragments(const Snapshot& snapshot) {
  fragments_.expire(reporter_.now_ms(), [&](uint32_t spi) {
    const InboundPath* path = snapshot.inbound.find(spi);
    if (path == nullptr) return counters_.drop(Drop::fragment_orphan);
    drop_accepted(*path->sa, Drop::fragment_orphan);
  });
}

// What decap_run has accepted and counted, and what dies all the same.
void Inbound::drop_accepted(esp::InboundSa& sa, Drop reason) {
  sa.note_drop(reason);
  counters_.drop(reason);
}

}  // namespace culvert::engine
