#include "esp/outbound_sa.h"

#include <algorithm>
#include <cstring>

#include "base/byte_order.h"
#include "esp/transform.h"

namespace culvert::esp {
namespace {

constexpr uint64_t kNoLimit = ~uint64_t{0};

/**
 * The last sequence number that is ever sent (RFC 4303 §3.3.3). Workers that ask for more still move the counter, by
 * less than one run each, before they see that it is over; with ESN the difference to 2^64 keeps that from wrapping.
 */
constexpr uint64_t kLastSequence = 0xffffffff;
constexpr uint64_t kLastExtendedSequence = ~uint64_t{0} - kLastSequence;

/** Longest run that is reserved with one add: far above any batch, so that counters cannot overshoot by much. */
constexpr size_t kMaxRun = 4096;

uint64_t limit_or_none(uint64_t limit) { return limit == 0 ? kNoLimit : limit; }

uint64_t add_capped(uint64_t a, uint64_t b, uint64_t cap) { return b > cap || a > cap - b ? cap : a + b; }

/** RFC 4303 §2.4: padding bytes are 1, 2, 3 and so on. */
alignas(16) constexpr uint8_t kPadding[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/**
 * Pads the packet and adds the trailer; returns the length of what is encrypted. Nothing behind the ICV is touched, so
 * that datagrams can lie back to back: the stores below are wider than the padding, and what is too much of them is
 * where trailer and ICV, at least 2 + 12 bytes, are written next.
 */
template <crypto::CipherMode kMode>
inline uint32_t add_trailer(const EncapItem& item, uint32_t align) {
  const uint32_t pad = (0u - (item.inner_length + static_cast<uint32_t>(kEspTrailerBytes))) & (align - 1);
  uint8_t* tail = item.inner + item.inner_length;
  if constexpr (kMode == crypto::CipherMode::null) {
    std::copy_n(kPadding, pad, tail);  // the benchmark's null path has no ICV
  } else if constexpr (kMode == crypto::CipherMode::cbc) {
    // Up to 15 bytes: eight, and the second eight only when the padding reaches into them.
    std::memcpy(tail, kPadding, 8);
    std::memcpy(tail + (pad & 8), kPadding + (pad & 8), 8);
  } else {
    std::memcpy(tail, kPadding, kMinAlign);  // up to 3
  }
  store_be16(tail + pad, static_cast<uint16_t>(pad << 8 | item.next_header));
  return item.inner_length + pad + static_cast<uint32_t>(kEspTrailerBytes);
}

uint64_t inner_bytes(std::span<const EncapItem> items) {
  uint64_t bytes = 0;
  for (const EncapItem& item : items) bytes += item.inner_length;
  return bytes;
}

}  // namespace

Result<std::unique_ptr<OutboundSa>> OutboundSa::create(const Params& params) {
  auto parts = make_sa_parts(params);
  if (!parts) return Error{parts.error()};
  const uint64_t last = params.esn ? kLastExtendedSequence : kLastSequence;
  if (params.last_sequence > last) return Error{"the sequence number to continue from is out of range"};
  std::optional<crypto::IvSource> iv_source;
  if (parts.value().mode == crypto::CipherMode::cbc) {
    auto made = crypto::IvSource::create(params.backend);
    if (!made) return Error{made.error()};
    iv_source = std::move(made).value();
  }
  return std::unique_ptr<OutboundSa>(new OutboundSa(params, std::move(parts).value(), std::move(iv_source)));
}

OutboundSa::OutboundSa(const Params& params, SaParts parts, std::optional<crypto::IvSource> iv_source)
    : spi_(params.spi),
      connection_(params.connection),
      esn_(params.esn),
      mode_(parts.mode),
      salt_(parts.salt),
      geometry_(parts.geometry),
      stop_reason_(Drop::sequence_exhausted),
      stop_sequence_(params.esn ? kLastExtendedSequence : kLastSequence),
      soft_sequence_(stop_sequence_ / 4 * 3),  // time enough to rekey before the numbers are used up
      cipher_(std::move(parts.cipher)),
      iv_source_(std::move(iv_source)),
      sequence_(params.last_sequence),
      soft_bytes_(limit_or_none(params.limits.soft_bytes)),
      hard_bytes_(limit_or_none(params.limits.hard_bytes)),
      initial_sequence_(params.last_sequence),
      selectors_(std::move(parts.selectors)),
      carries_later_fragments_(params.non_first_fragments || !selectors_.names_ports()) {
  // A packet limit is a sequence number: one comparison serves both.
  const SaLimits& limits = params.limits;
  if (limits.hard_packets != 0) {
    const uint64_t hard_sequence = add_capped(params.last_sequence, limits.hard_packets, stop_sequence_);
    if (hard_sequence < stop_sequence_) {
      stop_sequence_ = hard_sequence;
      stop_reason_ = Drop::lifetime;
    }
  }
  soft_sequence_ = std::min(soft_sequence_, stop_sequence_);
  if (limits.soft_packets != 0) {
    soft_sequence_ = std::min(soft_sequence_, add_capped(params.last_sequence, limits.soft_packets, stop_sequence_));
  }
  if (params.last_sequence >= stop_sequence_) crossed_ = kSoftLimit | kHardLimit;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // supported by both compilers; the members are private
  static_assert(alignof(OutboundSa) == kCacheLineBytes);
  static_assert(offsetof(OutboundSa, sequence_) == 2 * kCacheLineBytes, "the read-mostly part of an SA is two lines");
  static_assert(offsetof(OutboundSa, soft_bytes_) == 3 * kCacheLineBytes, "contended words share no line with others");
#pragma GCC diagnostic pop
}

SaTotals OutboundSa::totals() const {
  const uint64_t sequence = std::min(sequence_.load(std::memory_order_relaxed), stop_sequence_);
  return {.packets = sequence - initial_sequence_,
          .bytes = bytes_.load(std::memory_order_relaxed),
          .sequence = sequence,
          .last_used_ms = last_used_ms_.load(std::memory_order_relaxed)};
}

uint8_t OutboundSa::take_crossed_limits() {
  if (!limits_crossed()) return 0;
  const uint8_t crossed = crossed_.load(std::memory_order_relaxed);
  return static_cast<uint8_t>(crossed & ~reported_.fetch_or(crossed, std::memory_order_relaxed));
}

OutboundSa::Reservation OutboundSa::reserve(std::span<const EncapItem> items) {
  const size_t wanted = items.size();
  // Looked at before anything is added, so that counters of an SA that is used up stay where they are.
  if ((crossed_.load(std::memory_order_relaxed) & kHardLimit) != 0) [[unlikely]] {
    const bool out_of_numbers = sequence_.load(std::memory_order_relaxed) >= stop_sequence_;
    return {0, 0, out_of_numbers ? stop_reason_ : Drop::lifetime};
  }
  const uint64_t bytes = inner_bytes(items);
  Reservation numbers{sequence_.fetch_add(wanted, std::memory_order_relaxed) + 1, wanted, Drop::none};
  const uint64_t last = numbers.first + wanted - 1;
  if (last >= soft_sequence_) [[unlikely]] {
    uint8_t crossed = kSoftLimit;
    if (last >= stop_sequence_) crossed |= kHardLimit;
    crossed_.fetch_or(crossed, std::memory_order_relaxed);
    if (last > stop_sequence_) {
      const uint64_t left = numbers.first > stop_sequence_ ? 0 : stop_sequence_ - numbers.first + 1;
      numbers.count = static_cast<size_t>(left);
      numbers.refused = stop_reason_;
      return reserve_bytes(items, numbers, inner_bytes(items.first(numbers.count)));
    }
  }
  return reserve_bytes(items, numbers, bytes);
}

OutboundSa::Reservation OutboundSa::reserve_bytes(std::span<const EncapItem> items, Reservation numbers,
                                                  uint64_t bytes) {
  const uint64_t before = bytes_.fetch_add(bytes, std::memory_order_relaxed);
  const uint64_t after = before + bytes;
  if (after < std::min(soft_bytes_, hard_bytes_)) [[likely]] {
    return numbers;
  }
  crossed_.fetch_or(after >= hard_bytes_ ? kSoftLimit | kHardLimit : kSoftLimit, std::memory_order_relaxed);
  // Seals what fits. Numbers of the rest are never used: a gap on the wire is harmless, a number used twice is not.
  uint64_t fitting = before;
  size_t count = 0;
  while (count < numbers.count && fitting + items[count].inner_length <= hard_bytes_) {
    fitting += items[count++].inner_length;
  }
  if (count < numbers.count) {
    bytes_.fetch_sub(after - fitting, std::memory_order_relaxed);
    numbers.count = count;
    numbers.refused = Drop::lifetime;
  }
  return numbers;
}

template <crypto::CipherMode kMode, bool kEsn>
void OutboundSa::seal_burst(std::span<EncapItem> items, uint64_t first_sequence) const {
  crypto::CipherOp ops[crypto::kBurst];
  const uint32_t header_bytes = geometry_.header_bytes;
  const uint32_t icv_bytes = geometry_.icv_bytes;
  const uint32_t align = geometry_.align;
  const uint32_t iv_bytes = header_bytes - static_cast<uint32_t>(kEspHeaderBytes);
  uint8_t ivs[kMode == crypto::CipherMode::cbc ? crypto::kBurst * kMaxIvBytes : 1];
  if constexpr (kMode == crypto::CipherMode::cbc) {
    // A sequence number belongs to one burst, so that the number of its first packet is used once.
    iv_source_->fill(first_sequence, {ivs, items.size() * iv_bytes});
  }
  uint64_t sequence = first_sequence;
  for (size_t i = 0; i < items.size(); i++, sequence++) {
    EncapItem& item = items[i];
    crypto::CipherOp& op = ops[i];
    uint8_t* esp = item.inner - header_bytes;
    const uint64_t header = to_be64(uint64_t{spi_} << 32 | static_cast<uint32_t>(sequence));
    std::memcpy(esp, &header, sizeof header);
    const uint32_t text_bytes = add_trailer<kMode>(item, align);
    op.text = item.inner;
    op.text_bytes = text_bytes;
    op.icv = item.inner + text_bytes;
    if constexpr (kMode == crypto::CipherMode::cbc) {
      copy_iv(op.nonce, ivs + i * iv_bytes, iv_bytes);
      copy_iv(esp + kEspHeaderBytes, ivs + i * iv_bytes, iv_bytes);
    } else if constexpr (kMode != crypto::CipherMode::null) {
      store_be64(esp + kEspHeaderBytes, sequence);
    }
    fill_op<kMode, kEsn>(op, header, to_be64(sequence), sequence, salt_, header_bytes);
    item.esp = esp;
    item.esp_length = header_bytes + text_bytes + icv_bytes;
    item.drop = Drop::none;
  }
  cipher_.seal({ops, items.size()});
}

void OutboundSa::refuse(std::span<EncapItem> items, Drop reason) {
  if (items.empty()) return;
  for (EncapItem& item : items) item.drop = reason;
  drops_[static_cast<size_t>(reason)].fetch_add(items.size(), std::memory_order_relaxed);
}

void encap_run(OutboundSa& sa, std::span<EncapItem> items) {
  using crypto::CipherMode;
  using Burst = void (OutboundSa::*)(std::span<EncapItem>, uint64_t) const;
  // Row: cipher mode, in the order of the enum. Column: ESN.
  static constexpr Burst kBursts[crypto::kCipherModes][2] = {
      {&OutboundSa::seal_burst<CipherMode::aead, false>, &OutboundSa::seal_burst<CipherMode::aead, true>},
      {&OutboundSa::seal_burst<CipherMode::cbc, false>, &OutboundSa::seal_burst<CipherMode::cbc, true>},
      {&OutboundSa::seal_burst<CipherMode::ctr, false>, &OutboundSa::seal_burst<CipherMode::ctr, true>},
      {&OutboundSa::seal_burst<CipherMode::null, false>, &OutboundSa::seal_burst<CipherMode::null, true>},
  };
  const Burst seal_burst = kBursts[static_cast<size_t>(sa.mode_)][sa.esn_];

  while (!items.empty()) {
    const auto run = items.first(std::min(items.size(), kMaxRun));
    items = items.subspan(run.size());
    const OutboundSa::Reservation numbers = sa.reserve(run);
    for (size_t done = 0; done < numbers.count; done += crypto::kBurst) {
      const size_t count = std::min(numbers.count - done, crypto::kBurst);
      (sa.*seal_burst)(run.subspan(done, count), numbers.first + done);
    }
    sa.refuse(run.subspan(numbers.count), numbers.refused);
  }
}

}  // namespace culvert::esp
