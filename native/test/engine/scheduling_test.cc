#include "engine/scheduling.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "test/check.h"

namespace culvert::test {
namespace {

// The turn's length of the calling thread: sched_runtime of struct sched_attr, sched_setattr(2). Zero before
// Linux 6.12.
uint64_t turn_ns() {
  uint8_t attributes[48] = {};
  if (::syscall(SYS_sched_getattr, 0, attributes, sizeof attributes, 0) != 0) return 0;
  uint64_t runtime;
  std::memcpy(&runtime, attributes + 24, sizeof runtime);
  return runtime;
}

bool choose(int policy, int priority) {
  sched_param param{};
  param.sched_priority = priority;
  return ::sched_setscheduler(0, policy, &param) == 0;
}

TEST("a thread gets short turns, and stays what it was") {
  uint64_t before = 0;
  uint64_t after = 0;
  int policy = -1;
  std::thread([&] {
    if (!choose(SCHED_OTHER, 0)) return;
    before = turn_ns();
    engine::request_short_turns();
    after = turn_ns();
    policy = ::sched_getscheduler(0);
  }).join();
  if (before == 0) SKIP("the kernel is older than 6.12");
  CHECK(before > after);
  CHECK_EQ(after, uint64_t{100'000});
  CHECK_EQ(policy, SCHED_OTHER);
}

TEST("a thread that an operator made a real-time one is left alone") {
  bool allowed = false;
  int policy = -1;
  int priority = -1;
  std::thread([&] {
    allowed = choose(SCHED_RR, 3);
    engine::request_short_turns();
    policy = ::sched_getscheduler(0);
    sched_param param{};
    ::sched_getparam(0, &param);
    priority = param.sched_priority;
  }).join();
  if (!allowed) SKIP("real-time priorities need CAP_SYS_NICE");
  CHECK_EQ(policy, SCHED_RR);
  CHECK_EQ(priority, 3);
}

TEST("a thread gets timers that are not late, and no other thread does") {
  const int before = ::prctl(PR_GET_TIMERSLACK);
  int slack = 0;
  std::thread thread([&slack] {
    choose(SCHED_OTHER, 0);  // the kernel gives real-time threads none in any case
    engine::request_exact_timers();
    slack = ::prctl(PR_GET_TIMERSLACK);
  });
  thread.join();
  CHECK_EQ(slack, 1);
  CHECK_EQ(::prctl(PR_GET_TIMERSLACK), before);
}

}  // namespace
}  // namespace culvert::test
