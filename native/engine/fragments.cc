#include "engine/fragments.h"

#include <algorithm>
#include <cstring>

namespace culvert::engine {
namespace {

// RFC 4301 §7.2, RFC 1858 §3.2.2: no fragment of TCP begins where the flags are.
constexpr uint32_t kLeastTcpOffset = 16;

uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * uint64_t{0x9e3779b97f4a7c15};
  return hash ^ (hash >> 32);
}

}  // namespace

uint64_t FragmentKey::hash(uint64_t seed) const {
  uint64_t hash = seed;
  for (const uint64_t word : {source.high, source.low, destination.high, destination.low,
                              uint64_t{id} << 32 | uint64_t{scope} << 8 | protocol})
    hash = mix(hash, word);
  return mix(hash, seed);
}

FragmentTable::FragmentTable(uint64_t seed)
    : seed_(seed), entries_(kEntries), memory_(std::make_unique_for_overwrite<uint8_t[]>(kHeld * kHeldBytes)) {}

uint8_t FragmentTable::bucket_of(const IpAddress& source) const {
  return static_cast<uint8_t>(mix(mix(mix(seed_, source.high), source.low), seed_) % kSources);
}

FragmentTable::Entry* FragmentTable::find(const FragmentKey& key, uint64_t now_ms) {
  Entry* const set = &entries_[key.hash(seed_) % (kEntries / kWays) * kWays];
  for (Entry* entry = set; entry < set + kWays; entry++) {
    if (entry->at_ms == 0 || entry->key != key) continue;
    if (now_ms - entry->at_ms < kLifetimeMs) return entry;
    free(*entry);
    return nullptr;
  }
  return nullptr;
}

// A place in the key's set: a free or old one, else that of the source's own oldest, else, unless the source has had
// its share, of anybody's oldest.
FragmentTable::Entry* FragmentTable::make_room(const FragmentKey& key, uint64_t now_ms) {
  const uint8_t bucket = bucket_of(key.source);
  Entry* const set = &entries_[key.hash(seed_) % (kEntries / kWays) * kWays];
  Entry* vacant = nullptr;
  Entry* own = nullptr;
  Entry* oldest = nullptr;
  for (Entry* entry = set; entry < set + kWays; entry++) {
    if (entry->at_ms != 0 && now_ms - entry->at_ms >= kLifetimeMs) free(*entry);
    if (entry->at_ms == 0) {
      vacant = entry;
      continue;
    }
    if (oldest == nullptr || entry->at_ms < oldest->at_ms) oldest = entry;
    if (entry->source_bucket == bucket && (own == nullptr || entry->at_ms < own->at_ms)) own = entry;
  }
  const bool has_share = used_[bucket] < kEntriesPerSource;
  Entry* place = vacant != nullptr && has_share ? vacant : own;
  if (place == nullptr && has_share) place = oldest;
  if (place == nullptr) return nullptr;
  if (place->at_ms != 0) free(*place);
  place->source_bucket = bucket;
  used_[bucket]++;
  return place;
}

void FragmentTable::free(Entry& entry) {
  used_[entry.source_bucket]--;
  entry.at_ms = 0;
}

// An entry whose packet is complete has nothing left to say. Duplicates may end it early: then what is left is
// orphaned.
void FragmentTable::count(Entry& entry, const Fragment& fragment) {
  entry.received += fragment.length;
  if (!fragment.more) entry.total = fragment.offset + fragment.length;
  if (entry.total != 0 && entry.received >= entry.total) free(entry);
}

Drop FragmentTable::remember(const FragmentKey& key, const IpPacket& ip, const Fragment& fragment, uint64_t now_ms) {
  if (is_tiny_first(ip)) return Drop::fragment_tiny;
  Entry* entry = find(key, now_ms);
  if (entry == nullptr) entry = make_room(key, now_ms);
  // Without room the packet's later fragments are orphans; this one shows all that is needed.
  if (entry == nullptr) return Drop::none;
  const uint8_t bucket = entry->source_bucket;
  // A number that is used again is a new packet.
  *entry = {.key = key,
            .at_ms = std::max<uint64_t>(now_ms, 1),
            .first_length = fragment.length,
            .received = 0,
            .total = 0,
            .source_port = ip.source_port,
            .destination_port = ip.destination_port,
            .protocol = ip.protocol,
            .source_bucket = bucket,
            .has_ports = ip.has_ports};
  count(*entry, fragment);
  return Drop::none;
}

Drop FragmentTable::recall(const FragmentKey& key, const Fragment& fragment, uint64_t now_ms, IpPacket& ip,
                           Recalled& recalled) {
  recalled = Recalled::unknown;
  if (fragment.protocol == kProtocolTcp && fragment.offset < kLeastTcpOffset) return Drop::fragment_overlap;
  Entry* entry = find(key, now_ms);
  if (entry == nullptr) return Drop::none;
  if (fragment.offset < entry->first_length) return Drop::fragment_overlap;
  recalled = Recalled::known;
  ip.protocol = entry->protocol;
  ip.source_port = entry->source_port;
  ip.destination_port = entry->destination_port;
  ip.has_ports = entry->has_ports;
  count(*entry, fragment);
  return Drop::none;
}

bool FragmentTable::hold(const FragmentKey& key, uint32_t tag, std::span<const uint8_t> packet, uint64_t now_ms) {
  if (packet.size() > kHeldBytes) return false;
  const uint8_t bucket = bucket_of(key.source);
  size_t of_source = 0;
  Held* place = nullptr;
  for (Held& held : held_) {
    if (held.order == 0) {
      place = &held;
    } else if (held.source_bucket == bucket) {
      of_source++;
    }
  }
  if (place == nullptr || of_source >= kHeldPerSource) return false;
  *place = {.key = key,
            .at_ms = now_ms,
            .order = next_order_++,
            .tag = tag,
            .length = static_cast<uint32_t>(packet.size()),
            .source_bucket = bucket};
  std::memcpy(bytes_of(*place).data(), packet.data(), packet.size());
  held_count_++;
  return true;
}

}  // namespace culvert::engine
