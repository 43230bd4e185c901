// Thread: owning worker. One loop: whatever has packets is served in turn, then it sleeps in epoll.
#pragma once
#include <sys/epoll.h>

#include <memory>
#include <span>

#include "base/result.h"
#include "engine/inbound.h"
#include "engine/outbound.h"
#include "engine/reporter.h"
#include "engine/shared.h"

namespace culvert::engine {

class Worker {
 public:
  /** Thread: control. Registers what the worker waits for. */
  static Result<std::unique_ptr<Worker>> create(Shared& shared, unsigned index);

  /** The body of the worker's thread: returns when `Shared::stopping` is set and the worker was woken. */
  void run();

 private:
  enum class Source : uint8_t { wake, tun, nat, esp, ike, inherited, too_big };
  struct Ready {
    Source source;
    bool waiting = false;  // it may have something: edge-triggered epoll says so once
    size_t which = 0;
  };

  Worker(Shared& shared, unsigned index, std::unique_ptr<net::ReceiveSlots> slots, net::HugeBuffer memory);
  Result<Unit> watch(int fd, Source source, size_t which);
  bool serve(Ready& ready, const Snapshot& snapshot);
  void wait(bool block);
  int nap(std::span<epoll_event> events);
  int spin(std::span<epoll_event> events);

  Shared& shared_;
  WorkerShared& own_;
  const unsigned index_;
  net::Fd epoll_;
  Reporter reporter_;
  Outbound outbound_;
  Inbound inbound_;
  std::vector<Ready> sources_;
};

}  // namespace culvert::engine
