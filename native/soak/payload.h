// Thread: any. What the inner packets of the soak hold: every byte of it can be checked where it arrives.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/counter.h"

namespace culvert::soak {

/** Numbers that repeat: SplitMix64. */
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
  /** True in `parts` of a million cases. */
  bool per_million(uint32_t parts) { return below(1'000'000) < parts; }

 private:
  uint64_t state_;
};

/** Random bytes that both ends know, without an end: the first 64 KB over and over. */
class Pattern {
 public:
  static constexpr size_t kPeriod = 65536;
  static constexpr size_t kMostBytes = 65536;  // that may be read from one place

  static const uint8_t* at(uint64_t offset) { return table().data() + offset % kPeriod; }

 private:
  using Table = std::array<uint8_t, kPeriod + kMostBytes>;

  static const Table& table() {
    static const std::unique_ptr<Table> made = [] {
      auto bytes = std::make_unique<Table>();
      Random random(0x50616e);
      for (size_t i = 0; i < bytes->size(); i++)
        (*bytes)[i] = i < kPeriod ? static_cast<uint8_t>(random.next()) : (*bytes)[i - kPeriod];
      return bytes;
    }();
    return *made;
  }
};

/** In front of every datagram; the checksum covers all of the payload but itself. */
struct DatagramHeader {
  uint64_t checksum;
  uint64_t sequence;
  uint32_t flow;
  uint32_t length;
};
static_assert(sizeof(DatagramHeader) == 24);

inline uint64_t payload_checksum(std::span<const uint8_t> payload) {
  uint64_t sum = payload.size();
  size_t at = sizeof(uint64_t);
  for (; at + 8 <= payload.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, payload.data() + at, 8);
    sum = (sum ^ word) * 0x9fb21c651e98df25;
    sum ^= sum >> 29;
  }
  for (; at < payload.size(); at++) sum = (sum ^ payload[at]) * 0x9fb21c651e98df25;
  return sum;
}

/** Fills a payload of at least sizeof(DatagramHeader) bytes. */
inline void write_payload(std::span<uint8_t> payload, uint32_t flow, uint64_t sequence) {
  DatagramHeader header{0, sequence, flow, static_cast<uint32_t>(payload.size())};
  std::memcpy(payload.data(), &header, sizeof header);
  const uint64_t seed = (sequence * 1009 + flow) * 8;
  std::memcpy(payload.data() + sizeof header, Pattern::at(seed), payload.size() - sizeof header);
  header.checksum = payload_checksum(payload);
  std::memcpy(payload.data(), &header.checksum, sizeof header.checksum);
}

/** Whether the payload is whole and of this flow; its sequence number then. */
inline bool read_payload(std::span<const uint8_t> payload, uint32_t flow, uint64_t& sequence) {
  DatagramHeader header;
  if (payload.size() < sizeof header) return false;
  std::memcpy(&header, payload.data(), sizeof header);
  if (header.flow != flow || header.length != payload.size() || header.checksum != payload_checksum(payload))
    return false;
  const uint64_t seed = (header.sequence * 1009 + flow) * 8;
  sequence = header.sequence;
  return std::memcmp(payload.data() + sizeof header, Pattern::at(seed), payload.size() - sizeof header) == 0;
}

/** Which of a flow's datagrams arrived: the last 65,536 are remembered. */
class Arrivals {
 public:
  static constexpr uint64_t kWindow = 65536;

  enum class Kind { in_order, late, twice };

  Kind take(uint64_t sequence) {
    if (sequence >= next_) {
      const uint64_t from = sequence - next_ >= kWindow ? sequence - kWindow + 1 : next_;
      for (uint64_t n = from; n <= sequence; n++) word(n) &= ~bit(n);
      word(sequence) |= bit(sequence);
      next_ = sequence + 1;
      return Kind::in_order;
    }
    if (next_ - sequence > kWindow || (word(sequence) & bit(sequence)) != 0) return Kind::twice;
    word(sequence) |= bit(sequence);
    return Kind::late;
  }

 private:
  static uint64_t bit(uint64_t n) { return uint64_t{1} << (n & 63); }
  uint64_t& word(uint64_t n) { return words_[(n % kWindow) / 64]; }

  uint64_t next_ = 0;
  std::array<uint64_t, kWindow / 64> words_{};
};

}  // namespace culvert::soak
