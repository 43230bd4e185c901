#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/byte_order.h"
#include "test/check.h"
#include "test/esp/harness.h"

namespace culvert::esp {
namespace {

using namespace test_harness;
using test::Note;

constexpr uint64_t kLast = 0xffffffff;
constexpr uint64_t kLastExtended = ~uint64_t{0} - 0xffffffff;

struct Run {
  size_t sealed = 0;
  std::vector<Drop> drops;
};

/** Seals `count` packets of `bytes` bytes as one run. */
Run seal_run(OutboundSa& sa, size_t count, size_t bytes = 40) {
  std::vector<OutboundPacket> packets;
  std::vector<EncapItem> items;
  for (size_t i = 0; i < count; i++) {
    packets.emplace_back(ipv4_packet(bytes));
    items.push_back(packets.back().item());
  }
  encap_run(sa, items);
  Run run;
  for (const EncapItem& item : items) {
    if (item.drop == Drop::none) run.sealed++;
    run.drops.push_back(item.drop);
  }
  // What is refused is the end of the run, never something in the middle.
  CHECK(std::all_of(items.begin(), items.begin() + static_cast<ptrdiff_t>(run.sealed),
                    [](const EncapItem& item) { return item.drop == Drop::none; }));
  return run;
}

TEST("sequence numbers stop at the last one and never wrap (RFC 4303 §3.3.3)") {
  for (const auto& [esn, last] : {std::pair{false, kLast}, std::pair{true, kLastExtended}}) {
    const Note note(esn ? "ESN" : "32 bits");
    const Config config(gcm128(esn));
    const auto sa = config.outbound(last - 5);
    const Run run = seal_run(*sa, 8);
    CHECK_EQ(run.sealed, size_t{5});
    for (size_t i = 5; i < 8; i++) CHECK_EQ(run.drops[i], Drop::sequence_exhausted);
    for (int again = 0; again < 100; again++) {
      CHECK_EQ(seal_run(*sa, 70).drops[0], Drop::sequence_exhausted);
    }
    CHECK_EQ(sa->totals().sequence, last);
    CHECK_EQ(sa->totals().packets, uint64_t{5});
    CHECK_EQ(sa->drops(Drop::sequence_exhausted), uint64_t{3 + 7000});
    CHECK_EQ(sa->take_crossed_limits(), kSoftLimit | kHardLimit);
  }
}

TEST("an SA asks to be rekeyed well before its numbers are used up") {
  const Config config(gcm128());
  const auto sa = config.outbound(kLast / 4 * 3 - 2);
  seal_run(*sa, 1);
  CHECK_EQ(sa->take_crossed_limits(), 0);
  seal_run(*sa, 1);
  CHECK_EQ(sa->take_crossed_limits(), kSoftLimit);
}

TEST("packet limits are exact; each crossing is told once") {
  Config config(gcm128());
  config.limits = {.soft_bytes = 0, .hard_bytes = 0, .soft_packets = 100, .hard_packets = 150};
  const auto sa = config.outbound();
  CHECK_EQ(seal_run(*sa, 99).sealed, size_t{99});
  CHECK(!sa->limits_crossed());
  CHECK_EQ(seal_run(*sa, 1).sealed, size_t{1});
  CHECK(sa->limits_crossed());
  CHECK_EQ(sa->take_crossed_limits(), kSoftLimit);
  CHECK(!sa->limits_crossed());
  CHECK_EQ(sa->take_crossed_limits(), 0);
  const Run run = seal_run(*sa, 64);
  CHECK_EQ(run.sealed, size_t{50});
  CHECK_EQ(run.drops[50], Drop::lifetime);
  CHECK_EQ(sa->take_crossed_limits(), kHardLimit);
  CHECK_EQ(seal_run(*sa, 1).drops[0], Drop::lifetime);
  CHECK_EQ(sa->take_crossed_limits(), 0);
  CHECK_EQ(sa->totals().packets, uint64_t{150});
}

TEST("packet limits count from where the SA continues") {
  Config config(gcm128());
  config.limits = {.soft_bytes = 0, .hard_bytes = 0, .soft_packets = 0, .hard_packets = 3};
  const auto sa = config.outbound(1000);
  CHECK_EQ(seal_run(*sa, 5).sealed, size_t{3});
  CHECK_EQ(sa->totals().sequence, uint64_t{1003});
  CHECK_EQ(sa->totals().packets, uint64_t{3});
}

TEST("byte limits seal what fits and nothing after") {
  Config config(gcm128());
  config.limits = {.soft_bytes = 1000, .hard_bytes = 2050, .soft_packets = 0, .hard_packets = 0};
  const auto sa = config.outbound();
  CHECK_EQ(seal_run(*sa, 9, 100).sealed, size_t{9});
  CHECK_EQ(sa->take_crossed_limits(), 0);
  CHECK_EQ(seal_run(*sa, 1, 100).sealed, size_t{1});
  CHECK_EQ(sa->take_crossed_limits(), kSoftLimit);
  const Run run = seal_run(*sa, 12, 100);
  CHECK_EQ(run.sealed, size_t{10});
  CHECK_EQ(run.drops[10], Drop::lifetime);
  CHECK_EQ(sa->totals().bytes, uint64_t{2000});
  CHECK_EQ(sa->take_crossed_limits(), kHardLimit);
  CHECK_EQ(seal_run(*sa, 1, 30).drops[0], Drop::lifetime);  // 30 bytes would still fit: the SA is over all the same
}

TEST("a dummy packet is sealed like any other (RFC 4303 §2.6)") {
  const Config config(gcm128());
  const auto outbound = config.outbound();
  const auto inbound = config.inbound();
  const Bytes datagram = seal_one(*outbound, Bytes(90, 0xaa), 59);
  CHECK_EQ(open_one(*inbound, datagram).drop, Drop::dummy);
  CHECK_EQ(inbound->totals().packets, uint64_t{0});
  CHECK_EQ(inbound->totals().sequence, uint64_t{1});
}

TEST("datagrams that lie back to back do not touch each other") {
  for (const Suite& suite : all_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto outbound = config.outbound();
    const auto inbound = config.inbound(1024);
    const size_t header_bytes = outbound->geometry().header_bytes;
    for (size_t length = 20; length < 40; length++) {
      constexpr size_t kCount = 5;
      const size_t sealed = outbound->sealed_size(length);
      const Bytes inner = ipv4_packet(length);
      Bytes arena(1 + kCount * sealed + 1, 0xa5);
      std::vector<EncapItem> items;
      for (size_t i = 0; i < kCount; i++) {
        uint8_t* at = &arena[1 + i * sealed + header_bytes];
        std::copy(inner.begin(), inner.end(), at);
        items.push_back({at, static_cast<uint32_t>(length), 4, Drop::none, nullptr, 0});
      }
      encap_run(*outbound, items);
      CHECK_EQ(arena.front(), 0xa5);
      CHECK_EQ(arena.back(), 0xa5);
      for (size_t i = 0; i < kCount; i++) {
        CHECK(items[i].esp == &arena[1 + i * sealed] && items[i].esp_length == sealed);
        CHECK(open_one(*inbound, OutboundPacket::sealed(items[i])).inner == inner);
      }
    }
  }
}

TEST("an empty run does nothing") {
  const auto sa = Config(gcm128()).outbound();
  encap_run(*sa, {});
  CHECK_EQ(sa->totals().sequence, uint64_t{0});
  CHECK_EQ(sa->totals().packets, uint64_t{0});
}

TEST("a run longer than any batch gets consecutive numbers") {
  const Config config(gcm128());
  const auto sa = config.outbound();
  CHECK_EQ(seal_run(*sa, 10000).sealed, size_t{10000});
  CHECK_EQ(sa->totals().sequence, uint64_t{10000});
}

TEST("last use is remembered") {
  const auto sa = Config(gcm128()).outbound();
  CHECK_EQ(sa->totals().last_used_ms, uint64_t{0});
  sa->touch(12345);
  CHECK_EQ(sa->totals().last_used_ms, uint64_t{12345});
}

/** Threads seal runs until nothing is left; returns every sequence number on the wire. */
std::vector<uint64_t> exhaust(OutboundSa& sa, size_t threads, std::atomic<unsigned>& soft,
                              std::atomic<unsigned>& hard) {
  std::vector<std::vector<uint64_t>> sent(threads);
  std::vector<std::thread> workers;
  for (size_t worker = 0; worker < threads; worker++) {
    workers.emplace_back([&, worker] {
      for (size_t run = 0;; run++) {
        std::vector<OutboundPacket> packets;
        std::vector<EncapItem> items;
        for (size_t i = 0; i <= (run + worker) % 37; i++) {
          packets.emplace_back(ipv4_packet(40));
          items.push_back(packets.back().item());
        }
        encap_run(sa, items);
        for (const EncapItem& item : items) {
          if (item.drop == Drop::none) sent[worker].push_back(load_be64(item.esp + 8));
        }
        if (const uint8_t crossed = sa.take_crossed_limits(); crossed != 0) {
          if ((crossed & kSoftLimit) != 0) soft++;
          if ((crossed & kHardLimit) != 0) hard++;
        }
        if (items.back().drop != Drop::none) return;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  std::vector<uint64_t> all;
  for (const auto& part : sent) all.insert(all.end(), part.begin(), part.end());
  std::sort(all.begin(), all.end());
  return all;
}

TEST("workers that share an SA never send one number twice and use every number up to the last") {
  const Config config(gcm128());
  constexpr uint64_t kCount = 20000;
  const auto sa = config.outbound(kLast - kCount);
  std::atomic<unsigned> soft{0};
  std::atomic<unsigned> hard{0};
  const std::vector<uint64_t> sent = exhaust(*sa, 4, soft, hard);
  CHECK_EQ(sent.size(), size_t{kCount});
  CHECK_EQ(sent.front(), kLast - kCount + 1);
  CHECK_EQ(sent.back(), kLast);
  CHECK(std::adjacent_find(sent.begin(), sent.end()) == sent.end());
  CHECK_EQ(soft.load(), 1u);
  CHECK_EQ(hard.load(), 1u);
  CHECK_EQ(sa->totals().packets, kCount);
}

TEST("workers that share an SA stop at its hard byte limit together") {
  Config config(gcm128());
  config.limits = {.soft_bytes = 200000, .hard_bytes = 400010, .soft_packets = 0, .hard_packets = 0};
  const auto sa = config.outbound();
  std::atomic<unsigned> soft{0};
  std::atomic<unsigned> hard{0};
  const std::vector<uint64_t> sent = exhaust(*sa, 4, soft, hard);
  CHECK(std::adjacent_find(sent.begin(), sent.end()) == sent.end());
  CHECK(sent.size() * 40 <= 400010);
  CHECK_EQ(sa->totals().bytes, sent.size() * 40);
  CHECK_EQ(soft.load(), 1u);
  CHECK_EQ(hard.load(), 1u);
}

}  // namespace
}  // namespace culvert::esp
