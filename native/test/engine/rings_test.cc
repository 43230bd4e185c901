// The two rings that threads share, and the epochs that free snapshots.
#include <algorithm>
#include <thread>

#include "engine/epochs.h"
#include "engine/event_ring.h"
#include "engine/handoff_ring.h"
#include "test/check.h"

namespace culvert::test {
namespace {

using engine::Epochs;
using engine::Event;
using engine::EventKind;
using engine::EventRing;
using engine::HandoffRing;

constexpr size_t kSlots = 256;

std::vector<uint8_t> pattern(uint32_t seed, size_t bytes) {
  std::vector<uint8_t> data(bytes);
  for (size_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>(seed * 31 + i);
  return data;
}

TEST("event ring: gives back every event with its bytes, in order, across many wraps") {
  EventRing ring;
  Random random(1);
  uint32_t pushed = 0;
  uint32_t taken = 0;
  for (int round = 0; round < 400; round++) {
    const uint64_t wanted = random.below(30);
    for (uint64_t i = 0; i < wanted; i++) {
      Event event;
      event.kind = EventKind::ike;
      event.spi = pushed;
      const auto data = pattern(pushed, (pushed * 7919) % 65536);
      if (ring.push(event, data) != Drop::none) break;
      pushed++;
    }
    ring.drain([&](const Event& event, std::span<const uint8_t> data) {
      CHECK_EQ(event.spi, taken);
      const auto expected = pattern(taken, (taken * 7919) % 65536);
      CHECK(std::equal(data.begin(), data.end(), expected.begin(), expected.end()));
      taken++;
    });
    CHECK_EQ(taken, pushed);
  }
  CHECK(pushed > 1000);
}

TEST("event ring: refuses when it is full, loses nothing that it took, and goes on when drained") {
  EventRing ring;
  Event event;
  uint32_t pushed = 0;
  for (;; pushed++) {
    event.spi = pushed;
    if (ring.push(event) != Drop::none) break;
  }
  CHECK(pushed > 1000);
  CHECK_EQ(ring.push(event), Drop::event_ring_full);
  uint32_t taken = 0;
  ring.drain([&](const Event& found, std::span<const uint8_t>) { CHECK_EQ(found.spi, taken++); });
  CHECK_EQ(taken, pushed);
  CHECK_EQ(ring.push(event), Drop::none);
}

TEST("event ring: one thread pushes while another drains") {
  EventRing ring;
  constexpr uint32_t kEvents = 100000;
  std::thread writer([&] {
    Event event;
    for (uint32_t i = 0; i < kEvents;) {
      event.spi = i;
      if (ring.push(event, pattern(i, i % 50)) == Drop::none) {
        i++;
      } else {
        std::this_thread::yield();
      }
    }
  });
  uint32_t taken = 0;
  while (taken < kEvents) {
    ring.drain([&](const Event& event, std::span<const uint8_t> data) {
      if (event.spi != taken || data.size() != taken % 50) CHECK_EQ(event.spi, taken);
      taken++;
    });
    std::this_thread::yield();
  }
  writer.join();
  CHECK_EQ(taken, kEvents);
}

TEST("handoff ring: several workers push, each one's packets stay in order and nothing is lost") {
  HandoffRing ring{kSlots};
  constexpr uint32_t kProducers = 3;
  constexpr uint32_t kPackets = 20000;
  std::vector<std::thread> producers;
  for (uint32_t p = 0; p < kProducers; p++) {
    producers.emplace_back([&ring, p] {
      for (uint32_t i = 0; i < kPackets;) {
        uint8_t packet[64];
        store_be32(packet, p);
        store_be32(packet + 4, i);
        if (ring.push({packet, 8 + i % 56}, {}, static_cast<uint8_t>(i), true) == Drop::none) {
          i++;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  uint32_t next[kProducers] = {};
  for (uint32_t taken = 0; taken < kProducers * kPackets;) {
    size_t n = 0;
    while (n < 32) {
      HandoffRing::Packet* packet = ring.peek(n);
      if (packet == nullptr) break;
      const uint32_t producer = load_be32(packet->data);
      const uint32_t i = load_be32(packet->data + 4);
      if (i != next[producer] || packet->length != 8 + i % 56) CHECK_EQ(i, next[producer]);
      next[producer]++;
      n++;
    }
    ring.release(n);
    taken += static_cast<uint32_t>(n);
    if (n == 0) std::this_thread::yield();
  }
  for (std::thread& producer : producers) producer.join();
  CHECK(ring.peek(0) == nullptr);
}

TEST("handoff ring: refuses what is too long and what it has no room for") {
  HandoffRing ring{kSlots};
  std::vector<uint8_t> packet(HandoffRing::kSlotBytes + 1);
  CHECK_EQ(ring.push(packet, {}, 0, true), Drop::handoff_full);
  packet.pop_back();
  for (size_t i = 0; i < kSlots; i++) CHECK_EQ(ring.push(packet, {}, 0, true), Drop::none);
  CHECK_EQ(ring.push(packet, {}, 0, true), Drop::handoff_full);
  ring.release(1);
  CHECK_EQ(ring.push(packet, {}, 0, true), Drop::none);
}

TEST("epochs: what was replaced is free when every worker has passed or sleeps") {
  Epochs epochs(3);
  const uint64_t first = epochs.advance();
  CHECK(epochs.all_passed(first));  // all asleep
  epochs.pass(0);
  epochs.pass(1);
  const uint64_t second = epochs.advance();
  CHECK(!epochs.all_passed(second));
  epochs.pass(0);
  CHECK(!epochs.all_passed(second));
  epochs.sleep(1);
  CHECK(epochs.all_passed(second));
  epochs.pass(1);
  CHECK(epochs.all_passed(second));
}

TEST("epochs: no worker ever reads what control has freed") {
  constexpr unsigned kWorkers = 2;
  struct State {
    std::atomic<bool> alive{true};
  };
  Epochs epochs(kWorkers);
  std::vector<std::unique_ptr<State>> states;
  states.push_back(std::make_unique<State>());
  std::atomic<State*> current{states.back().get()};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> reads{0};
  std::vector<std::thread> workers;
  for (unsigned w = 0; w < kWorkers; w++) {
    workers.emplace_back([&, w] {
      while (!stop.load()) {
        epochs.pass(w);
        State* state = current.load();
        for (int i = 0; i < 20; i++) CHECK(state->alive.load());
        reads++;
        if (reads % 3 == 0) epochs.sleep(w);
      }
      epochs.sleep(w);
    });
  }
  for (int i = 0; i < 3000 || reads.load() < 1000; i++) {
    State* before = current.load();
    states.push_back(std::make_unique<State>());
    current.store(states.back().get());
    const uint64_t epoch = epochs.advance();
    while (!epochs.all_passed(epoch)) std::this_thread::yield();
    before->alive.store(false);  // "freed"
  }
  stop.store(true);
  for (std::thread& worker : workers) worker.join();
  CHECK(reads >= 1000);
}

}  // namespace
}  // namespace culvert::test
