// What a peer with the key may put into any field that is only seen once a packet is decrypted: every value of every
// such field, against rules that are written down here a second time.
#include <algorithm>
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

/** One suite of every cipher mode and block size. */
std::vector<Suite> one_of_each_kind() {
  return {suite(20, 128, 0),  suite(28, 256, 0, true), suite(12, 128, 2),     suite(12, 256, 12, true),
          suite(13, 128, 12), suite(3, 192, 1),        suite(11, 0, 14, true)};
}

// RFC 4303 §2.4, §2.6, and the inner header's own length.
Drop expected(const Bytes& plaintext, size_t& inner_length) {
  const size_t pad = plaintext[plaintext.size() - 2];
  const uint8_t next_header = plaintext.back();
  const size_t payload_and_pad = plaintext.size() - 2;
  if (pad > payload_and_pad) return Drop::bad_padding;
  for (size_t i = 0; i < pad; i++) {
    if (plaintext[payload_and_pad - pad + i] != i + 1) return Drop::bad_padding;
  }
  if (next_header == 59) return Drop::dummy;
  if (next_header != 4 && next_header != 41) return Drop::bad_next_header;
  const size_t available = payload_and_pad - pad;
  if (next_header == 4) {
    if (available < 20 || plaintext[0] >> 4 != 4) return Drop::bad_inner;
    const size_t header = (plaintext[0] & 0x0fu) * 4u;
    inner_length = load_be16(&plaintext[2]);
    return header < 20 || inner_length < header || inner_length > available ? Drop::bad_inner : Drop::none;
  }
  if (available < 40 || plaintext[0] >> 4 != 6) return Drop::bad_inner;
  inner_length = 40u + load_be16(&plaintext[4]);
  return inner_length > available ? Drop::bad_inner : Drop::none;
}

void check_opens_as_expected(const Config& config, InboundSa& sa, uint64_t sequence, const Bytes& plaintext) {
  size_t inner_length = 0;
  const Drop drop = expected(plaintext, inner_length);
  const uint64_t before = sa.totals().packets;
  const Opened opened = open_one(sa, craft(config, sequence, plaintext));
  CHECK_EQ(opened.drop, drop);
  CHECK_EQ(sa.totals().packets - before, drop == Drop::none ? 1u : 0u);
  // The peer sent it, whatever it is: its number is used up.
  CHECK_EQ(sa.totals().sequence, sequence);
  if (drop != Drop::none || opened.drop != Drop::none) return;
  CHECK_EQ(opened.inner.size(), inner_length);
  CHECK(std::equal(opened.inner.begin(), opened.inner.end(), plaintext.begin()));
}

TEST("every pad length with every kind of next header, over payloads around it, in a suite of every kind") {
  for (const Suite& suite : one_of_each_kind()) {
    const Note which(suite.name());
    const Config config(suite);
    const auto sa = config.inbound();
    uint64_t sequence = 0;
    for (unsigned pad = 0; pad < 256; pad++) {
      // Shorter than the padding claims, as long, and with a packet in front of it.
      for (const size_t size : {suite.align(), (pad + 2 + suite.align() - 1) / suite.align() * suite.align(),
                                (pad + 62 + suite.align() - 1) / suite.align() * suite.align()}) {
        for (const uint8_t next_header : {uint8_t{4}, uint8_t{41}, uint8_t{59}, uint8_t{0}}) {
          Bytes plaintext(size);
          const Bytes inner = next_header == 41 ? ipv6_packet(56) : ipv4_packet(60);
          std::copy_n(inner.begin(), std::min(size, inner.size()), plaintext.begin());
          // As much of the padding as there is room for.
          for (size_t i = 0; i < pad && i + 2 < size; i++) plaintext[size - 3 - i] = static_cast<uint8_t>(pad - i);
          plaintext[size - 2] = static_cast<uint8_t>(pad);
          plaintext[size - 1] = next_header;
          check_opens_as_expected(config, *sa, ++sequence, plaintext);
        }
      }
    }
  }
}

TEST("every value of every byte of the inner header") {
  const Config config(gcm128());
  const auto sa = config.inbound();
  uint64_t sequence = 0;
  for (const uint8_t next_header : {uint8_t{4}, uint8_t{41}}) {
    const Bytes whole = with_trailer(next_header == 4 ? ipv4_packet(61) : ipv6_packet(61), next_header);
    for (size_t at = 0; at < (next_header == 4 ? 20u : 40u); at++) {
      const Note where("next header " + std::to_string(next_header) + ", byte " + std::to_string(at));
      for (unsigned value = 0; value < 256; value++) {
        Bytes plaintext = whole;
        plaintext[at] = static_cast<uint8_t>(value);
        check_opens_as_expected(config, *sa, ++sequence, plaintext);
      }
    }
  }
}

TEST("the inner packet's length at its edges, with and without more behind it") {
  const Config config(gcm128());
  const auto sa = config.inbound();
  uint64_t sequence = 0;
  for (const size_t available :
       {size_t{20}, size_t{21}, size_t{40}, size_t{41}, size_t{59}, size_t{1400}, size_t{9000}, size_t{65000}}) {
    for (const size_t claimed : {size_t{0}, size_t{1}, size_t{19}, size_t{20}, size_t{21}, size_t{24}, available - 1,
                                 available, available + 1, size_t{65535}}) {
      Bytes four(available);
      four[0] = 0x45;
      store_be16(&four[2], static_cast<uint16_t>(claimed));
      check_opens_as_expected(config, *sa, ++sequence, with_trailer(four, 4));
      four[0] = 0x46;
      check_opens_as_expected(config, *sa, ++sequence, with_trailer(four, 4));
      Bytes six(available);
      six[0] = 0x60;
      store_be16(&six[4], static_cast<uint16_t>(claimed < 40 ? claimed : claimed - 40));
      check_opens_as_expected(config, *sa, ++sequence, with_trailer(six, 41));
    }
  }
}

TEST("a sequence number on the wire at every edge, with and without ESN") {
  constexpr uint32_t kWindow = 64;
  constexpr uint64_t k32 = uint64_t{1} << 32;
  for (const bool esn : {false, true}) {
    for (const uint64_t top : {uint64_t{1}, uint64_t{63}, uint64_t{64}, uint64_t{65}, uint64_t{0x7fffffff}, k32 - 2,
                               k32 - 1, k32, k32 + 1, k32 + 63, k32 + 64, 5 * k32 + 100}) {
      if (!esn && top >= k32) continue;
      const Note at("top " + std::to_string(top) + (esn ? " with ESN" : ""));
      const Config config(gcm128(esn));
      const uint64_t last = esn ? ~uint64_t{0} : k32 - 1;
      for (const int64_t step : {-65, -64, -63, -1, 0, 1, 2, 64, 1000}) {
        if (step < 0 && top < static_cast<uint64_t>(-step)) continue;
        const uint64_t sequence = top + static_cast<uint64_t>(step);
        if (sequence > last) continue;
        const auto sa = config.inbound(kWindow, top - 1);
        CHECK_EQ(open_one(*sa, craft(config, top, with_trailer(ipv4_packet(40), 4))).drop, Drop::none);
        const Drop drop = open_one(*sa, craft(config, sequence, with_trailer(ipv4_packet(40), 4))).drop;
        // What is left of the window is taken for a number of the next 2^32 with ESN, whose ICV does not fit.
        const bool left_of_window = step <= -static_cast<int64_t>(kWindow);
        const Drop expected = step > 0                ? Drop::none
                              : left_of_window && esn ? Drop::bad_icv
                              : sequence == 0         ? Drop::sequence_zero
                                                      : Drop::replayed;
        CHECK_EQ(drop, expected);
        CHECK_EQ(sa->totals().sequence, step > 0 ? sequence : top);
      }
    }
  }
}

}  // namespace
}  // namespace culvert::esp
