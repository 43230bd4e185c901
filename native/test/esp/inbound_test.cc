#include <algorithm>
#include <initializer_list>
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

/** Opens a run and returns what became of each packet. */
std::vector<Drop> open_run(InboundSa& sa, const std::vector<Bytes>& datagrams) {
  std::vector<InboundPacket> packets;
  std::vector<DecapItem> items;
  for (const Bytes& datagram : datagrams) {
    packets.emplace_back(datagram);
    items.push_back(packets.back().item());
  }
  decap_run(sa, items);
  std::vector<Drop> drops;
  for (const DecapItem& item : items) drops.push_back(item.drop);
  return drops;
}

TEST("a datagram cut short at any byte is dropped and changes nothing") {
  for (const Suite& suite : all_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto inbound = config.inbound();
    const Bytes whole = seal_one(*config.outbound(), ipv4_packet(61));
    for (size_t length = 0; length < whole.size(); length++) {
      const Opened opened = open_one(*inbound, {whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length)});
      CHECK(opened.drop != Drop::none);
      if (length < suite.header_bytes() + suite.align() + suite.icv_bytes()) CHECK_EQ(opened.drop, Drop::truncated);
      if (suite.is_protected()) CHECK_EQ(inbound->totals().sequence, uint64_t{0});
    }
  }
}

TEST("a length that is no whole number of blocks is refused before it is decrypted") {
  for (const Suite& suite : protected_suites()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto inbound = config.inbound();
    Bytes datagram = seal_one(*config.outbound(), ipv4_packet(61));
    for (size_t extra = 1; extra < suite.align(); extra++) {
      datagram.push_back(0);
      CHECK_EQ(open_one(*inbound, datagram).drop, Drop::bad_alignment);
    }
    datagram.push_back(0);
    CHECK_EQ(open_one(*inbound, datagram).drop, Drop::bad_icv);
  }
}

TEST("one flipped bit anywhere in the datagram is dropped and does not move the window") {
  for (const Suite& suite : all_suites()) {
    if (!suite.is_protected()) continue;
    const Note which(suite.name());
    const Config config(suite);
    const Bytes datagram = seal_one(*config.outbound(), ipv4_packet(40));
    const auto inbound = config.inbound();
    // Every bit of a combined mode; every third of the many suites with an HMAC, which is still every byte.
    for (size_t bit = 0; bit < datagram.size() * 8; bit += suite.row->wants_integrity ? 3 : 1) {
      Bytes flipped = datagram;
      flipped[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
      const Drop drop = open_one(*inbound, flipped).drop;
      // Sequence number 1 with its only bit flipped is 0, which is refused unread; its top bits may be left of zero.
      const bool in_sequence = bit / 8 >= 4 && bit / 8 < 8;
      CHECK(drop == Drop::bad_icv || (in_sequence && (drop == Drop::sequence_zero || drop == Drop::replayed)));
      CHECK_EQ(inbound->totals().sequence, uint64_t{0});
    }
    CHECK_EQ(open_one(*inbound, datagram).drop, Drop::none);
  }
}

TEST("in a run of any length exactly the damaged packets are dropped: every suite") {
  Random random(42);
  for (const Suite& suite : all_suites()) {
    if (!suite.is_protected()) continue;
    const Note which(suite.name());
    const Config config(suite);
    const auto outbound = config.outbound();
    const auto inbound = config.inbound(1024);
    for (const size_t count :
         std::initializer_list<size_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 18, 19, 20, 22, 23, 33, 64}) {
      std::vector<Bytes> run;
      for (size_t i = 0; i < count; i++) {
        run.push_back(seal_one(*outbound, ipv4_packet(20 + random.below(300))));
        if (i % 3 == 1) run.back()[4 + random.below(run.back().size() - 4)] ^= 0x10;
      }
      const auto drops = open_run(*inbound, run);
      for (size_t i = 0; i < count; i++) CHECK_EQ(drops[i] == Drop::none, i % 3 != 1);
    }
  }
}

TEST("sequence number 0 is dropped although its ICV is right") {
  const Config config(gcm128());
  CHECK_EQ(open_one(*config.inbound(), craft(config, 0, with_trailer(ipv4_packet(40), 4))).drop, Drop::sequence_zero);
  CHECK_EQ(open_one(*config.inbound(0), craft(config, 0, with_trailer(ipv4_packet(40), 4))).drop, Drop::sequence_zero);
}

TEST("a replayed packet is dropped: alone, within one run, and far apart in one run") {
  const Config config(gcm128());
  const auto outbound = config.outbound();
  const auto inbound = config.inbound(128);
  const Bytes first = seal_one(*outbound, ipv4_packet(50));
  CHECK_EQ(open_one(*inbound, first).drop, Drop::none);
  CHECK_EQ(open_one(*inbound, first).drop, Drop::replayed);

  const Bytes second = seal_one(*outbound, ipv4_packet(50));
  std::vector<Bytes> run(100, second);
  run.push_back(seal_one(*outbound, ipv4_packet(50)));
  const auto drops = open_run(*inbound, run);
  CHECK_EQ(drops[0], Drop::none);
  for (size_t i = 1; i < 100; i++) CHECK_EQ(drops[i], Drop::replayed);
  CHECK_EQ(drops[100], Drop::none);
  CHECK_EQ(inbound->totals().packets, uint64_t{3});
  CHECK_EQ(inbound->drops(Drop::replayed), uint64_t{1 + 99});
}

TEST("a forged packet with the next number does not keep out the real one, also within one run") {
  const Config config(gcm128());
  const auto inbound = config.inbound();
  const Bytes real = seal_one(*config.outbound(), ipv4_packet(50));
  Bytes forged = real;
  forged.back() ^= 1;
  const auto drops = open_run(*inbound, {forged, real, forged, real});
  CHECK_EQ(drops[0], Drop::bad_icv);
  CHECK_EQ(drops[1], Drop::none);
  CHECK_EQ(drops[2], Drop::bad_icv);
  CHECK_EQ(drops[3], Drop::replayed);
}

TEST("the window's edges hold for packets: its last number in, one further out") {
  for (const uint32_t window : {1u, 32u, 64u, 1024u, 65536u}) {
    const Note note("window " + std::to_string(window));
    const Config config(gcm128());
    const auto inbound = config.inbound(window);
    const uint64_t top = 100000;
    const auto drop_of = [&](uint64_t sequence) {
      return open_one(*inbound, craft(config, sequence, with_trailer(ipv4_packet(40), 4))).drop;
    };
    CHECK_EQ(drop_of(top), Drop::none);
    CHECK_EQ(drop_of(top - window), Drop::replayed);
    if (window > 1) CHECK_EQ(drop_of(top - window + 1), Drop::none);
    CHECK_EQ(drop_of(top - window + 1), Drop::replayed);
    CHECK_EQ(drop_of(top + 1), Drop::none);
    CHECK_EQ(drop_of(top - window + 1), Drop::replayed);
    CHECK_EQ(inbound->totals().sequence, top + 1);
  }
}

TEST("with a window of 0 the same packet opens twice") {
  const Config config(gcm128());
  const auto inbound = config.inbound(0);
  const Bytes datagram = seal_one(*config.outbound(), ipv4_packet(40));
  CHECK_EQ(open_one(*inbound, datagram).drop, Drop::none);
  CHECK_EQ(open_one(*inbound, datagram).drop, Drop::none);
}

TEST("extended sequence numbers cross 2^32 in one run, out of order, and stay replay-protected") {
  const Config config(gcm128(true));
  const uint64_t boundary = uint64_t{1} << 32;
  const auto outbound = config.outbound(boundary - 20);
  const auto inbound = config.inbound(64, boundary - 20);
  std::vector<Bytes> run;
  for (int i = 0; i < 40; i++) run.push_back(seal_one(*outbound, ipv4_packet(60)));
  std::swap(run[2], run[30]);
  for (const Drop drop : open_run(*inbound, run)) CHECK_EQ(drop, Drop::none);
  CHECK_EQ(inbound->totals().sequence, boundary + 20);
  for (const Drop drop : open_run(*inbound, run)) CHECK_EQ(drop, Drop::replayed);
}

TEST("a packet from an earlier 2^32 does not pass for one of the next (high-half rollback)") {
  const Config config(gcm128(true));
  const uint64_t boundary = uint64_t{1} << 32;
  const auto inbound = config.inbound(64, boundary + 1000);
  // Its low bits are read as the next subspace's; the ICV covers the high half and tells the difference.
  CHECK_EQ(open_one(*inbound, craft(config, 500, with_trailer(ipv4_packet(40), 4))).drop, Drop::bad_icv);
  CHECK_EQ(open_one(*inbound, craft(config, 2000, with_trailer(ipv4_packet(40), 4))).drop, Drop::bad_icv);
  CHECK_EQ(inbound->totals().sequence, boundary + 1000);
  CHECK_EQ(open_one(*inbound, craft(config, boundary + 2000, with_trailer(ipv4_packet(40), 4))).drop, Drop::none);
  CHECK_EQ(open_one(*inbound, craft(config, 2 * boundary + 5, with_trailer(ipv4_packet(40), 4))).drop, Drop::none);
}

TEST("padding must be 1, 2, 3 …, whatever its length (RFC 4303 §2.4)") {
  const Config config(gcm128());
  for (size_t pad = 0; pad <= 252; pad += 4) {
    const Note note("pad length " + std::to_string(pad));
    const Bytes good = with_trailer(ipv4_packet(22), 4, pad);
    const size_t pad_at = 22;
    const size_t pad_bytes = good.size() - 2 - pad_at;
    REQUIRE(good[good.size() - 2] == pad_bytes);
    CHECK_EQ(open_one(*config.inbound(), craft(config, 1, good)).drop, Drop::none);
    for (const size_t wrong : {size_t{0}, pad_bytes / 2, pad_bytes - 1}) {
      if (pad_bytes == 0) break;
      Bytes bad = good;
      bad[pad_at + wrong] ^= 0x80;
      CHECK_EQ(open_one(*config.inbound(), craft(config, 1, bad)).drop, Drop::bad_padding);
    }
  }
}

TEST("a pad length beyond the payload is refused") {
  const Config config(gcm128());
  for (const size_t payload : std::initializer_list<size_t>{2, 6, 22, 42}) {
    for (size_t pad = payload + 1; pad < 256; pad++) {
      Bytes plaintext(payload);
      for (size_t i = 0; i < payload; i++) plaintext[i] = static_cast<uint8_t>(pad - payload + i + 1);
      plaintext.push_back(static_cast<uint8_t>(pad));
      plaintext.push_back(4);
      CHECK_EQ(open_one(*config.inbound(), craft(config, 1, plaintext)).drop, Drop::bad_padding);
    }
  }
}

TEST("nothing but padding is no packet") {
  const Config config(gcm128());
  CHECK_EQ(open_one(*config.inbound(), craft(config, 1, with_trailer({}, 4))).drop, Drop::bad_inner);
  CHECK_EQ(open_one(*config.inbound(), craft(config, 1, with_trailer({}, 41))).drop, Drop::bad_inner);
  CHECK_EQ(open_one(*config.inbound(), craft(config, 1, with_trailer({}, 59))).drop, Drop::dummy);
}

TEST("only next headers 4 and 41 carry a packet; 59 is a dummy, and counts as received") {
  const Config config(gcm128());
  const auto inbound = config.inbound(1024);
  for (unsigned next_header = 0; next_header < 256; next_header++) {
    const Note note("next header " + std::to_string(next_header));
    const Bytes plaintext = with_trailer(ipv4_packet(40), static_cast<uint8_t>(next_header));
    const Drop expected = next_header == 4    ? Drop::none
                          : next_header == 41 ? Drop::bad_inner
                          : next_header == 59 ? Drop::dummy
                                              : Drop::bad_next_header;
    CHECK_EQ(open_one(*inbound, craft(config, next_header + 1, plaintext)).drop, expected);
    CHECK_EQ(inbound->totals().sequence, uint64_t{next_header} + 1);
  }
}

TEST("TFC padding behind the inner packet is cut off (RFC 4303 §2.7)") {
  const Config config(gcm128());
  for (const size_t tfc : std::initializer_list<size_t>{1, 2, 3, 4, 100, 1000}) {
    Bytes padded = ipv4_packet(61);
    padded.resize(padded.size() + tfc, 0xee);
    const Opened four = open_one(*config.inbound(), craft(config, 1, with_trailer(padded, 4)));
    CHECK_EQ(four.drop, Drop::none);
    CHECK(four.inner == ipv4_packet(61));
    padded = ipv6_packet(61);
    padded.resize(padded.size() + tfc, 0xee);
    const Opened six = open_one(*config.inbound(), craft(config, 1, with_trailer(padded, 41)));
    CHECK_EQ(six.drop, Drop::none);
    CHECK(six.inner == ipv6_packet(61));
  }
}

TEST("an inner packet that is not what the next header says, or lies about its length, is dropped") {
  const Config config(gcm128());
  const auto drop_of = [&](const Bytes& inner, uint8_t next_header) {
    return open_one(*config.inbound(), craft(config, 1, with_trailer(inner, next_header))).drop;
  };
  CHECK_EQ(drop_of(ipv4_packet(60), 41), Drop::bad_inner);
  CHECK_EQ(drop_of(ipv6_packet(60), 4), Drop::bad_inner);
  CHECK_EQ(drop_of(Bytes(19, 0x45), 4), Drop::bad_inner);
  CHECK_EQ(drop_of(Bytes(39, 0x60), 41), Drop::bad_inner);
  for (const int total : {0, 19, 61, 62, 65535}) {
    Bytes inner = ipv4_packet(60);
    store_be16(&inner[2], static_cast<uint16_t>(total));
    CHECK_EQ(drop_of(inner, 4), Drop::bad_inner);
  }
  for (const int first_byte : {0x40, 0x44, 0x50, 0x00, 0xf5}) {
    Bytes inner = ipv4_packet(60);
    inner[0] = static_cast<uint8_t>(first_byte);
    CHECK_EQ(drop_of(inner, 4), Drop::bad_inner);
  }
  Bytes options_beyond = ipv4_packet(20);
  options_beyond[0] = 0x4f;
  CHECK_EQ(drop_of(options_beyond, 4), Drop::bad_inner);
  Bytes inner = ipv6_packet(60);
  store_be16(&inner[4], 21);
  CHECK_EQ(drop_of(inner, 41), Drop::bad_inner);
}

TEST("an inner packet outside the SA's selectors is dropped after it was authenticated (RFC 4301 §5.2)") {
  Config config(gcm128());
  config.local = {{{0, 0x0a010000, Family::ipv4}, {0, 0x0a01ffff, Family::ipv4}}};
  config.remote = {{{0, 0x0a020000, Family::ipv4}, {0, 0x0a02ffff, Family::ipv4}}};
  const auto inbound = config.inbound();
  const auto drop_of = [&](uint64_t sequence, const Bytes& inner, uint8_t next_header) {
    return open_one(*inbound, craft(config, sequence, with_trailer(inner, next_header))).drop;
  };
  CHECK_EQ(drop_of(1, ipv4_packet(60), 4), Drop::none);
  Bytes wrong_source = ipv4_packet(60);
  store_be32(&wrong_source[12], 0x0a030001);
  CHECK_EQ(drop_of(2, wrong_source, 4), Drop::selector_mismatch);
  Bytes wrong_destination = ipv4_packet(60);
  store_be32(&wrong_destination[16], 0x0a020001);
  CHECK_EQ(drop_of(3, wrong_destination, 4), Drop::selector_mismatch);
  CHECK_EQ(drop_of(4, ipv6_packet(60), 41), Drop::selector_mismatch);
  CHECK_EQ(drop_of(4, ipv4_packet(60), 4), Drop::replayed);  // refused, but received
  CHECK_EQ(inbound->drops(Drop::selector_mismatch), uint64_t{3});
  CHECK_EQ(inbound->totals().packets, uint64_t{1});
}

TEST("protocol and port selectors look into the packet; later fragments need a selector for any port") {
  Config config(gcm128());
  TrafficSelector dns = any_ipv4();
  dns.protocol = kProtocolUdp;
  dns.start_port = dns.end_port = 53;
  config.local = {dns};
  const auto drop_of = [&](const Bytes& inner) {
    return open_one(*config.inbound(), craft(config, 1, with_trailer(inner, 4))).drop;
  };
  CHECK_EQ(drop_of(ipv4_packet(60)), Drop::none);
  Bytes other_port = ipv4_packet(60);
  store_be16(&other_port[22], 54);
  CHECK_EQ(drop_of(other_port), Drop::selector_mismatch);
  Bytes other_protocol = ipv4_packet(60);
  other_protocol[9] = kProtocolTcp;
  CHECK_EQ(drop_of(other_protocol), Drop::selector_mismatch);
  Bytes fragment = ipv4_packet(60);
  store_be16(&fragment[6], 185);
  CHECK_EQ(drop_of(fragment), Drop::fragment_refused);
  CHECK_EQ(drop_of(ipv4_packet(22)), Drop::selector_mismatch);  // too short to have ports
  config.local[0].start_port = 0;
  config.local[0].end_port = 65535;
  CHECK_EQ(drop_of(fragment), Drop::none);
}

TEST("with NON_FIRST_FRAGMENTS_ALSO fragments are left to who follows them (RFC 4301 §7.3)") {
  Config config(gcm128());
  TrafficSelector dns = any_ipv4();
  dns.protocol = kProtocolUdp;
  dns.start_port = dns.end_port = 53;
  config.local = {dns};
  auto params = InboundSa::Params{config.params()};
  params.non_first_fragments = true;
  auto made = InboundSa::create(params);
  REQUIRE(made.ok());
  InboundSa& sa = *made.value();
  uint64_t sequence = 0;
  bool follow = false;
  const auto drop_of = [&](const Bytes& inner) {
    const InboundPacket packet(craft(config, ++sequence, with_trailer(inner, 4)));
    DecapItem item = packet.item();
    decap_run(sa, {&item, 1});
    follow = item.follow_fragment;
    return item.drop;
  };
  CHECK_EQ(drop_of(ipv4_packet(60)), Drop::none);
  CHECK(!follow);
  Bytes first = ipv4_packet(60);
  store_be16(&first[6], 0x2000);
  CHECK_EQ(drop_of(first), Drop::none);
  CHECK(follow);
  store_be16(&first[22], 54);
  CHECK_EQ(drop_of(first), Drop::selector_mismatch);
  Bytes tiny = ipv4_packet(22);
  store_be16(&tiny[6], 0x2000);
  CHECK_EQ(drop_of(tiny), Drop::fragment_tiny);
  Bytes later = ipv4_packet(60);
  store_be16(&later[6], 185);
  CHECK_EQ(drop_of(later), Drop::none);
  CHECK(follow);
  later[9] = kProtocolTcp;
  CHECK_EQ(drop_of(later), Drop::selector_mismatch);
  sa.note_drop(Drop::fragment_orphan, 2);
  CHECK_EQ(sa.drops(Drop::fragment_orphan), uint64_t{2});
  CHECK_EQ(sa.totals().packets, uint64_t{3});
}

TEST("an IPv6 chain that cannot be followed is no valid packet for a selective SA") {
  Config config(gcm128());
  config.local = {{{0x20010db800010000, 0, Family::ipv6}, {0x20010db800010000, ~uint64_t{0}, Family::ipv6}}};
  Bytes inner = ipv6_packet(60);
  inner[6] = kProtocolHopByHop;
  inner[41] = 200;
  CHECK_EQ(open_one(*config.inbound(), craft(config, 1, with_trailer(inner, 41))).drop, Drop::bad_inner);
}

TEST("inbound limits are exact, also within a run, and each crossing is told once") {
  Config config(gcm128());
  config.limits = {.soft_bytes = 0, .hard_bytes = 0, .soft_packets = 10, .hard_packets = 20};
  const auto outbound = Config(gcm128()).outbound();
  const auto inbound = config.inbound();
  std::vector<Bytes> run;
  for (int i = 0; i < 30; i++) run.push_back(seal_one(*outbound, ipv4_packet(100)));
  open_run(*inbound, {run.begin(), run.begin() + 9});
  CHECK(!inbound->limits_crossed());
  open_run(*inbound, {run.begin() + 9, run.begin() + 10});
  CHECK(inbound->limits_crossed());
  CHECK_EQ(inbound->take_crossed_limits(), kSoftLimit);
  CHECK_EQ(inbound->take_crossed_limits(), 0);
  const auto drops = open_run(*inbound, {run.begin() + 10, run.end()});
  for (size_t i = 0; i < drops.size(); i++) CHECK_EQ(drops[i], i < 10 ? Drop::none : Drop::lifetime);
  CHECK_EQ(inbound->take_crossed_limits(), kHardLimit);
  CHECK_EQ(inbound->totals().packets, uint64_t{20});

  config.limits = {.soft_bytes = 0, .hard_bytes = 450, .soft_packets = 0, .hard_packets = 0};
  const auto by_bytes = config.inbound();
  size_t opened = 0;
  for (const Drop drop : open_run(*by_bytes, run)) opened += drop == Drop::none;
  CHECK_EQ(opened, size_t{5});
  CHECK_EQ(by_bytes->take_crossed_limits(), kSoftLimit | kHardLimit);
}

TEST("a run of good and bad packets sorts them one by one") {
  const Config config(gcm128());
  const auto outbound = config.outbound();
  const auto inbound = config.inbound(256);
  Random random(40);
  for (int round = 0; round < 50; round++) {
    std::vector<Bytes> run;
    std::vector<Drop> expected;
    const size_t count = 1 + random.below(150);
    for (size_t i = 0; i < count; i++) {
      run.push_back(seal_one(*outbound, ipv4_packet(20 + random.below(300))));
      expected.push_back(Drop::none);
      switch (random.below(8)) {
        case 0:
          run.back()[8 + random.below(run.back().size() - 8)] ^= 1;
          expected.back() = Drop::bad_icv;
          break;
        case 1:
          run.back().resize(random.below(36));
          expected.back() = Drop::truncated;
          break;
        case 2:
          run.push_back(run.back());
          expected.push_back(Drop::replayed);
          break;
        case 3:
          run.back().push_back(0);
          expected.back() = Drop::bad_alignment;
          break;
        default:
          break;
      }
    }
    const auto found = open_run(*inbound, run);
    for (size_t i = 0; i < run.size(); i++) CHECK_EQ(found[i], expected[i]);
  }
  uint64_t dropped = 0;
  for (const Drop reason : {Drop::bad_icv, Drop::truncated, Drop::replayed, Drop::bad_alignment}) {
    CHECK(inbound->drops(reason) > 0);
    dropped += inbound->drops(reason);
  }
  CHECK(dropped > 0);
}

TEST("random bytes as a datagram are dropped in every suite, and only for reasons of their own") {
  Random random(41);
  for (const Suite& suite : all_suites()) {
    if (!suite.is_protected()) continue;
    const Config config(suite);
    const auto inbound = config.inbound();
    for (int i = 0; i < 2000; i++) {
      const Drop drop = open_one(*inbound, random.bytes(random.below(200))).drop;
      CHECK(drop == Drop::truncated || drop == Drop::bad_alignment || drop == Drop::bad_icv || drop == Drop::replayed ||
            drop == Drop::sequence_zero);
    }
    CHECK_EQ(inbound->totals().packets, uint64_t{0});
  }
}

}  // namespace
}  // namespace culvert::esp
