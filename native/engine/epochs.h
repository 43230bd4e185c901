// Thread: each worker owns one slot; publish and the waiting calls are control's.
//
// Quiescent-state reclamation: workers read the current snapshot without a lock and say once per batch that they hold
// no older one. Control frees a snapshot when every worker has said so since it was replaced. A worker that sleeps
// holds none.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/counter.h"

namespace culvert::engine {

class Epochs {
 public:
  explicit Epochs(unsigned workers) : slots_(std::make_unique<Slot[]>(workers)), workers_(workers) {}

  /** Worker: from here on it may read what is current, and holds nothing that it read before. */
  void pass(unsigned worker) { slots_[worker].seen.store(epoch_.load()); }
  /** Worker: it holds nothing until its next `pass`. */
  void sleep(unsigned worker) { slots_[worker].seen.store(kAsleep, std::memory_order_release); }

  /** Control: call after the new snapshot was stored. What was replaced is free when `all_passed` the number. */
  uint64_t advance() { return epoch_.fetch_add(1) + 1; }
  bool all_passed(uint64_t epoch) const {
    for (unsigned i = 0; i < workers_; i++) {
      if (slots_[i].seen.load() < epoch) return false;
    }
    return true;
  }

 private:
  // The order matters and is the default, sequentially consistent one: a worker stores what it has seen before it
  // loads the snapshot, and control stores the snapshot before it loads what workers have seen. One of them sees the
  // other.
  static constexpr uint64_t kAsleep = ~uint64_t{0};
  struct alignas(kCacheLineBytes) Slot {
    std::atomic<uint64_t> seen{kAsleep};
  };

  std::atomic<uint64_t> epoch_{1};
  std::unique_ptr<Slot[]> slots_;
  unsigned workers_;
};

}  // namespace culvert::engine
