// Thread: owning worker. Stateful fragment checking (RFC 4301 §7.3): what first fragments said, for those behind them.
//
// Only SAs whose selectors name ports or protocols come here. A table of fixed size remembers the ports of packets
// whose fragments are under way; an entry goes when the packet is complete, when it is old, or for a newer one of the
// same set. A source has a share of the table and of the places where later fragments wait for a first one that comes
// after them, so that one sender of fragments takes nothing from the others.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/fragment.h"

namespace culvert::engine {

/** What fragments of one packet have in common; `scope` is the connection. */
struct FragmentKey {
  IpAddress source;
  IpAddress destination;
  uint32_t id = 0;
  uint16_t scope = 0;
  uint8_t protocol = 0;  // IPv4 only: RFC 8200 §4.5 has none in IPv6

  static FragmentKey of(const IpPacket& ip, const Fragment& fragment, uint16_t scope) {
    const bool ipv4 = ip.source.family == Family::ipv4;
    return {ip.source, ip.destination, fragment.id, scope, ipv4 ? fragment.protocol : uint8_t{0}};
  }
  /** `seed` is secret: nobody shall choose whose place a packet takes. */
  uint64_t hash(uint64_t seed) const;

  friend bool operator==(const FragmentKey&, const FragmentKey&) = default;
};

class FragmentTable {
 public:
  static constexpr size_t kEntries = 1024;
  static constexpr size_t kEntriesPerSource = 256;
  static constexpr size_t kHeld = 32;
  static constexpr size_t kHeldPerSource = 8;
  static constexpr size_t kHeldBytes = 9216;  // longest fragment that waits: a jumbo frame's
  static constexpr uint64_t kLifetimeMs = 30'000;
  static constexpr uint64_t kPatienceMs = 1000;

  explicit FragmentTable(uint64_t seed);

  /** A first fragment passes: its ports are remembered. Drop::fragment_tiny when it does not show them. */
  Drop remember(const FragmentKey& key, const IpPacket& ip, const Fragment& fragment, uint64_t now_ms);

  enum class Recalled : uint8_t { unknown, known };
  /**
   * A later fragment: gives `ip` the protocol and ports of its packet when they are known. Drop::fragment_overlap when
   * it reaches into the first fragment, or where every TCP header has its flags (RFC 4301 §7.2's least offset).
   */
  Drop recall(const FragmentKey& key, const Fragment& fragment, uint64_t now_ms, IpPacket& ip, Recalled& recalled);

  /** Keeps a later fragment until its first one comes. False when there is no room. `tag` comes back with it. */
  bool hold(const FragmentKey& key, uint32_t tag, std::span<const uint8_t> packet, uint64_t now_ms);
  /** Hands out what waited for `key`, in the order of arrival: each(packet, tag). The bytes are free afterwards. */
  template <typename Each>
  void release(const FragmentKey& key, Each each);
  bool holds() const { return held_count_ != 0; }
  /** Gives up what has waited for kPatienceMs: each(tag). */
  template <typename Each>
  void expire(uint64_t now_ms, Each each);

 private:
  static constexpr size_t kWays = 8;
  static constexpr size_t kSources = 256;

  struct Entry {
    FragmentKey key;
    uint64_t at_ms = 0;  // 0: free
    uint32_t first_length = 0;
    uint32_t received = 0;
    uint32_t total = 0;  // 0: the last fragment has not been seen
    uint16_t source_port = 0;
    uint16_t destination_port = 0;
    uint8_t protocol = 0;
    uint8_t source_bucket = 0;
    bool has_ports = false;
  };
  struct Held {
    FragmentKey key;
    uint64_t at_ms = 0;
    uint64_t order = 0;  // 0: free
    uint32_t tag = 0;
    uint32_t length = 0;
    uint8_t source_bucket = 0;
  };

  Entry* find(const FragmentKey& key, uint64_t now_ms);
  Entry* make_room(const FragmentKey& key, uint64_t now_ms);
  void free(Entry& entry);
  void count(Entry& entry, const Fragment& fragment);
  uint8_t bucket_of(const IpAddress& source) const;
  std::span<uint8_t> bytes_of(const Held& held) {
    return {memory_.get() + static_cast<size_t>(&held - held_.data()) * kHeldBytes, held.length};
  }

  const uint64_t seed_;
  std::vector<Entry> entries_;
  std::array<uint16_t, kSources> used_{};  // entries by the hash of their source
  std::array<Held, kHeld> held_{};
  size_t held_count_ = 0;
  uint64_t next_order_ = 1;
  std::unique_ptr<uint8_t[]> memory_;  // untouched, so without pages, until something waits
};

template <typename Each>
void FragmentTable::release(const FragmentKey& key, Each each) {
  while (held_count_ != 0) {
    Held* oldest = nullptr;
    for (Held& held : held_) {
      if (held.order != 0 && held.key == key && (oldest == nullptr || held.order < oldest->order)) oldest = &held;
    }
    if (oldest == nullptr) return;
    oldest->order = 0;
    held_count_--;
    each(bytes_of(*oldest), oldest->tag);
  }
}

template <typename Each>
void FragmentTable::expire(uint64_t now_ms, Each each) {
  for (Held& held : held_) {
    if (held.order == 0 || now_ms - held.at_ms < kPatienceMs) continue;
    held.order = 0;
    held_count_--;
    each(held.tag);
  }
}

}  // namespace culvert::engine
