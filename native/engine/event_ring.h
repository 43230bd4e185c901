// Thread: one worker pushes, control drains. Events and the bytes of IKE datagrams, bounded; a full ring refuses.
#pragma once
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>

#include "base/counter.h"
#include "base/drop.h"
#include "engine/event.h"

namespace culvert::engine {

class EventRing {
 public:
  /** Holds a dozen of the largest IKE datagrams, or some thousand small events. */
  static constexpr size_t kBytes = 1 << 20;

  EventRing() : memory_(std::make_unique<uint8_t[]>(kBytes)) {}

  /** Drop::event_ring_full when there is no room; nothing was written then. */
  Drop push(const Event& event, std::span<const uint8_t> data = {}) {
    const size_t needed = round_up(sizeof(Header) + sizeof(Event) + data.size());
    const size_t head = head_.load(std::memory_order_relaxed);
    const size_t free = kBytes - (head - tail_.load(std::memory_order_acquire));
    // A record never wraps: what is left behind it becomes a record of its own that the reader skips.
    const size_t to_end = kBytes - (head & (kBytes - 1));
    const size_t skipped = to_end < needed ? to_end : 0;
    if (free < needed + skipped) return Drop::event_ring_full;
    size_t at = head & (kBytes - 1);
    if (skipped != 0) {
      store(at, Header{static_cast<uint32_t>(skipped), kSkip});
      at = 0;
    }
    store(at, Header{static_cast<uint32_t>(needed), static_cast<uint32_t>(data.size())});
    std::memcpy(&memory_[at + sizeof(Header)], &event, sizeof event);
    if (!data.empty()) std::memcpy(&memory_[at + sizeof(Header) + sizeof(Event)], data.data(), data.size());
    head_.store(head + skipped + needed, std::memory_order_release);
    return Drop::none;
  }

  /** Calls `each(event, data)` for everything that is there now, in order. `data` is valid during the call only. */
  template <typename Each>
  void drain(Each each) {
    size_t tail = tail_.load(std::memory_order_relaxed);
    const size_t head = head_.load(std::memory_order_acquire);
    while (tail != head) {
      const size_t at = tail & (kBytes - 1);
      Header header;
      std::memcpy(&header, &memory_[at], sizeof header);
      if (header.data_bytes != kSkip) {
        Event event;
        std::memcpy(&event, &memory_[at + sizeof(Header)], sizeof event);
        each(event, std::span<const uint8_t>(&memory_[at + sizeof(Header) + sizeof(Event)], header.data_bytes));
      }
      tail += header.record_bytes;
      tail_.store(tail, std::memory_order_release);
    }
  }

 private:
  struct Header {
    uint32_t record_bytes;
    uint32_t data_bytes;
  };
  static constexpr uint32_t kSkip = 0xffffffff;
  static_assert(std::is_trivially_copyable_v<Event>);

  static constexpr size_t round_up(size_t n) { return (n + 15) & ~size_t{15}; }
  void store(size_t at, const Header& header) { std::memcpy(&memory_[at], &header, sizeof header); }

  std::unique_ptr<uint8_t[]> memory_;
  alignas(kCacheLineBytes) std::atomic<size_t> head_{0};
  alignas(kCacheLineBytes) std::atomic<size_t> tail_{0};
};

}  // namespace culvert::engine
