#include "esp/replay_window.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "test/check.h"

namespace culvert::esp {
namespace {

using test::Note;
using test::Random;

constexpr uint32_t kWindows[] = {1, 2, 31, 32, 63, 64, 65, 127, 128, 129, 1000, 1024, 4096, 65535, 65536};

/** RFC 4303 §3.4.3 in the plainest words: everything that was accepted, and how far back one may still come. */
class Model {
 public:
  Model(uint64_t packets, uint64_t last) : packets_(packets), seen_through_(last), top_(last) {}
  bool is_fresh(uint64_t sequence) const {
    if (sequence <= seen_through_ || accepted_.contains(sequence)) return false;
    return sequence > top_ || top_ - sequence < packets_;
  }
  bool accept(uint64_t sequence) {
    if (!is_fresh(sequence)) return false;
    accepted_.insert(sequence);
    if (sequence > top_) top_ = sequence;
    while (!accepted_.empty() && top_ - *accepted_.begin() >= packets_) accepted_.erase(accepted_.begin());
    return true;
  }
  uint64_t top() const { return top_; }

 private:
  uint64_t packets_;
  uint64_t seen_through_;
  uint64_t top_;
  std::set<uint64_t> accepted_;
};

/** Numbers around the top: mostly the next one, some from inside the window, its edges, behind it, or a jump. */
uint64_t candidate(Random& random, uint64_t top, uint64_t packets) {
  switch (random.below(16)) {
    case 0:
      return top - random.below(packets + 1);
    case 1:
      return top - packets + random.below(3) - 1;
    case 2:
      return top - packets - random.below(200);
    case 3:
      return top + random.below(packets * 2 + 200);
    case 4:
      return top - random.below(64);
    case 5:
      return random.below(1000) == 0 ? top + random.below(uint64_t{1} << 33) : top + 64;
    default:
      return top + 1 + random.below(3);
  }
}

TEST("a million numbers through every window size, against a set") {
  constexpr int kNumbers = 1000000;
  Random random(20);
  const uint64_t starts[] = {0, 5000, 0xffff0000, 0xfffffff0ffffff00};
  const int each = kNumbers / static_cast<int>(std::size(kWindows) * std::size(starts)) + 1;
  for (const uint32_t packets : kWindows) {
    for (const uint64_t start : starts) {
      const Note note("window " + std::to_string(packets) + " from " + std::to_string(start));
      ReplayWindow window(packets, start);
      Model model(packets, start);
      for (int i = 0; i < each; i++) {
        const uint64_t sequence = candidate(random, window.top(), packets);
        const bool fresh = model.is_fresh(sequence);
        CHECK_EQ(window.is_fresh(sequence), fresh);
        if (random.below(8) == 0) continue;  // its ICV was wrong: asked about, never accepted
        CHECK_EQ(window.accept(sequence), fresh);
        model.accept(sequence);
        CHECK_EQ(window.top(), model.top());
      }
    }
  }
}

TEST("edges: the left end of the window is inside, one further is not") {
  for (const uint32_t packets : kWindows) {
    const Note note("window " + std::to_string(packets));
    for (const uint64_t top : {uint64_t{70000}, uint64_t{70015}, uint64_t{70016}, uint64_t{0x100000000}}) {
      ReplayWindow window(packets);
      CHECK(window.accept(top));
      CHECK(!window.is_fresh(top));
      CHECK(window.is_fresh(top + 1));
      CHECK(!window.is_fresh(top - packets));
      if (packets > 1) {
        CHECK(window.is_fresh(top - packets + 1));
        CHECK(window.accept(top - packets + 1));
        CHECK(!window.accept(top - packets + 1));
      }
    }
  }
}

TEST("sequence 0 is never fresh, also without a window") {
  for (const uint32_t packets : {0u, 1u, 64u, 65536u}) {
    ReplayWindow window(packets);
    CHECK(!window.is_fresh(0));
    CHECK(!window.accept(0));
    CHECK_EQ(window.top(), uint64_t{0});
  }
}

TEST("a window of 0 accepts repeats and remembers the highest number") {
  ReplayWindow window(0);
  CHECK(window.accept(9) && window.accept(9) && window.accept(1) && window.accept(12));
  CHECK_EQ(window.top(), uint64_t{12});
}

TEST("a jump beyond the whole ring forgets everything inside it") {
  for (const uint32_t packets : kWindows) {
    ReplayWindow window(packets);
    for (uint64_t sequence = 1; sequence <= 3 * uint64_t{packets}; sequence++) CHECK(window.accept(sequence));
    const uint64_t top = 3 * uint64_t{packets} + 7 * 65536 * 64 + 3;
    CHECK(window.accept(top));
    for (uint64_t back = 1; back < packets; back++) CHECK(window.is_fresh(top - back));
    CHECK(!window.is_fresh(top - packets));
  }
}

TEST("state taken over counts everything up to its last number as seen") {
  for (const uint64_t last : {uint64_t{1}, uint64_t{63}, uint64_t{64}, uint64_t{127}, uint64_t{1000}}) {
    ReplayWindow window(128, last);
    for (uint64_t sequence = 0; sequence <= last; sequence++) CHECK(!window.is_fresh(sequence));
    for (uint64_t sequence = last + 1; sequence < last + 300; sequence++) CHECK(window.accept(sequence));
  }
}

/** RFC 4303 appendix A2.1, its two cases as they stand there; no value where it would be left of zero. */
std::optional<uint64_t> infer_of_the_rfc(uint64_t top, uint64_t window, uint32_t low) {
  const uint32_t top_low = static_cast<uint32_t>(top);
  const uint64_t top_high = top >> 32;
  const uint32_t bottom_low = top_low - static_cast<uint32_t>(window) + 1;
  uint64_t high;
  if (top_low >= window - 1) {  // case A: the window is inside one subspace
    high = low >= bottom_low ? top_high : top_high + 1;
  } else {  // case B: it spans two
    if (low >= bottom_low && top_high == 0) return std::nullopt;
    high = low >= bottom_low ? top_high - 1 : top_high;
  }
  return high << 32 | low;
}

TEST("the high half of an extended sequence number is inferred as in RFC 4303 appendix A2") {
  Random random(21);
  for (const uint32_t packets : kWindows) {
    for (int i = 0; i < 20000; i++) {
      const uint64_t base = uint64_t{random.below(3)} << 32;
      const uint64_t offset = random.below(2) == 0 ? random.below(2 * packets) : random.below(uint64_t{1} << 32);
      const uint64_t top = base + (random.below(2) == 0 ? offset : (uint64_t{1} << 32) - 1 - offset % (1ull << 32));
      const auto low =
          static_cast<uint32_t>(random.below(2) == 0 ? top + random.below(200000) - 100000 : random.next());
      const Note note("window " + std::to_string(packets) + " top " + std::to_string(top) + " low " +
                      std::to_string(low));
      const ReplayWindow window(packets, top);
      CHECK_EQ(window.infer(low), infer_of_the_rfc(top, packets, low).value_or(0));
    }
  }
}

TEST("inference at the end of the 64-bit space never yields a fresh number from before") {
  const ReplayWindow window(64, ~uint64_t{0} - 1);
  CHECK_EQ(window.infer(0xffffffff), ~uint64_t{0});
  CHECK(window.is_fresh(window.infer(0xffffffff)));
  for (const uint32_t low : {0u, 1u, 100u, 0xfffffff0u}) CHECK(!window.is_fresh(window.infer(low)));
}

}  // namespace
}  // namespace culvert::esp
