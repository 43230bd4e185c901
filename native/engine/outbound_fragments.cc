// Fragments on their way to SAs whose selectors name ports or protocols (RFC 4301 §7.3). All fragments of one packet
// are judged by one worker, whichever queue of the TUN device they came to: the kernel moves a flow to another queue
// when the other direction does, maybe between two fragments.
#include "engine/outbound.h"

namespace culvert::engine {
namespace {

// Fragments of other workers that one turn takes before other sources get theirs.
constexpr size_t kHandedBatch = 32;

}  // namespace

// True when the fragment was taken care of: its connection has SAs that ask for more than the fragment itself says.
bool Outbound::take_fragment(std::span<uint8_t> packet, const IpPacket& ip, const Snapshot& snapshot) {
  const uint32_t connection = snapshot.routes->lookup(ip.source, ip.destination);
  if (!snapshot.follows_fragments(connection)) return false;
  Fragment fragment;
  if (const Drop drop = read_fragment(packet, ip, fragment); drop != Drop::none) {
    counters_.drop(drop);
    return true;
  }
  const FragmentKey key = FragmentKey::of(ip, fragment, static_cast<uint16_t>(connection));
  const unsigned judge = static_cast<unsigned>(key.hash(shared_.fragment_seed) % shared_.workers);
  if (judge == worker_) {
    judge_fragment(packet, ip, fragment, key, snapshot);
    return true;
  }
  if (const Drop drop = shared_.worker[judge]->fragments.push(packet.first(ip.total_length), {}, 0, false);
      drop != Drop::none) {
    counters_.drop(drop);
    return true;
  }
  counters_.add(Count::handed_over, 1);
  shared_.wake(judge);
  return true;
}

bool Outbound::run_handed(const Snapshot& snapshot) {
  HandoffRing& ring = shared_.worker[worker_]->fragments;
  size_t taken = 0;
  for (; taken < kHandedBatch; taken++) {
    HandoffRing::Packet* handed = ring.peek(0);
    if (handed == nullptr) break;
    const std::span<uint8_t> packet(handed->data, handed->length);
    // Read again: only bytes were handed over, and the plan may be another one meanwhile.
    IpPacket ip;
    Fragment fragment;
    Drop drop = parse_ip(packet, ip);
    if (drop == Drop::none) drop = read_fragment(packet, ip, fragment);
    if (drop != Drop::none) {
      counters_.drop(drop);
    } else {
      const uint32_t connection = snapshot.routes->lookup(ip.source, ip.destination);
      judge_fragment(packet, ip, fragment, FragmentKey::of(ip, fragment, static_cast<uint16_t>(connection)), snapshot);
    }
    ring.release(1);
  }
  flush();
  return taken == kHandedBatch;
}

void Outbound::expire_fragments() {
  fragments_.expire(reporter_.now_ms(), [this](uint32_t) { counters_.drop(Drop::fragment_orphan); });
}

void Outbound::judge_fragment(std::span<uint8_t> packet, const IpPacket& ip, const Fragment& fragment,
                              const FragmentKey& key, const Snapshot& snapshot) {
  if (ip.is_later_fragment) return judge_later(packet, ip, fragment, key, snapshot);
  if (const Drop drop = fragments_.remember(key, ip, fragment, reporter_.now_ms()); drop != Drop::none)
    return counters_.drop(drop);
  forward(packet, ip, find_path(ip, snapshot), snapshot);
  fragments_.release(key, [&](std::span<uint8_t> waiting, uint32_t) {
    IpPacket later;
    Fragment place;
    Drop drop = parse_ip(waiting, later);
    if (drop == Drop::none) drop = read_fragment(waiting, later, place);
    if (drop != Drop::none) return counters_.drop(drop);
    judge_later(waiting, later, place, key, snapshot);
  });
}

void Outbound::judge_later(std::span<uint8_t> packet, const IpPacket& ip, const Fragment& fragment,
                           const FragmentKey& key, const Snapshot& snapshot) {
  IpPacket whole = ip;
  FragmentTable::Recalled recalled;
  if (const Drop drop = fragments_.recall(key, fragment, reporter_.now_ms(), whole, recalled); drop != Drop::none)
    return counters_.drop(drop);
  const bool known = recalled == FragmentTable::Recalled::known;
  const OutboundPath* refused = nullptr;
  const OutboundPath* const path = snapshot.first_path(key.scope, ip, [&](const OutboundPath& one) {
    const SelectorSet& selectors = one.sa->selectors();
    // As it is: an SA for any port, or one for what hides its ports (RFC 4301 §7.1, §7.2).
    if (selectors.matches(ip, Direction::outbound)) return true;
    if (!(known ? selectors.matches(whole, Direction::outbound) : selectors.may_match(ip, Direction::outbound)))
      return false;
    if (!one.sa->carries_later_fragments() && refused == nullptr) refused = &one;
    return one.sa->carries_later_fragments();
  });
  if (path != nullptr) {
    if (known || path->sa->selectors().matches(ip, Direction::outbound)) return forward(packet, ip, path, snapshot);
    if (!fragments_.hold(key, 0, packet.first(ip.total_length), reporter_.now_ms()))
      counters_.drop(Drop::fragment_orphan);
    return;
  }
  if (refused == nullptr) return forward(packet, whole, nullptr, snapshot);
  refused->sa->note_drop(Drop::fragment_refused);
  counters_.drop(Drop::fragment_refused);
}

// One packet, not a superpacket, as it is.
void Outbound::forward(std::span<uint8_t> packet, const IpPacket& ip, const OutboundPath* path,
                       const Snapshot& snapshot) {
  net::Segmenter segmenter;
  if (const Drop drop = segmenter.prepare(net::VnetHeader{}, packet, ip); drop != Drop::none)
    return counters_.drop(drop);
  send_by(path, segmenter, ip, snapshot);
}

}  // namespace culvert::engine
