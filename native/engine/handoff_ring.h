// Thread: any worker pushes, the owner takes. ESP packets that arrived at a worker which does not own their SA: UDP_GRO
// merges datagrams of one five-tuple whatever their SPI, so a train can hold strays. And inner fragments on their way
// to the worker that judges all fragments of their packet.
#pragma once
#include <atomic>
#include <cstring>
#include <memory>
#include <span>

#include "base/counter.h"
#include "base/drop.h"
#include "net/socket_address.h"

namespace culvert::engine {

class HandoffRing {
 public:
  /** Longest packet that is handed over; strays come from trains, whose datagrams fit a link. */
  static constexpr size_t kSlotBytes = 9216;

  struct Packet {
    std::atomic<size_t> turn;  // slot i is free for ticket t when turn == t, and holds its packet when turn == t + 1
    net::SocketAddress from;
    uint32_t length;
    uint8_t traffic_class;
    bool udp;
    alignas(16) uint8_t data[kSlotBytes + 64];
  };

  /** `slots`: a power of two. */
  explicit HandoffRing(size_t slots) : packets_(std::make_unique<Packet[]>(slots)), mask_(slots - 1) {
    for (size_t i = 0; i < slots; i++) packets_[i].turn.store(i, std::memory_order_relaxed);
  }

  /** Copies the packet. Drop::handoff_full when there is no room, or when it is longer than a slot. */
  Drop push(std::span<const uint8_t> esp, const net::SocketAddress& from, uint8_t traffic_class, bool udp) {
    if (esp.size() > kSlotBytes) return Drop::handoff_full;
    size_t ticket = head_.load(std::memory_order_relaxed);
    for (;;) {
      Packet& packet = packets_[ticket & mask_];
      const size_t turn = packet.turn.load(std::memory_order_acquire);
      if (turn == ticket) {
        if (!head_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_relaxed)) continue;
        packet.from = from;
        packet.length = static_cast<uint32_t>(esp.size());
        packet.traffic_class = traffic_class;
        packet.udp = udp;
        std::memcpy(packet.data, esp.data(), esp.size());
        packet.turn.store(ticket + 1, std::memory_order_release);
        return Drop::none;
      }
      if (turn < ticket) return Drop::handoff_full;
      ticket = head_.load(std::memory_order_relaxed);
    }
  }

  /** The packet `ahead` places behind the oldest, or nullptr. It stays until it is released. Thread: the owner. */
  Packet* peek(size_t ahead) {
    if (ahead > mask_) return nullptr;
    Packet& packet = packets_[(tail_ + ahead) & mask_];
    return packet.turn.load(std::memory_order_acquire) == tail_ + ahead + 1 ? &packet : nullptr;
  }

  /** Frees the oldest `count` packets. Thread: the owner. */
  void release(size_t count) {
    for (size_t i = 0; i < count; i++, tail_++) {
      packets_[tail_ & mask_].turn.store(tail_ + mask_ + 1, std::memory_order_release);
    }
  }

 private:
  std::unique_ptr<Packet[]> packets_;
  const size_t mask_;
  alignas(kCacheLineBytes) std::atomic<size_t> head_{0};
  alignas(kCacheLineBytes) size_t tail_ = 0;
};

}  // namespace culvert::engine
