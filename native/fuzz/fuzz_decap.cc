// Fuzzes decap_run with a valid SA: runs of datagrams that are either raw bytes, or plaintexts that are encrypted here
// as the peer would, so that padding, trailer, inner headers and selectors are reached.
//
// Input: one byte of settings, then packets of { uint8 kind, uint8 sequence, uint16 length, length bytes }.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "base/byte_order.h"
#include "base/ip.h"
#include "crypto/cipher.h"
#include "esp/inbound_sa.h"

namespace {

using namespace culvert;

constexpr uint32_t kSpi = 0xc0de0001;
constexpr size_t kMaxPackets = 100;  // more than one burst
constexpr size_t kPacketHeaderBytes = 4;
constexpr uint8_t kKey[20] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

/** A combined mode, and a block cipher with an HMAC. */
struct Suite {
  uint16_t encr;
  uint16_t integ;
  size_t key_bytes;
  size_t integrity_key_bytes;
  size_t text_at;
  size_t icv_bytes;
  size_t block_bytes;

  std::span<const uint8_t> key() const { return {kKey, key_bytes}; }
  std::span<const uint8_t> integrity_key() const { return {kKey, integrity_key_bytes}; }
};
constexpr Suite kSuites[] = {{20, 0, 20, 0, 8 + 8, 16, 1}, {12, 2, 16, 20, 8 + 16, 12, 16}};

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz_decap: %s\n", what);
  std::abort();
}

struct Settings {
  bool esn;
  uint32_t window;
  bool narrow;
  bool is_cbc;

  explicit Settings(uint8_t byte)
      : esn((byte & 1) != 0),
        window(byte & 2   ? 64
               : byte & 4 ? 0
                          : 1024),
        narrow((byte & 8) != 0),
        is_cbc((byte & 16) != 0) {}
  const Suite& suite() const { return kSuites[is_cbc]; }
  /** With ESN the window starts where its high half is about to change. */
  uint64_t start() const { return esn ? 0xfffffff0 : 0; }
};

std::unique_ptr<esp::InboundSa> make_sa(const Settings& settings) {
  TrafficSelector any[] = {{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}},
                           {{0, 0, Family::ipv6}, {~uint64_t{0}, ~uint64_t{0}, Family::ipv6}}};
  TrafficSelector narrow[] = {{{0, 0x0a000000, Family::ipv4}, {0, 0x0affffff, Family::ipv4}, 53, 53, kProtocolUdp},
                              {{0, 0, Family::ipv6}, {0, 9, Family::ipv6}, 65535, 0, 0}};
  esp::InboundSa::Params params;
  params.spi = kSpi;
  params.encr = settings.suite().encr;
  params.encr_key_bits = 128;
  params.encr_key = settings.suite().key();
  params.integ = settings.suite().integ;
  params.integ_key = settings.suite().integrity_key();
  params.esn = settings.esn;
  params.replay_window = settings.window;
  params.last_sequence = settings.start();
  params.local_selectors = settings.narrow ? narrow : any;
  params.remote_selectors = any;
  auto sa = esp::InboundSa::create(params);
  require(sa.ok(), "the SA could not be made");
  return std::move(sa).value();
}

crypto::Cipher make_peer(const Suite& suite) {
  auto made = crypto::Cipher::create({.cipher = crypto::find_cipher(suite.encr, 128),
                                      .integrity = crypto::find_integrity(suite.integ),
                                      .key = suite.key(),
                                      .integrity_key = suite.integrity_key()});
  require(made.ok(), "the peer's cipher could not be made");
  return std::move(made).value();
}

const crypto::Cipher& peer(const Settings& settings) {
  static const crypto::Cipher ciphers[] = {make_peer(kSuites[0]), make_peer(kSuites[1])};
  return ciphers[settings.is_cbc];
}

struct Datagram {
  std::unique_ptr<uint8_t[]> bytes;  // of exactly this size
  size_t size;
  uint64_t sequence;
  bool sealed;
};

Datagram raw(std::span<const uint8_t> bytes) {
  Datagram datagram{std::unique_ptr<uint8_t[]>(new uint8_t[bytes.size()]), bytes.size(), 0, false};
  if (!bytes.empty()) std::memcpy(datagram.bytes.get(), bytes.data(), bytes.size());
  return datagram;
}

Datagram sealed(std::span<const uint8_t> whole_text, uint64_t sequence, const Settings& settings) {
  const Suite& suite = settings.suite();
  const auto text = whole_text.first(whole_text.size() / suite.block_bytes * suite.block_bytes);
  const size_t size = suite.text_at + text.size() + suite.icv_bytes;
  Datagram datagram{std::unique_ptr<uint8_t[]>(new uint8_t[size]), size, sequence, true};
  uint8_t* esp = datagram.bytes.get();
  store_be32(esp, kSpi);
  store_be32(esp + 4, static_cast<uint32_t>(sequence));
  std::memset(esp + 8, 0x11, suite.text_at - 8);
  store_be64(esp + 8, sequence);
  if (!text.empty()) std::memcpy(esp + suite.text_at, text.data(), text.size());
  crypto::CipherOp op{};
  op.text = esp + suite.text_at;
  op.text_bytes = static_cast<uint32_t>(text.size());
  op.icv = op.text + text.size();
  if (settings.is_cbc) {
    std::memcpy(op.nonce, esp + 8, 16);
    store_be32(op.additional, static_cast<uint32_t>(sequence >> 32));
    op.additional_bytes = settings.esn ? 4 : 0;
    op.header_bytes = static_cast<uint8_t>(suite.text_at);
  } else {
    std::memcpy(op.nonce, kKey + 16, 4);
    store_be64(op.nonce + 4, sequence);
    store_be32(op.additional, kSpi);
    if (settings.esn) {
      store_be64(op.additional + 4, sequence);
    } else {
      store_be32(op.additional + 4, static_cast<uint32_t>(sequence));
    }
    op.additional_bytes = settings.esn ? 12 : 8;
  }
  peer(settings).seal({&op, 1});
  return datagram;
}

std::vector<Datagram> read_datagrams(std::span<const uint8_t> input, const Settings& settings) {
  std::vector<Datagram> datagrams;
  while (input.size() >= kPacketHeaderBytes && datagrams.size() < kMaxPackets) {
    const bool is_raw = (input[0] & 1) != 0;
    const uint64_t sequence = settings.start() + input[1];
    const size_t length = std::min<size_t>(load_be16(&input[2]), input.size() - kPacketHeaderBytes);
    const auto bytes = input.subspan(kPacketHeaderBytes, length);
    datagrams.push_back(is_raw ? raw(bytes) : sealed(bytes, sequence, settings));
    input = input.subspan(kPacketHeaderBytes + length);
  }
  return datagrams;
}

void check_opened(const Datagram& datagram, const esp::DecapItem& item, const Suite& suite) {
  require(datagram.sealed, "a datagram that nobody sealed was accepted");
  require(item.next_header == kProtocolIpv4 || item.next_header == kProtocolIpv6, "next header");
  require(item.inner == datagram.bytes.get() + suite.text_at, "the inner packet is not where it was");
  require(suite.text_at + item.inner_length + esp::kEspTrailerBytes + suite.icv_bytes <= datagram.size, "inner length");
  const unsigned version = item.next_header == kProtocolIpv4 ? 4 : 6;
  require(ip_total_length(item.inner, item.inner_length, version) == item.inner_length, "inner header");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Settings settings(data[0]);
  const auto sa = make_sa(settings);
  const std::vector<Datagram> datagrams = read_datagrams({data + 1, size - 1}, settings);
  std::vector<esp::DecapItem> items;
  for (const Datagram& datagram : datagrams) {
    items.push_back({datagram.bytes.get(), static_cast<uint32_t>(datagram.size), Drop::none, 0, nullptr, 0});
  }
  esp::decap_run(*sa, items);

  std::set<uint64_t> accepted;
  uint64_t dropped = 0;
  for (size_t i = 0; i < items.size(); i++) {
    require(static_cast<size_t>(items[i].drop) < kDropCount, "drop reason");
    if (items[i].drop != Drop::none) {
      dropped += 1;
      continue;
    }
    check_opened(datagrams[i], items[i], settings.suite());
    const bool is_new = accepted.insert(datagrams[i].sequence).second;
    require(is_new || settings.window == 0, "one sequence number was accepted twice");
  }
  require(sa->totals().packets + dropped == items.size(), "packets do not add up");
  return 0;
}
