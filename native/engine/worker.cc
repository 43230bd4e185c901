#include "engine/worker.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "engine/scheduling.h"
#include "net/setup_error.h"

namespace culvert::engine {
namespace {

// What one turn takes from the TUN device before the other direction gets its turn: as many packets as fill a run of
// UDP_SEGMENT, or 16 superpackets.
constexpr Outbound::Budget kTunBudget{.reads = net::Sender::kMaxRunDatagrams, .bytes = 16 * 65536};
// Batches that one turn takes from a socket.
constexpr unsigned kReceiveBudget = 8;
constexpr int kEpollBatch = 64;
// So many packets of raw ESP in one turn are a stream, and so long it is left alone: bench/RESULTS.md.
constexpr uint64_t kStreamPackets = 4;
constexpr timespec kNap{0, 20'000};

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(Shared& shared, unsigned index) {
  auto slots = net::ReceiveSlots::create();
  if (!slots) return Error{slots.error()};
  auto memory = net::HugeBuffer::create(Outbound::memory_bytes());
  if (!memory) return Error{memory.error()};
  std::unique_ptr<Worker> worker(new Worker(shared, index, std::move(slots).value(), std::move(memory).value()));
  worker->epoll_ = net::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!worker->epoll_.valid()) return net::setup_error(errno, "epoll");

  struct Watched {
    int fd;
    Source source;
    size_t which;
  };
  std::vector<Watched> all = {{worker->own_.wake.get(), Source::wake, 0},
                              {shared.tun.queues[index].fd(), Source::tun, 0}};
  for (size_t i = 0; i < shared.outers.size(); i++) {
    OuterAddress& outer = *shared.outers[i];
    all.push_back({outer.nat[index].fd.get(), Source::nat, i});
    all.push_back({outer.esp[index].get(), Source::esp, i});
    if (index == 0 && outer.ike.fd.valid()) all.push_back({outer.ike.fd.get(), Source::ike, i});
    if (index == 0) all.push_back({outer.too_big.get(), Source::too_big, i});
  }
  if (index == 0) {
    for (size_t i = 0; i < shared.inherited.size(); i++)
      all.push_back({shared.inherited[i].fd.get(), Source::inherited, i});
  }
  for (const Watched& watched : all) {
    if (auto added = worker->watch(watched.fd, watched.source, watched.which); !added) return Error{added.error()};
  }
  return worker;
}

Worker::Worker(Shared& shared, unsigned index, std::unique_ptr<net::ReceiveSlots> slots, net::HugeBuffer memory)
    : shared_(shared),
      own_(*shared.worker[index]),
      index_(index),
      reporter_(shared, own_),
      outbound_(shared, index, reporter_, std::move(memory)),
      inbound_(shared, index, reporter_, std::move(slots)) {}

Result<Unit> Worker::watch(int fd, Source source, size_t which) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = sources_.size();
  sources_.push_back({source, true, which});
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return net::setup_error(errno, "epoll");
  return Unit{};
}

void Worker::run() {
  crypto::prepare_thread();
  request_short_turns();
  request_exact_timers();
  while (!shared_.stopping.load(std::memory_order_relaxed)) {
    shared_.epochs.pass(index_);
    const Snapshot& snapshot = *shared_.current.load();
    reporter_.set_now(monotonic_ns());
    bool busy = false;
    for (Ready& ready : sources_) {
      if (!ready.waiting) continue;
      ready.waiting = serve(ready, snapshot);
      busy = busy || ready.waiting;
    }
    if (inbound_.holds_fragments()) inbound_.expire_fragments(snapshot);
    if (outbound_.holds_fragments()) outbound_.expire_fragments();
    reporter_.flush();
    wait(!busy);
  }
  shared_.epochs.sleep(index_);
}

// True when the source may still have something.
bool Worker::serve(Ready& ready, const Snapshot& snapshot) {
  const auto repeat = [](auto batch) {
    for (unsigned i = 0; i < kReceiveBudget; i++) {
      if (!batch()) return false;
    }
    return true;
  };
  switch (ready.source) {
    case Source::wake: {
      eventfd_t count;
      ::eventfd_read(own_.wake.get(), &count);
      own_.wake_pending.store(false);
      const bool strays = inbound_.run_strays(snapshot);
      return outbound_.run_handed(snapshot) || strays;
    }
    case Source::tun:
      return outbound_.run(snapshot, kTunBudget);
    case Source::nat:
      return repeat([&] { return inbound_.run_nat(snapshot, ready.which); });
    case Source::esp:
      return repeat([&] { return inbound_.run_esp(snapshot, ready.which); });
    case Source::ike:
      return inbound_.run_ike(ready.which);
    case Source::inherited:
      return inbound_.run_inherited(ready.which);
    case Source::too_big:
      return inbound_.run_too_big(ready.which);
  }
  return false;
}

void Worker::wait(bool block) {
  epoll_event events[kEpollBatch];
  // A fragment that waits is given up in time, and counted, although nothing else comes.
  const bool holds = inbound_.holds_fragments() || outbound_.holds_fragments();
  const int patience = holds ? static_cast<int>(FragmentTable::kPatienceMs) : -1;
  int n = 0;
  if (block) {
    shared_.epochs.sleep(index_);
    n = nap(events);
    if (n == 0) n = spin(events);
    if (n == 0) own_.counters.add(Count::sleeps, 1);
  }
  if (n == 0) n = ::epoll_wait(epoll_.get(), events, kEpollBatch, block ? patience : 0);
  for (int i = 0; i < n; i++) sources_[events[i].data.u64].waiting = true;
}

// While packets of raw ESP come in numbers they are left alone for a moment: the kernel wakes a thread that sleeps in
// epoll for each of them, which costs it, and so whoever sends, more than everything else that it does with one
// (bench/RESULTS.md). How many of `events` there are then. A lone packet, and the first of many, waits for nothing.
int Worker::nap(std::span<epoll_event> events) {
  if (inbound_.take_raw_count() < kStreamPackets) return 0;
  ::nanosleep(&kNap, nullptr);
  return ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
}

// Looks again and again for as long as busy polling is configured, and says how many of `events` came. Between two
// looks whoever else wants the CPU may have it: it may be the one that sends.
int Worker::spin(std::span<epoll_event> events) {
  if (shared_.busy_poll_ns == 0) return 0;
  const uint64_t until = monotonic_ns() + shared_.busy_poll_ns;
  do {
    const int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    if (n > 0) {
      own_.counters.add(Count::busy_polls, 1);
      return n;
    }
    ::sched_yield();
  } while (monotonic_ns() < until);
  return 0;
}

}  // namespace culvert::engine
