// Thread: built by control before the workers start; each member says who may touch it afterwards.
#pragma once
#include <time.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine/counters.h"
#include "engine/epochs.h"
#include "engine/event_ring.h"
#include "engine/handoff_ring.h"
#include "engine/outer_address.h"
#include "engine/snapshot.h"
#include "net/fd.h"
#include "net/tun.h"

namespace culvert::engine {

/** Called by workers when events wait; must not block. */
struct Notify {
  void (*call)(void* context) = nullptr;
  void* context = nullptr;
};

/** What one worker and the rest of the engine have in common. */
struct WorkerShared {
  WorkerCounters counters;    // the worker writes, any reads
  EventRing events;           // the worker pushes, control drains
  HandoffRing strays{256};    // any worker pushes, this one takes
  HandoffRing fragments{32};  // the same, on their way out: inner packets
  net::Fd wake;               // eventfd: control and other workers write
  std::atomic<bool> wake_pending{false};
};

struct Shared {
  explicit Shared(unsigned workers_wanted) : epochs(workers_wanted), workers(workers_wanted) {
    for (unsigned i = 0; i < workers; i++) worker.push_back(std::make_unique<WorkerShared>());
  }

  // Immutable once the workers run.
  net::TunDevice tun;
  std::vector<std::unique_ptr<OuterAddress>> outers;
  std::vector<net::UdpSocket> inherited;  // wildcard-bound IKE sockets, served by worker 0
  uint16_t ike_port = 500;
  uint16_t nat_port = 4500;
  uint32_t mark = 0;
  uint64_t busy_poll_ns = 0;   // how long a worker that found nothing looks on before it sleeps
  uint64_t fragment_seed = 0;  // all workers agree on who judges a fragment
  Notify notify;

  Epochs epochs;
  std::atomic<const Snapshot*> current{nullptr};
  std::atomic<bool> stopping{false};
  std::vector<std::unique_ptr<WorkerShared>> worker;
  unsigned workers;

  /** Wakes a sleeping worker; cheap when it was woken already. Thread: any. */
  void wake(unsigned index);
};

/** CLOCK_MONOTONIC, which is also Node's process.hrtime. */
inline uint64_t monotonic_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace culvert::engine
