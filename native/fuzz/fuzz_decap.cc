// Fuzzes decap_run with a valid SA of every suite: runs of datagrams that are raw bytes, or plaintexts that are
// encrypted here as the peer would, so that padding, trailer, inner headers and selectors are reached, or such
// datagrams with a byte changed, cut off or added on their way.
//
// Input: suite, settings, then packets of { uint8 kind, uint16 sequence, uint16 place, uint16 length, length bytes }.
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "base/byte_order.h"
#include "base/ip.h"
#include "esp/inbound_sa.h"
#include "fuzz/suites.h"

namespace {

using namespace culvert;
using crypto::CipherMode;
using fuzz::require;
using fuzz::Suite;

constexpr size_t kMaxPackets = 100;  // more than one burst
constexpr size_t kPacketHeaderBytes = 7;
constexpr uint64_t kHighHalfChanges = 0xffff8000;  // with ESN: where the sequence numbers begin
constexpr uint64_t kFarAlong = uint64_t{5} << 32;

struct Settings {
  bool esn;
  uint32_t window;
  bool narrow;
  bool far_along;
  uint64_t hard_packets;

  explicit Settings(uint8_t byte) : esn((byte & 1) != 0), window(0) {
    constexpr uint32_t kWindows[] = {1024, 64, 0, esp::kMaxReplayWindow};
    window = kWindows[byte >> 1 & 3];
    narrow = (byte & 8) != 0;
    far_along = esn && (byte & 16) != 0;
    hard_packets = (byte & 32) != 0 ? 3 : 0;
  }
  /** What counts as received before the first packet. */
  uint64_t last_sequence() const { return !esn ? 0 : (far_along ? kFarAlong : kHighHalfChanges) + 0x4000; }
  /** Packets' numbers count from here: some are behind the window. */
  uint64_t start() const { return !esn ? 0 : far_along ? kFarAlong : kHighHalfChanges; }
};

std::unique_ptr<esp::InboundSa> make_sa(const Suite& suite, const Settings& settings) {
  TrafficSelector any[] = {{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}},
                           {{0, 0, Family::ipv6}, {~uint64_t{0}, ~uint64_t{0}, Family::ipv6}}};
  TrafficSelector narrow[] = {{{0, 0x0a000000, Family::ipv4}, {0, 0x0affffff, Family::ipv4}, 53, 53, kProtocolUdp},
                              {{0, 0, Family::ipv6}, {0, 9, Family::ipv6}, 65535, 0, 0}};
  const std::span<const TrafficSelector> local = settings.narrow ? narrow : any;
  auto params = fuzz::sa_params<esp::InboundSa::Params>(suite, settings.esn, local, any);
  params.replay_window = settings.window;
  params.last_sequence = settings.last_sequence();
  params.limits.hard_packets = settings.hard_packets;
  auto sa = esp::InboundSa::create(params);
  require(sa.ok(), "the SA could not be made");
  return std::move(sa).value();
}

const crypto::Cipher& peer(size_t suite) {
  static const std::vector<crypto::Cipher> ciphers = [] {
    std::vector<crypto::Cipher> made;
    for (const Suite& each : fuzz::suites()) {
      auto cipher = crypto::Cipher::create({.cipher = each.cipher,
                                            .integrity = each.integrity,
                                            .key = each.key(),
                                            .integrity_key = each.integrity_key()});
      require(cipher.ok(), "the peer's cipher could not be made");
      made.push_back(std::move(cipher).value());
    }
    return made;
  }();
  return ciphers[suite];
}

struct Datagram {
  std::unique_ptr<uint8_t[]> bytes;  // of exactly this size
  size_t size;
  uint64_t sequence;
  bool authentic;
};

Datagram exactly(std::span<const uint8_t> bytes, uint64_t sequence, bool authentic) {
  Datagram datagram{std::unique_ptr<uint8_t[]>(new uint8_t[bytes.size()]), bytes.size(), sequence, authentic};
  if (!bytes.empty()) std::memcpy(datagram.bytes.get(), bytes.data(), bytes.size());
  return datagram;
}

std::vector<uint8_t> sealed(std::span<const uint8_t> whole_text, uint64_t sequence, size_t which, bool esn) {
  const Suite& suite = fuzz::suites()[which];
  const size_t block = suite.cipher->block_bytes;
  const auto text = whole_text.first(whole_text.size() / block * block);
  std::vector<uint8_t> datagram(suite.text_at() + text.size() + suite.icv_bytes(), 0x11);
  uint8_t* const esp = datagram.data();
  store_be32(esp, fuzz::kSpi);
  store_be32(esp + 4, static_cast<uint32_t>(sequence));
  if (suite.cipher->iv_bytes != 0) store_be64(esp + esp::kEspHeaderBytes, sequence);
  if (!text.empty()) std::memcpy(esp + suite.text_at(), text.data(), text.size());
  crypto::CipherOp op{};
  op.text = esp + suite.text_at();
  op.text_bytes = static_cast<uint32_t>(text.size());
  op.icv = op.text + text.size();
  const size_t salt = suite.salt().size();
  if (salt != 0) std::memcpy(op.nonce, suite.salt().data(), salt);
  std::memcpy(op.nonce + salt, esp + esp::kEspHeaderBytes, suite.cipher->iv_bytes);
  if (suite.cipher->mode == CipherMode::ctr) op.nonce[15] = 1;
  if (suite.cipher->mode == CipherMode::aead) {
    store_be32(op.additional, fuzz::kSpi);
    if (esn) {
      store_be64(op.additional + 4, sequence);
    } else {
      store_be32(op.additional + 4, static_cast<uint32_t>(sequence));
    }
    op.additional_bytes = esn ? 12 : 8;
  } else {
    store_be32(op.additional, static_cast<uint32_t>(sequence >> 32));
    op.additional_bytes = esn ? 4 : 0;
    op.header_bytes = static_cast<uint8_t>(suite.text_at());
  }
  peer(which).seal({&op, 1});
  return datagram;
}

// One change to a datagram on its way: a byte, or its end.
void tamper(std::vector<uint8_t>& datagram, uint8_t kind, uint16_t place) {
  const size_t at = place % datagram.size();
  if ((kind & 8) == 0) {
    datagram[at] = static_cast<uint8_t>(datagram[at] ^ (kind | 1u));
  } else if ((kind & 16) == 0) {
    datagram.resize(at);
  } else {
    datagram.resize(datagram.size() + 1 + place % 40, kind);
  }
}

std::vector<Datagram> read_datagrams(std::span<const uint8_t> input, const Settings& settings, size_t suite) {
  std::vector<Datagram> datagrams;
  while (input.size() >= kPacketHeaderBytes && datagrams.size() < kMaxPackets) {
    const uint8_t kind = input[0];
    const uint64_t sequence = settings.start() + load_be16(&input[1]);
    const uint16_t place = load_be16(&input[3]);
    const size_t length = std::min<size_t>(load_be16(&input[5]), input.size() - kPacketHeaderBytes);
    const auto bytes = input.subspan(kPacketHeaderBytes, length);
    input = input.subspan(kPacketHeaderBytes + length);
    if ((kind & 1) != 0) {
      datagrams.push_back(exactly(bytes, 0, false));
      continue;
    }
    std::vector<uint8_t> datagram = sealed(bytes, sequence, suite, settings.esn);
    if ((kind & 2) != 0) tamper(datagram, kind, place);
    datagrams.push_back(exactly(datagram, sequence, (kind & 2) == 0));
  }
  return datagrams;
}

void check_opened(const Datagram& datagram, const esp::DecapItem& item, const Suite& suite) {
  require(datagram.authentic, "a datagram that nobody sealed was accepted");
  require(item.next_header == kProtocolIpv4 || item.next_header == kProtocolIpv6, "next header");
  require(item.inner == datagram.bytes.get() + suite.text_at(), "the inner packet is not where it was");
  require(suite.text_at() + item.inner_length + esp::kEspTrailerBytes + suite.icv_bytes() <= datagram.size,
          "inner length");
  const unsigned version = item.next_header == kProtocolIpv4 ? 4 : 6;
  require(ip_total_length(item.inner, item.inner_length, version) == item.inner_length, "inner header");
}

// What an attacker without the key can provoke; everything else needs a valid ICV.
bool is_for_strangers(Drop drop) {
  return drop == Drop::truncated || drop == Drop::bad_alignment || drop == Drop::replayed ||
         drop == Drop::sequence_zero || drop == Drop::bad_icv || drop == Drop::lifetime;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t which = data[0] % fuzz::suites().size();
  const Suite& suite = fuzz::suites()[which];
  const Settings settings(data[1]);
  const auto sa = make_sa(suite, settings);
  const std::vector<Datagram> datagrams = read_datagrams({data + 2, size - 2}, settings, which);
  std::vector<esp::DecapItem> items;
  for (const Datagram& datagram : datagrams) {
    items.push_back({datagram.bytes.get(), static_cast<uint32_t>(datagram.size), Drop::none, 0, nullptr, 0});
  }
  esp::decap_run(*sa, items);

  std::set<uint64_t> accepted;
  uint64_t dropped = 0;
  uint64_t highest = settings.last_sequence();
  for (size_t i = 0; i < items.size(); i++) {
    require(static_cast<size_t>(items[i].drop) < kDropCount, "drop reason");
    require(datagrams[i].authentic || is_for_strangers(items[i].drop), "a stranger's datagram got behind the ICV");
    if (datagrams[i].authentic) highest = std::max(highest, datagrams[i].sequence);
    if (items[i].drop != Drop::none) {
      dropped += 1;
      continue;
    }
    check_opened(datagrams[i], items[i], suite);
    require(datagrams[i].sequence > settings.last_sequence() || settings.window == 0, "a number from before");
    const bool is_new = accepted.insert(datagrams[i].sequence).second;
    require(is_new || settings.window == 0, "one sequence number was accepted twice");
  }
  require(sa->totals().packets + dropped == items.size(), "packets do not add up");
  require(sa->totals().sequence <= highest, "a stranger moved the window");
  require(settings.hard_packets == 0 || sa->totals().packets <= settings.hard_packets, "more than the hard limit");
  return 0;
}
