#include "esp/inbound_sa.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/byte_order.h"
#include "base/fragment.h"
#include "base/ip.h"
#include "esp/transform.h"

namespace culvert::esp {
namespace {

constexpr uint64_t kNoLimit = ~uint64_t{0};

uint64_t limit_or_none(uint64_t limit) { return limit == 0 ? kNoLimit : limit; }

/** True when the `pad` bytes before `end` are 1, 2, 3 … (RFC 4303 §2.4). At least 8 bytes before `end` are readable. */
bool is_default_padding(const uint8_t* end, uint32_t pad) {
  if (pad <= 4) [[likely]] {
    const uint64_t counting = 0x04030201;
    const uint64_t found = load_be32(end - 4);
    const uint64_t expected = __builtin_bswap32(static_cast<uint32_t>(counting << (8 * (4 - pad))));
    const uint64_t mask = (uint64_t{1} << (8 * pad)) - 1;
    return ((found ^ expected) & mask) == 0;
  }
  for (uint32_t i = 0; i < pad; i++) {
    if (end[static_cast<ptrdiff_t>(i) - static_cast<ptrdiff_t>(pad)] != i + 1) return false;
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<InboundSa>> InboundSa::create(const Params& params) {
  if (params.replay_window > kMaxReplayWindow) {
    return Error{"replay window " + std::to_string(params.replay_window) + " is out of range: 0 to " +
                 std::to_string(kMaxReplayWindow) + " packets"};
  }
  if (!params.esn && params.last_sequence > 0xffffffff)
    return Error{"the sequence number to continue from is out of range"};
  auto parts = make_sa_parts(params);
  if (!parts) return Error{parts.error()};
  return std::unique_ptr<InboundSa>(new InboundSa(params, std::move(parts).value()));
}

InboundSa::InboundSa(const Params& params, SaParts parts)
    : spi_(params.spi),
      connection_(params.connection),
      esn_(params.esn),
      mode_(parts.mode),
      salt_(parts.salt),
      geometry_(parts.geometry),
      window_(params.replay_window, params.last_sequence),
      cipher_(std::move(parts.cipher)),
      soft_packets_(limit_or_none(params.limits.soft_packets)),
      hard_packets_(limit_or_none(params.limits.hard_packets)),
      soft_bytes_(limit_or_none(params.limits.soft_bytes)),
      hard_bytes_(limit_or_none(params.limits.hard_bytes)),
      selectors_(std::move(parts.selectors)),
      carries_later_fragments_(params.non_first_fragments || !selectors_.names_ports()) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // supported by both compilers; the members are private
  static_assert(alignof(InboundSa) == kCacheLineBytes);
  static_assert(offsetof(InboundSa, packets_) == 2 * kCacheLineBytes, "window and key handle are two lines");
  static_assert(offsetof(InboundSa, selectors_) == 3 * kCacheLineBytes, "totals and limits are one line");
#pragma GCC diagnostic pop
}

SaTotals InboundSa::totals() const {
  return {.packets = packets_.read(),
          .bytes = bytes_.read(),
          .sequence = sequence_.read(),
          .last_used_ms = last_used_ms_.read()};
}

uint8_t InboundSa::take_crossed_limits() {
  const auto news = static_cast<uint8_t>(crossed_ & ~reported_);
  reported_ = crossed_;
  return news;
}

bool InboundSa::at_hard_limit(const Accepted& so_far) const {
  return packets_.read() + so_far.packets >= hard_packets_ || bytes_.read() + so_far.bytes >= hard_bytes_;
}

void InboundSa::note_limits() {
  const uint64_t packets = packets_.read();
  const uint64_t bytes = bytes_.read();
  if (packets >= soft_packets_ || bytes >= soft_bytes_) crossed_ |= kSoftLimit;
  if (packets >= hard_packets_ || bytes >= hard_bytes_) crossed_ |= kSoftLimit | kHardLimit;
}

/** Everything that can be refused without a key; fills one op for each packet that remains and returns their number. */
template <crypto::CipherMode kMode, bool kEsn>
size_t InboundSa::admit(std::span<DecapItem> items, crypto::CipherOp* ops, InFlight* in_flight) const {
  const uint32_t header_bytes = geometry_.header_bytes;
  const uint32_t fixed_bytes = header_bytes + geometry_.icv_bytes;
  const uint32_t align = geometry_.align;
  size_t admitted = 0;
  for (DecapItem& item : items) {
    if (item.esp_length < fixed_bytes + align) {
      item.drop = Drop::truncated;
      continue;
    }
    const uint32_t text_bytes = item.esp_length - fixed_bytes;
    if ((text_bytes & (align - 1)) != 0) {
      item.drop = Drop::bad_alignment;
      continue;
    }
    const uint8_t* esp = item.esp;
    const uint32_t low = load_be32(esp + 4);
    const uint64_t sequence = kEsn ? window_.infer(low) : low;
    if (!window_.is_fresh(sequence)) {
      item.drop = sequence == 0 && low == 0 ? Drop::sequence_zero : Drop::replayed;
      continue;
    }

    crypto::CipherOp& op = ops[admitted];
    op.text = item.esp + header_bytes;
    op.text_bytes = text_bytes;
    op.icv = op.text + text_bytes;
    if constexpr (kMode == crypto::CipherMode::cbc) {
      copy_iv(op.nonce, esp + kEspHeaderBytes, header_bytes - kEspHeaderBytes);
    }
    // The packet's own, which the ICV covers: a forged SPI is not authentic.
    uint64_t header;
    uint64_t iv = 0;
    std::memcpy(&header, esp, sizeof header);
    if constexpr (kMode == crypto::CipherMode::aead || kMode == crypto::CipherMode::ctr) {
      std::memcpy(&iv, esp + kEspHeaderBytes, sizeof iv);
    }
    fill_op<kMode, kEsn>(op, header, iv, sequence, salt_, header_bytes);
    in_flight[admitted] = {sequence, &item};
    admitted++;
  }
  return admitted;
}

/** Checks what was decrypted and points the item at the inner packet. */
Drop InboundSa::unwrap(const crypto::CipherOp& op, DecapItem& item) const {
  const uint8_t* trailer = op.text + op.text_bytes - kEspTrailerBytes;
  const uint32_t pad = trailer[0];
  const uint8_t next_header = trailer[1];
  const uint32_t payload_and_pad = op.text_bytes - static_cast<uint32_t>(kEspTrailerBytes);
  if (pad > payload_and_pad || !is_default_padding(trailer, pad)) return Drop::bad_padding;
  if (next_header != kProtocolIpv4 && next_header != kProtocolIpv6) {
    return next_header == kProtocolNoNext ? Drop::dummy : Drop::bad_next_header;
  }

  item.follow_fragment = false;
  const bool is_ipv4 = next_header == kProtocolIpv4;
  const size_t inner_length = ip_total_length(op.text, payload_and_pad - pad, is_ipv4 ? 4 : 6);
  if (inner_length == 0) return Drop::bad_inner;
  if (!selectors_.matches_all(is_ipv4 ? Family::ipv4 : Family::ipv6)) {
    IpPacket packet;
    if (parse_ip({op.text, inner_length}, packet) != Drop::none) return Drop::bad_inner;
    if (packet.is_fragment && selectors_.needs_first_fragment()) [[unlikely]] {
      if (const Drop drop = admit_fragment(packet); drop != Drop::none) return drop;
      item.follow_fragment = true;
    } else if (!selectors_.matches(packet, Direction::inbound)) {
      return Drop::selector_mismatch;
    }
  }
  item.next_header = next_header;
  item.inner = op.text;
  item.inner_length = static_cast<uint32_t>(inner_length);
  return Drop::none;
}

/** A later fragment may pass for now when it may belong to a packet of the SA: the caller knows what the first said. */
Drop InboundSa::admit_fragment(const IpPacket& packet) const {
  if (selectors_.matches(packet, Direction::inbound)) return Drop::none;
  if (!packet.is_later_fragment) return is_tiny_first(packet) ? Drop::fragment_tiny : Drop::selector_mismatch;
  if (!selectors_.may_match(packet, Direction::inbound)) return Drop::selector_mismatch;
  return carries_later_fragments_ ? Drop::none : Drop::fragment_refused;
}

template <crypto::CipherMode kMode, bool kEsn>
InboundSa::Accepted InboundSa::open_burst(std::span<DecapItem> items, const Accepted& so_far) {
  crypto::CipherOp ops[crypto::kBurst];
  InFlight in_flight[crypto::kBurst];
  const size_t admitted = admit<kMode, kEsn>(items, ops, in_flight);
  cipher_.open({ops, admitted});

  Accepted accepted = so_far;
  for (size_t i = 0; i < admitted; i++) {
    DecapItem& item = *in_flight[i].item;
    if (!ops[i].authentic) {
      item.drop = Drop::bad_icv;
      continue;
    }
    if (at_hard_limit(accepted)) {
      item.drop = Drop::lifetime;
      continue;
    }
    // RFC 4303 §3.4.3: the window moves only now that the packet is known to be the peer's. It is asked again because
    // all packets of a burst were checked before the first of them moved it: a burst may hold one packet many times
    // over, and only the first copy that gets here is accepted. What the early check saves is decryption; an attacker
    // who replays inside one burst makes us decrypt at most that burst and gets nothing through.
    if (!window_.accept(in_flight[i].sequence)) {
      item.drop = Drop::replayed;
      continue;
    }
    item.drop = unwrap(ops[i], item);
    if (item.drop != Drop::none) continue;
    accepted.packets++;
    accepted.bytes += item.inner_length;
  }
  return accepted;
}

void decap_run(InboundSa& sa, std::span<DecapItem> items) {
  using crypto::CipherMode;
  using Burst = InboundSa::Accepted (InboundSa::*)(std::span<DecapItem>, const InboundSa::Accepted&);
  // Row: cipher mode, in the order of the enum. Column: ESN.
  static constexpr Burst kBursts[crypto::kCipherModes][2] = {
      {&InboundSa::open_burst<CipherMode::aead, false>, &InboundSa::open_burst<CipherMode::aead, true>},
      {&InboundSa::open_burst<CipherMode::cbc, false>, &InboundSa::open_burst<CipherMode::cbc, true>},
      {&InboundSa::open_burst<CipherMode::ctr, false>, &InboundSa::open_burst<CipherMode::ctr, true>},
      {&InboundSa::open_burst<CipherMode::null, false>, &InboundSa::open_burst<CipherMode::null, true>},
  };
  const Burst open_burst = kBursts[static_cast<size_t>(sa.mode_)][sa.esn_];

  InboundSa::Accepted accepted;
  const bool worn_out = sa.at_hard_limit(accepted);
  if (worn_out) {
    for (DecapItem& item : items) item.drop = Drop::lifetime;
  } else {
    for (size_t done = 0; done < items.size(); done += crypto::kBurst) {
      const size_t count = std::min(items.size() - done, crypto::kBurst);
      accepted = (sa.*open_burst)(items.subspan(done, count), accepted);
    }
  }

  sa.packets_.add(accepted.packets);
  sa.bytes_.add(accepted.bytes);
  sa.sequence_.set(sa.window_.top());
  sa.note_limits();
  if (accepted.packets == items.size()) [[likely]] {
    return;
  }
  for (const DecapItem& item : items) {
    if (item.drop != Drop::none) sa.drops_[static_cast<size_t>(item.drop)].increment();
  }
}

}  // namespace culvert::esp
