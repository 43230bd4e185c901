// AES-CBC with an HMAC, every packet between pages that nobody may touch: vector code reads and writes by whole
// vectors.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "crypto/cipher.h"
#include "test/check.h"

namespace culvert::crypto {
namespace {

using test::Note;
using test::Random;
using Bytes = std::vector<uint8_t>;

constexpr size_t kPackets = 16;
constexpr size_t kFewest = 10;  // that the stitched code takes, whatever the algorithms
constexpr size_t kHeaderBytes = 24;
constexpr size_t kMostTextBytes = 2048;
constexpr size_t kMostIcvBytes = 16;
constexpr uint8_t kUntouched = 0xa5;

/** One page for each packet, and one without any access before and behind each. */
class Pages {
 public:
  Pages() : page_bytes_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    void* const all = mmap(nullptr, bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    base_ = all == MAP_FAILED ? nullptr : static_cast<uint8_t*>(all);
    for (size_t i = 0; base_ != nullptr && i < kPackets; i++) {
      if (mprotect(page(i).data(), page_bytes_, PROT_READ | PROT_WRITE) != 0) usable_ = false;
    }
  }
  ~Pages() {
    if (base_ != nullptr) munmap(base_, bytes());
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  bool usable() const { return base_ != nullptr && usable_; }
  std::span<uint8_t> page(size_t i) { return {base_ + (2 * i + 1) * page_bytes_, page_bytes_}; }

 private:
  size_t bytes() const { return (2 * kPackets + 1) * page_bytes_; }

  size_t page_bytes_;
  uint8_t* base_ = nullptr;
  bool usable_ = true;
};

/** Where a packet lies in its page, and what touches a page without access. */
enum class Place : uint8_t { header_at_start, icv_at_end, text_at_end };

bool has_stitched_code() {
#if defined(__x86_64__)
  return backend_available(Backend::ipsec_mb) && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("vaes");
#else
  return false;
#endif
}

struct Keyed {
  std::string name;
  Cipher fast;
  Cipher portable;
  size_t icv_bytes;
  bool is_stitched;
};

std::vector<Keyed> keyed(Random& random) {
  std::vector<Keyed> made;
  for (const CipherRow& cipher : cipher_rows()) {
    if (cipher.mode != CipherMode::cbc || cipher.primitive != Primitive::aes) continue;
    for (const IntegrityRow& integrity : integrity_rows()) {
      if (integrity.hash != Hash::sha1 && integrity.hash != Hash::sha256) continue;
      const Bytes key = random.bytes(cipher.key_material_bytes());
      const Bytes integrity_key = random.bytes(integrity.key_bits / 8u);
      const auto make = [&](Backend backend) {
        auto result = Cipher::create({.cipher = &cipher,
                                      .integrity = &integrity,
                                      .key = key,
                                      .integrity_key = integrity_key,
                                      .backend = backend});
        CHECK_EQ(result.error(), "");
        return std::move(result).value();
      };
      const Backend fast = backend_available(Backend::ipsec_mb) ? Backend::ipsec_mb : Backend::portable;
      made.push_back({std::string(cipher.name) + "-" + std::string(integrity.name), make(fast), make(Backend::portable),
                      integrity.icv_bytes, has_stitched_code() && cipher.key_bits != 192});
    }
  }
  return made;
}

/** A burst of packets that are as long as each other, in the pages and once more in ordinary memory. */
struct Guarded {
  Bytes icvs[kPackets];  // for Place::text_at_end
  Bytes ordinary[kPackets];
  std::vector<CipherOp> fast;
  std::vector<CipherOp> portable;

  Guarded(Pages& pages, Random& random, size_t count, size_t text_bytes, size_t icv_bytes, Place place, bool esn) {
    for (size_t i = 0; i < count; i++) {
      const auto page = pages.page(i);
      std::fill(page.begin(), page.end(), kUntouched);
      icvs[i].resize(icv_bytes);
      const size_t taken = kHeaderBytes + text_bytes + (place == Place::text_at_end ? 0 : icv_bytes);
      uint8_t* const header = place == Place::header_at_start ? page.data() : page.data() + page.size() - taken;
      ordinary[i] = random.bytes(kHeaderBytes + text_bytes + icv_bytes);
      std::copy_n(ordinary[i].data(), kHeaderBytes + text_bytes, header);

      CipherOp op{};
      random.fill(op.nonce);
      random.fill(op.additional);
      op.text_bytes = static_cast<uint32_t>(text_bytes);
      op.header_bytes = kHeaderBytes;
      op.additional_bytes = esn ? 4 : 0;
      op.text = ordinary[i].data() + kHeaderBytes;
      op.icv = op.text + text_bytes;
      portable.push_back(op);
      op.text = header + kHeaderBytes;
      op.icv = place == Place::text_at_end ? icvs[i].data() : op.text + text_bytes;
      fast.push_back(op);
    }
  }

  /** Both hold the same, and nothing but the packet has changed in its page. */
  void check(Pages& pages, size_t icv_bytes) const {
    for (size_t i = 0; i < fast.size(); i++) {
      const auto page = pages.page(i);
      const uint8_t* const header = fast[i].text - kHeaderBytes;
      const uint8_t* const text_end = fast[i].text + fast[i].text_bytes;
      CHECK(std::equal(header, text_end, ordinary[i].data()));
      CHECK(std::equal(fast[i].icv, fast[i].icv + icv_bytes, portable[i].icv));
      const uint8_t* const end = fast[i].icv == text_end ? text_end + icv_bytes : text_end;
      const auto untouched = [](uint8_t byte) { return byte == kUntouched; };
      CHECK(std::all_of(static_cast<const uint8_t*>(page.data()), header, untouched));
      CHECK(std::all_of(end, static_cast<const uint8_t*>(page.data()) + page.size(), untouched));
    }
  }
};

TEST("AES-CBC with SHA-1 or SHA-256 touches the packet and nothing beside it, every length to 2048") {
  Random random(14);
  Pages pages;
  REQUIRE(pages.usable());
  REQUIRE(pages.page(0).size() >= kHeaderBytes + kMostTextBytes + kMostIcvBytes);
  for (const Keyed& keys : keyed(random)) {
    for (size_t text_bytes = 16; text_bytes <= kMostTextBytes; text_bytes += 16) {
      for (const Place place : {Place::header_at_start, Place::icv_at_end, Place::text_at_end}) {
        // Whoever hashes in place needs the room behind the text; no SA leaves it out.
        if (place == Place::text_at_end && !keys.is_stitched) continue;
        const size_t least = place == Place::text_at_end ? kFewest : 1;
        const size_t some = least + random.below(kPackets - least);
        for (const size_t count : {some, kPackets}) {
          const Note note(keys.name + ", " + std::to_string(count) + " of " + std::to_string(text_bytes) + ", place " +
                          std::to_string(static_cast<int>(place)));
          Guarded burst(pages, random, count, text_bytes, keys.icv_bytes, place, random.below(2) == 0);
          keys.fast.seal(burst.fast);
          keys.portable.seal(burst.portable);
          burst.check(pages, keys.icv_bytes);

          const size_t damaged = random.below(count);
          const size_t at = random.below(text_bytes);
          burst.fast[damaged].text[at] ^= 1;
          burst.portable[damaged].text[at] ^= 1;
          keys.fast.open(burst.fast);
          keys.portable.open(burst.portable);
          for (size_t i = 0; i < count; i++) CHECK_EQ(burst.fast[i].authentic, i != damaged);
          // What the damaged one was decrypted to is nobody's business.
          std::copy_n(burst.fast[damaged].text, text_bytes, burst.portable[damaged].text);
          burst.check(pages, keys.icv_bytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace culvert::crypto
