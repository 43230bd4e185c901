#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <set>
#include <string>
#include <vector>

#include "base/byte_order.h"
#include "base/ip.h"
#include "test/check.h"
#include "test/esp/harness.h"

namespace culvert::esp {
namespace {

using namespace test_harness;
using test::Note;
using test::Random;

TEST("sizes: sealed_size is exact and max_inner is its inverse") {
  for (const EspGeometry geometry : {EspGeometry{16, 16, 4}, EspGeometry{8, 0, 4}, EspGeometry{24, 12, 16},
                                     EspGeometry{24, 32, 16}, EspGeometry{16, 12, 8}}) {
    for (size_t inner = 0; inner < 3000; inner++) {
      const size_t sealed = geometry.sealed_size(inner);
      CHECK_EQ((sealed - geometry.header_bytes - geometry.icv_bytes) % geometry.align, size_t{0});
      CHECK(sealed >= inner + geometry.header_bytes + geometry.icv_bytes + kEspTrailerBytes);
      CHECK(sealed < inner + geometry.header_bytes + geometry.icv_bytes + kEspTrailerBytes + geometry.align);
    }
    for (size_t budget = 0; budget < 3000; budget++) {
      const size_t inner = geometry.max_inner(budget);
      if (inner != 0) CHECK(geometry.sealed_size(inner) <= budget);
      CHECK(geometry.sealed_size(inner + 1) > budget);
    }
  }
  // RFC 4106 and RFC 4303: 8 + 8 + 1400 + 2 + 2 + 16
  CHECK_EQ(Config(gcm128()).outbound()->sealed_size(1400), size_t{1436});
  // RFC 3602 and RFC 4303: 8 + 16 + 1400 + 6 + 2 + 12, and with SHA2-512-256
  CHECK_EQ(Config(suite(12, 128, 2)).outbound()->sealed_size(1400), size_t{1444});
  CHECK_EQ(Config(suite(12, 256, 14)).outbound()->sealed_size(1400), size_t{1464});
  // RFC 2451: 8 + 8 + 1400 + 6 + 2 + 12
  CHECK_EQ(Config(suite(3, 192, 1)).outbound()->sealed_size(1400), size_t{1436});
}

TEST("what is sealed opens to the same bytes: every suite, both families, runs of every length") {
  Random random(30);
  for (const Suite& suite : all_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto outbound = config.outbound();
    const auto inbound = config.inbound(1024);
    uint64_t packets = 0;
    uint64_t bytes = 0;
    for (const size_t run : std::initializer_list<size_t>{1, 2, 3, 31, 63, 64, 65, 128, 200}) {
      std::vector<Bytes> inners;
      std::vector<OutboundPacket> buffers;
      std::vector<EncapItem> items;
      for (size_t i = 0; i < run; i++) {
        const bool is_ipv4 = random.below(2) == 0;
        const size_t length = (is_ipv4 ? 20 : 40) + random.below(i % 16 == 0 ? 9000 : 200);
        inners.push_back(is_ipv4 ? ipv4_packet(length) : ipv6_packet(length));
        buffers.emplace_back(inners.back(), is_ipv4 ? kProtocolIpv4 : kProtocolIpv6);
        items.push_back(buffers.back().item());
        packets++;
        bytes += length;
      }
      encap_run(*outbound, items);

      std::vector<InboundPacket> datagrams;
      std::vector<DecapItem> received;
      for (size_t i = 0; i < run; i++) {
        CHECK_EQ(items[i].drop, Drop::none);
        CHECK_EQ(size_t{items[i].esp_length}, outbound->sealed_size(inners[i].size()));
        CHECK_EQ(items[i].inner - items[i].esp, ptrdiff_t{outbound->geometry().header_bytes});
        datagrams.emplace_back(OutboundPacket::sealed(items[i]));
        received.push_back(datagrams.back().item());
      }
      decap_run(*inbound, received);
      for (size_t i = 0; i < run; i++) {
        CHECK_EQ(received[i].drop, Drop::none);
        if (received[i].drop != Drop::none) continue;
        CHECK_EQ(received[i].next_header, inners[i][0] == 0x45 ? kProtocolIpv4 : kProtocolIpv6);
        CHECK(InboundPacket::opened(received[i]) == inners[i]);
      }
    }
    for (const SaTotals& totals : {outbound->totals(), inbound->totals()}) {
      CHECK_EQ(totals.packets, packets);
      CHECK_EQ(totals.bytes, bytes);
      CHECK_EQ(totals.sequence, packets);
    }
  }
}

TEST("on the wire: SPI, sequence from 1, IV equal to the sequence number, ciphertext unlike plaintext (RFC 4106 §3)") {
  for (const bool esn : {false, true}) {
    const Config config(gcm128(esn));
    const uint64_t start = esn ? 0x1fffffffe : 0;
    const auto outbound = config.outbound(start);
    for (uint64_t sequence = start + 1; sequence < start + 10; sequence++) {
      const Bytes inner = ipv4_packet(100);
      const Bytes datagram = seal_one(*outbound, inner);
      REQUIRE(datagram.size() == 8 + 8 + 104 + 16);
      CHECK_EQ(load_be32(&datagram[0]), kSpi);
      CHECK_EQ(load_be32(&datagram[4]), static_cast<uint32_t>(sequence));
      CHECK_EQ(load_be64(&datagram[8]), sequence);
      CHECK(std::memcmp(&datagram[16], inner.data(), 16) != 0);
    }
  }
}

TEST("padding is 1, 2, 3 … to whole blocks, then its length and the next header (RFC 4303 §2.4)") {
  for (const Suite& suite : all_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto outbound = config.outbound();
    auto cipher = crypto::Cipher::create({.cipher = suite.row,
                                          .integrity = suite.integrity,
                                          .key = config.key,
                                          .integrity_key = config.integrity_key,
                                          .backend = crypto::Backend::portable,
                                          .allow_unprotected_for_benchmark = true});
    REQUIRE(cipher.ok());
    for (size_t length = 20; length < 60; length++) {
      const Bytes inner = ipv4_packet(length);
      Bytes datagram = seal_one(*outbound, inner);
      const Bytes expected = with_trailer(inner, kProtocolIpv4, 0, suite.align());
      REQUIRE(datagram.size() == suite.header_bytes() + expected.size() + suite.icv_bytes());
      crypto::CipherOp op = make_op(config, datagram, length - 19);
      cipher.value().open({&op, 1});
      CHECK(op.authentic);
      CHECK(Bytes(op.text, op.text + op.text_bytes) == expected);
    }
  }
}

TEST("CBC IVs are never alike, from one SA or from two with one key (RFC 3602 §3)") {
  for (const Suite& suite : all_suites()) {
    if (suite.row->mode != crypto::CipherMode::cbc || suite.integrity->integ != 2) continue;
    const Note which(suite.name());
    const Config config(suite);
    std::set<Bytes> ivs;
    // Two SAs with the same key: their IVs still come from keys of their own.
    const auto one = config.outbound();
    const auto two = config.outbound();
    for (OutboundSa* sa : {one.get(), two.get()}) {
      for (const size_t run : std::initializer_list<size_t>{1, 1, 64, 65, 100, 3}) {
        std::vector<OutboundPacket> packets;
        std::vector<EncapItem> items;
        for (size_t i = 0; i < run; i++) {
          packets.emplace_back(ipv4_packet(40));
          items.push_back(packets.back().item());
        }
        encap_run(*sa, items);
        for (const EncapItem& item : items) ivs.insert(Bytes(item.esp + 8, item.esp + 8 + suite.row->iv_bytes));
      }
    }
    CHECK_EQ(ivs.size(), size_t{2 * 234});
    CHECK(ivs.find(Bytes(suite.row->iv_bytes)) == ivs.end());
  }
}

TEST("counter mode's IV is the sequence number, all 64 bits of it: never used twice (RFC 3686 §4, RFC 7634 §2)") {
  for (const Suite& suite : all_suites()) {
    if (suite.row->iv_bytes != 8 || suite.row->mode == crypto::CipherMode::cbc) continue;
    const auto outbound = Config(suite).outbound(suite.esn ? 0x1ffffffff : 77);
    CHECK_EQ(load_be64(&seal_one(*outbound, ipv4_packet(40))[8]), suite.esn ? 0x200000000 : uint64_t{78});
  }
}

TEST("an independently made packet opens, and opens as what it was") {
  for (const Suite& suite : all_suites()) {
    if (!suite.is_protected()) continue;
    const Note which(suite.name());
    const Config config(suite);
    const uint64_t start = suite.esn ? 0x7fffffffe : 0;
    const auto inbound = config.inbound(64, start);
    const Opened four =
        open_one(*inbound, craft(config, start + 1, with_trailer(ipv4_packet(77), 4, 0, suite.align())));
    CHECK_EQ(four.drop, Drop::none);
    CHECK_EQ(four.next_header, 4);
    CHECK(four.inner == ipv4_packet(77));
    const Opened six =
        open_one(*inbound, craft(config, start + 2, with_trailer(ipv6_packet(78), 41, 0, suite.align())));
    CHECK_EQ(six.drop, Drop::none);
    CHECK_EQ(six.next_header, 41);
    CHECK(six.inner == ipv6_packet(78));
  }
}

TEST("another encryption or integrity key does not open it, in any suite") {
  for (const Suite& suite : protected_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const Bytes datagram = seal_one(*config.outbound(), ipv4_packet(100));
    for (size_t byte = 0; byte < config.integrity_key.size(); byte++) {
      Config other = config;
      other.integrity_key[byte] ^= 1;
      CHECK_EQ(open_one(*other.inbound(), datagram).drop, Drop::bad_icv);
    }
    // Behind an HMAC a wrong encryption key shows in what is decrypted. DES keys have parity in the lowest bit.
    for (size_t byte = 0; byte < config.key.size(); byte++) {
      Config other = config;
      other.key[byte] ^= 2;
      CHECK(open_one(*other.inbound(), datagram).inner != ipv4_packet(100));
    }
    CHECK_EQ(open_one(*config.inbound(), datagram).drop, Drop::none);
  }
}

TEST("another key, another salt or another SPI does not open it") {
  const Config config(gcm128());
  const Bytes datagram = seal_one(*config.outbound(), ipv4_packet(100));
  for (const size_t byte : {size_t{0}, size_t{15}, size_t{16}, size_t{19}}) {
    Config other = config;
    other.key[byte] ^= 1;
    CHECK_EQ(open_one(*other.inbound(), datagram).drop, Drop::bad_icv);
  }
  Bytes other_spi = datagram;
  other_spi[3] ^= 1;
  CHECK_EQ(open_one(*config.inbound(), other_spi).drop, Drop::bad_icv);
  CHECK_EQ(open_one(*config.inbound(), datagram).drop, Drop::none);
}

TEST("both ends must agree on ESN: its high half is authenticated") {
  for (const Suite& suite : protected_suites()) {
    if (!suite.esn) continue;
    const Note which(suite.name());
    const Config with(suite);
    Suite short_numbers = suite;
    short_numbers.esn = false;
    const Config without(short_numbers);
    CHECK_EQ(open_one(*without.inbound(), seal_one(*with.outbound(), ipv4_packet(60))).drop, Drop::bad_icv);
    CHECK_EQ(open_one(*with.inbound(), seal_one(*without.outbound(), ipv4_packet(60))).drop, Drop::bad_icv);
    // Same low half, another high half.
    const Bytes later = seal_one(*with.outbound(0x300000000), ipv4_packet(60));
    CHECK_EQ(open_one(*with.inbound(64, 0x200000000), later).drop, Drop::bad_icv);
    CHECK_EQ(open_one(*with.inbound(64, 0x300000000), later).drop, Drop::none);
  }
}

TEST("an SA is refused with a reason when its parameters are wrong") {
  const Config config(gcm128());
  const auto refused = [&](auto change) {
    OutboundSa::Params outbound{config.params(), 0};
    InboundSa::Params inbound{config.params(), 64, 0};
    change(outbound);
    change(inbound);
    const auto out = OutboundSa::create(outbound);
    const auto in = InboundSa::create(inbound);
    return !out.ok() && !in.ok() && !out.error().empty() && !in.error().empty();
  };
  for (const uint32_t spi : {0u, 1u, 255u}) CHECK(refused([&](SaParams& params) { params.spi = spi; }));
  CHECK(!refused([](SaParams& params) { params.spi = 256; }));
  CHECK(refused([](SaParams& params) { params.encr = 1; }));
  CHECK(refused([](SaParams& params) { params.encr_key_bits = 100; }));
  CHECK(refused([](SaParams& params) { params.integ = 12; }));
  CHECK(refused([](SaParams& params) { params.encr_key = params.encr_key.first(19); }));
  CHECK(refused([](SaParams& params) { params.encr_key = {}; }));
  CHECK(refused([](SaParams& params) { params.local_selectors = {}; }));
  CHECK(refused([](SaParams& params) {
    params.encr = 11;
    params.encr_key_bits = 0;
    params.encr_key = {};
  }));
  const Config cbc(suite(12, 128, 2));
  const auto composed_refused = [&](auto change) {
    SaParams params = cbc.params();
    change(params);
    return !OutboundSa::create({params, 0}).ok() && !InboundSa::create({params, 64, 0}).ok();
  };
  CHECK(!composed_refused([](SaParams&) {}));
  CHECK(composed_refused([](SaParams& params) { params.integ = 5; }));
  CHECK(composed_refused([](SaParams& params) { params.integ_key = params.integ_key.first(19); }));
  CHECK(composed_refused([](SaParams& params) { params.integ_key = {}; }));
  CHECK(composed_refused([](SaParams& params) {
    params.integ = 0;
    params.integ_key = {};
  }));
  CHECK(!InboundSa::create({config.params(), kMaxReplayWindow + 1, 0}).ok());
  CHECK(InboundSa::create({config.params(), kMaxReplayWindow, 0}).ok());
  CHECK(!InboundSa::create({config.params(), 64, 0x100000000}).ok());
  CHECK(!OutboundSa::create({config.params(), 0x100000000}).ok());
}

TEST("an error never shows key material") {
  Config config(gcm128());
  std::fill(config.key.begin(), config.key.end(), uint8_t{'K'});
  SaParams params = config.params();
  params.encr_key = params.encr_key.first(18);
  CHECK(OutboundSa::create({params, 0}).error().find("KK") == std::string::npos);
}

}  // namespace
}  // namespace culvert::esp
