#include "esp/replay_window.h"

#include <algorithm>

namespace culvert::esp {
namespace {

// Without a window there is no bottom to count from: half of the 32-bit space on either side of the top.
constexpr uint64_t kInferenceWindowWithoutCheck = uint64_t{1} << 31;

uint32_t ring_words(uint32_t packets) { return std::bit_ceil((packets + 63) / 64 + 1); }

}  // namespace

ReplayWindow::ReplayWindow(uint32_t packets, uint64_t last_sequence) : top_(last_sequence), packets_(packets) {
  if (packets == 0) return;
  const uint32_t words = ring_words(packets);
  words_ = std::make_unique<uint64_t[]>(words);
  mask_ = words - 1;
  std::fill_n(words_.get(), words, last_sequence == 0 ? 0 : ~uint64_t{0});
  // Bits right of the top share the top's word: those numbers are still to come.
  if (last_sequence != 0 && (last_sequence & 63) != 63) {
    words_[(last_sequence >> 6) & mask_] = (uint64_t{1} << ((last_sequence & 63) + 1)) - 1;
  }
}

void ReplayWindow::advance(uint64_t sequence) {
  if (packets_ != 0) {
    // Words between the old top's and the new top's hold numbers from one turn of the ring ago.
    const uint64_t moved = (sequence >> 6) - (top_ >> 6);
    const uint64_t to_clear = std::min<uint64_t>(moved, uint64_t{mask_} + 1);
    for (uint64_t i = 1; i <= to_clear; i++) words_[((top_ >> 6) + i) & mask_] = 0;
  }
  top_ = sequence;
}

uint64_t ReplayWindow::infer(uint32_t low) const {
  // Exactly one number in [bottom, bottom + 2^32) has these low bits (RFC 4303 appendix A2.1, both cases at once).
  const uint64_t window = packets_ == 0 ? kInferenceWindowWithoutCheck : packets_;
  const uint64_t bottom = top_ - window + 1;
  const uint64_t inferred = bottom + static_cast<uint32_t>(low - static_cast<uint32_t>(bottom));
  // While the bottom is still left of zero the number can be, too. Nobody sent it: 0 is never fresh.
  const bool left_of_zero = bottom > top_ && inferred >= bottom;
  return left_of_zero ? 0 : inferred;
}

}  // namespace culvert::esp
