#include "base/checksum.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "test/check.h"

namespace culvert {
namespace {

using test::Note;
using test::Random;

/** RFC 1071 §1 to the letter: big-endian 16-bit words, an odd byte is padded with zero on its right. */
uint16_t checksum_of_the_rfc(const std::vector<uint8_t>& bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i++) sum += i % 2 == 0 ? bytes[i] * 256u : bytes[i];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

uint16_t as_read_from_the_wire(uint64_t sum) {
  const uint16_t field = checksum_finish(sum);
  return load_be16(&field);
}

TEST("every variant agrees with RFC 1071 at every length and alignment") {
  Random random(3);
  for (const ChecksumVariant& variant : checksum_variants()) {
    const Note which("variant " + std::string(variant.name));
    for (size_t length = 0; length < 300; length++) {
      const size_t offset = random.below(64);
      const std::unique_ptr<uint8_t[]> memory(new uint8_t[offset + length]);
      random.fill({memory.get() + offset, length});
      const std::vector<uint8_t> bytes(memory.get() + offset, memory.get() + offset + length);
      CHECK_EQ(as_read_from_the_wire(variant.sum(nullptr, memory.get() + offset, length)), checksum_of_the_rfc(bytes));

      const std::unique_ptr<uint8_t[]> copy(new uint8_t[length]);
      const uint64_t sum = variant.copy_and_sum(copy.get(), memory.get() + offset, length);
      CHECK_EQ(as_read_from_the_wire(sum), checksum_of_the_rfc(bytes));
      CHECK(std::equal(bytes.begin(), bytes.end(), copy.get()));
    }
  }
}

TEST("the largest packet of ones does not overflow any variant") {
  const std::vector<uint8_t> ones(65535, 0xff);
  for (const ChecksumVariant& variant : checksum_variants()) {
    CHECK_EQ(as_read_from_the_wire(variant.sum(nullptr, ones.data(), ones.size())), checksum_of_the_rfc(ones));
  }
}

TEST("partial sums of even pieces add up to the sum of the whole") {
  Random random(4);
  const auto bytes = random.bytes(1501);
  for (size_t cut = 0; cut < bytes.size(); cut += 2) {
    const uint64_t first = checksum_partial(bytes.data(), cut);
    CHECK_EQ(checksum_finish(checksum_partial(bytes.data() + cut, bytes.size() - cut, first)),
             checksum_finish(checksum_partial(bytes.data(), bytes.size())));
  }
}

TEST("a partial sum may be anything, even all ones") {
  const uint8_t bytes[2] = {0x12, 0x34};
  CHECK_EQ(checksum_fold(checksum_partial(bytes, 2, ~uint64_t{0})), checksum_fold(checksum_partial(bytes, 2)));
}

TEST("an IPv4 header with its checksum sums to zero") {
  // The example header of many a lecture: 192.168.0.1 to 192.168.0.199, UDP, checksum b861.
  const uint8_t header[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                              0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
  CHECK_EQ(checksum_finish(checksum_partial(header, sizeof header)), uint16_t{0});
}

TEST("the pseudo-header is that of RFC 793 and RFC 8200 §8.1") {
  const IpAddress source{0, 0x0a000001, Family::ipv4};
  const IpAddress destination{0, 0x0a000002, Family::ipv4};
  CHECK_EQ(as_read_from_the_wire(pseudo_header_checksum(source, destination, 17, 300)),
           checksum_of_the_rfc({10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0x01, 0x2c}));
  const IpAddress source6{0x20010db800000000, 1, Family::ipv6};
  const IpAddress destination6{0x20010db800000000, 2, Family::ipv6};
  CHECK_EQ(as_read_from_the_wire(pseudo_header_checksum(source6, destination6, 6, 70000)),
           checksum_of_the_rfc({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,  //
                                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,  //
                                0x00, 0x01, 0x11, 0x70, 0, 0, 0, 6}));
}

}  // namespace
}  // namespace culvert
