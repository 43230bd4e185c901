// Thread: the worker that owns the SA.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace culvert::esp {

/** Largest window that may be configured, in packets. */
inline constexpr uint32_t kMaxReplayWindow = 65536;

/**
 * The anti-replay window of RFC 4303 §3.4.3 as a ring of 64-bit words in the manner of RFC 6479: a number's word is
 * found by masking, and the window moves by clearing whole words. The ring holds one word more than the window so that
 * a word is never shared by a number inside it and one to its right. All numbers are 64 bits; with window 0 every
 * number but 0 is fresh.
 */
class ReplayWindow {
 public:
  /**
   * `packets`: 0 (no check) to kMaxReplayWindow; exact, not rounded. Everything up to `last_sequence` counts as seen:
   * the state of an SA that was taken over from elsewhere.
   */
  explicit ReplayWindow(uint32_t packets, uint64_t last_sequence = 0);

  /** Neither seen nor left of the window. Number 0 is never fresh. */
  bool is_fresh(uint64_t sequence) const {
    if (sequence == 0) return false;
    if (packets_ == 0 || sequence > top_) return true;
    if (top_ - sequence >= packets_) return false;
    return (words_[(sequence >> 6) & mask_] & bit(sequence)) == 0;
  }

  /** Marks a number whose packet was authentic. False, and nothing changes, when it is not fresh. */
  bool accept(uint64_t sequence) {
    if (!is_fresh(sequence)) return false;
    if (sequence > top_) advance(sequence);
    if (packets_ != 0) words_[(sequence >> 6) & mask_] |= bit(sequence);
    return true;
  }

  /** Highest accepted number, 0 at first. */
  uint64_t top() const { return top_; }
  uint32_t packets() const { return packets_; }

  /**
   * RFC 4303 appendix A2: the 64-bit number that the 32 bits on the wire stand for, given this window. With a window
   * of 0 packets the bits are read as the nearest number to the top, as appendix A would with one of 2^31.
   */
  uint64_t infer(uint32_t low) const;

 private:
  static uint64_t bit(uint64_t sequence) { return uint64_t{1} << (sequence & 63); }
  void advance(uint64_t sequence);

  uint64_t top_ = 0;
  uint32_t packets_;
  uint32_t mask_ = 0;  // words in the ring, less one
  std::unique_ptr<uint64_t[]> words_;
};

}  // namespace culvert::esp
