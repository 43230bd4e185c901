// Every cipher with every integrity algorithm: backend against backend, packet by packet.
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "crypto/cipher.h"
#include "crypto/iv_source.h"
#include "test/check.h"

namespace culvert::crypto {
namespace {

using test::Note;
using test::Random;
using Bytes = std::vector<uint8_t>;

// Where there is one backend only, it must at least agree with itself.
Backend fast_backend() { return backend_available(Backend::ipsec_mb) ? Backend::ipsec_mb : Backend::portable; }

struct Suite {
  const CipherRow* cipher;
  const IntegrityRow* integrity;
  std::string name() const { return std::string(cipher->name) + "-" + std::string(integrity->name); }
  size_t icv_bytes() const { return size_t{cipher->icv_bytes} + integrity->icv_bytes; }
  Cipher make(Backend backend, const Bytes& key, const Bytes& integrity_key) const {
    auto made = Cipher::create(
        {.cipher = cipher, .integrity = integrity, .key = key, .integrity_key = integrity_key, .backend = backend});
    CHECK_EQ(made.error(), "");
    return std::move(made).value();
  }
};

std::vector<Suite> suites() {
  std::vector<Suite> found;
  for (const CipherRow& cipher : cipher_rows()) {
    for (const IntegrityRow& integrity : integrity_rows()) {
      if (cipher.wants_integrity == (integrity.hash != Hash::none)) found.push_back({&cipher, &integrity});
    }
  }
  return found;
}

/** Packets as an SA lays them out: header, text, ICV, each in an allocation of exactly its size. */
struct Burst {
  std::vector<std::unique_ptr<uint8_t[]>> memory;
  std::vector<CipherOp> ops;
  std::vector<size_t> sizes;  // of memory

  void add(const Suite& suite, Random& random, size_t text_bytes) {
    const bool is_aead = suite.cipher->mode == CipherMode::aead;
    const size_t header_bytes = is_aead ? 0 : 8u + suite.cipher->iv_bytes;
    const size_t size = header_bytes + text_bytes + suite.icv_bytes();
    memory.emplace_back(new uint8_t[size]);
    sizes.push_back(size);
    random.fill({memory.back().get(), size});
    CipherOp op{};
    op.text = memory.back().get() + header_bytes;
    op.text_bytes = static_cast<uint32_t>(text_bytes);
    op.icv = op.text + text_bytes;
    op.header_bytes = static_cast<uint8_t>(header_bytes);
    random.fill(op.nonce);
    random.fill(op.additional);
    const bool esn = random.below(2) == 0;
    op.additional_bytes = static_cast<uint8_t>(is_aead ? (esn ? 12 : 8) : (esn ? 4 : 0));
    ops.push_back(op);
  }
  Burst copy() const {
    Burst other;
    for (size_t i = 0; i < ops.size(); i++) {
      other.memory.emplace_back(new uint8_t[sizes[i]]);
      std::copy_n(memory[i].get(), sizes[i], other.memory[i].get());
      CipherOp op = ops[i];
      op.text = other.memory[i].get() + (ops[i].text - memory[i].get());
      op.icv = op.text + op.text_bytes;
      other.ops.push_back(op);
    }
    other.sizes = sizes;
    return other;
  }
  Bytes text(size_t i) const { return {ops[i].text, ops[i].text + ops[i].text_bytes}; }
  Bytes all(size_t i) const { return {memory[i].get(), memory[i].get() + sizes[i]}; }
};

size_t whole_blocks(const Suite& suite, size_t bytes) {
  return bytes / suite.cipher->block_bytes * suite.cipher->block_bytes;
}

void check_burst(const Suite& suite, const Cipher& fast, const Cipher& portable, const Burst& plain, Random& random) {
  const size_t count = plain.ops.size();
  Burst by_fast = plain.copy();
  Burst by_portable = plain.copy();
  fast.seal(by_fast.ops);
  portable.seal(by_portable.ops);
  for (size_t i = 0; i < count; i++) CHECK(by_fast.all(i) == by_portable.all(i));

  // Crosswise, and with every fifth packet damaged somewhere in text or ICV: neighbours in a burst must not matter.
  for (size_t i = 0; i < count; i += 5) {
    const size_t damage = random.below(plain.ops[i].text_bytes + suite.icv_bytes());
    by_fast.ops[i].text[damage] ^= 1;
    by_portable.ops[i].text[damage] ^= 1;
  }
  std::vector<Bytes> icvs;
  for (const CipherOp& op : by_fast.ops) icvs.emplace_back(op.icv, op.icv + suite.icv_bytes());
  for (CipherOp& op : by_fast.ops) op.authentic = random.below(2) == 0;
  for (CipherOp& op : by_portable.ops) op.authentic = random.below(2) == 0;
  fast.open(by_portable.ops);
  portable.open(by_fast.ops);
  for (size_t i = 0; i < count; i++) {
    CHECK_EQ(by_fast.ops[i].authentic, i % 5 != 0);
    CHECK_EQ(by_portable.ops[i].authentic, i % 5 != 0);
    if (i % 5 != 0) CHECK(by_fast.text(i) == plain.text(i) && by_portable.text(i) == plain.text(i));
    CHECK(Bytes(by_portable.ops[i].icv, by_portable.ops[i].icv + suite.icv_bytes()) == icvs[i]);
  }
}

TEST("the backends agree packet by packet, every cipher with every integrity, in bursts of every size") {
  Random random(10);
  for (const Suite& suite : suites()) {
    const Bytes key = random.bytes(suite.cipher->key_material_bytes());
    const Bytes integrity_key = random.bytes(suite.integrity->key_bits / 8u);
    const Cipher fast = suite.make(fast_backend(), key, integrity_key);
    const Cipher portable = suite.make(Backend::portable, key, integrity_key);
    for (size_t burst = 1; burst <= 75; burst++) {
      const Note note(suite.name() + ", a burst of " + std::to_string(burst));
      Burst plain;
      for (size_t i = 0; i < burst; i++) {
        plain.add(suite, random, whole_blocks(suite, random.below(burst % 25 == 0 ? 3000 : 300)));
      }
      check_burst(suite, fast, portable, plain, random);
    }
  }
}

TEST("the backends agree on packets that share lanes: as long as each other, in sets that are full and not, AES-CBC") {
  Random random(12);
  for (const Suite& suite : suites()) {
    if (suite.cipher->mode != CipherMode::cbc || suite.cipher->primitive != Primitive::aes) continue;
    const Bytes key = random.bytes(suite.cipher->key_material_bytes());
    const Bytes integrity_key = random.bytes(suite.integrity->key_bits / 8u);
    const Cipher fast = suite.make(fast_backend(), key, integrity_key);
    const Cipher portable = suite.make(Backend::portable, key, integrity_key);
    for (const size_t length : {16, 32, 48, 64, 80, 96, 112, 128, 160, 1408}) {
      for (const size_t alike : {3u, 4u, 15u, 16u, 17u, 36u}) {
        for (const unsigned additional_bytes : {0u, 4u}) {
          const Note note(suite.name() + ", " + std::to_string(alike) + " of " + std::to_string(length));
          Burst plain;
          plain.add(suite, random, 0);
          for (size_t i = 0; i < alike; i++) plain.add(suite, random, length);
          plain.add(suite, random, length - 16);  // the end of a superpacket
          for (CipherOp& op : plain.ops) op.additional_bytes = static_cast<uint8_t>(additional_bytes);
          check_burst(suite, fast, portable, plain, random);
        }
      }
    }
  }
}

TEST("the backends agree on bursts in which sets of packets alike, full and not, have others between them, AES-CBC") {
  Random random(15);
  for (const Suite& suite : suites()) {
    if (suite.cipher->mode != CipherMode::cbc || suite.cipher->primitive != Primitive::aes) continue;
    const Bytes key = random.bytes(suite.cipher->key_material_bytes());
    const Bytes integrity_key = random.bytes(suite.integrity->key_bits / 8u);
    const Cipher fast = suite.make(fast_backend(), key, integrity_key);
    const Cipher portable = suite.make(Backend::portable, key, integrity_key);
    for (int burst = 0; burst < 40; burst++) {
      const Note note(suite.name() + ", burst " + std::to_string(burst));
      Burst plain;
      while (plain.ops.size() < 100) {
        const size_t length = 16 * random.below(8);
        const size_t alike = random.below(3) == 0 ? 13 + random.below(20) : 1 + random.below(5);
        const uint8_t additional_bytes = random.below(2) == 0 ? 0 : 4;
        for (size_t i = 0; i < alike; i++) {
          plain.add(suite, random, length);
          plain.ops.back().additional_bytes = additional_bytes;
        }
      }
      check_burst(suite, fast, portable, plain, random);
    }
  }
}

TEST("the backends agree on every length up to 300 bytes and on the longest, every cipher with every integrity") {
  Random random(11);
  for (const Suite& suite : suites()) {
    const Note note(suite.name());
    const Bytes key = random.bytes(suite.cipher->key_material_bytes());
    const Bytes integrity_key = random.bytes(suite.integrity->key_bits / 8u);
    const Cipher fast = suite.make(fast_backend(), key, integrity_key);
    const Cipher portable = suite.make(Backend::portable, key, integrity_key);
    Burst plain;
    for (size_t length = 0; length < 300; length += suite.cipher->block_bytes) plain.add(suite, random, length);
    for (const size_t length : {9000, 65536 - 100}) plain.add(suite, random, whole_blocks(suite, length));
    check_burst(suite, fast, portable, plain, random);
  }
}

TEST("one flipped bit anywhere is not authentic: header, text, ICV, additional data, nonce of a combined mode") {
  Random random(12);
  for (const Suite& suite : suites()) {
    for (const Backend backend : {fast_backend(), Backend::portable}) {
      const Note note(suite.name() + (backend == Backend::portable ? " portable" : " ipsec_mb"));
      const bool is_aead = suite.cipher->mode == CipherMode::aead;
      const Cipher cipher = suite.make(backend, random.bytes(suite.cipher->key_material_bytes()),
                                       random.bytes(suite.integrity->key_bits / 8u));
      Burst sealed;
      sealed.add(suite, random, 48);
      cipher.seal(sealed.ops);
      const auto opens = [&](auto damage) {
        Burst other = sealed.copy();
        damage(other);
        cipher.open(other.ops);
        return other.ops[0].authentic;
      };
      CHECK(opens([](Burst&) {}));
      for (size_t byte = 0; byte < sealed.sizes[0]; byte++) {
        for (unsigned bit = 0; bit < 8; bit++) {
          CHECK(!opens([&](Burst& burst) { burst.memory[0][byte] ^= static_cast<uint8_t>(1u << bit); }));
        }
      }
      for (size_t byte = 0; byte < sealed.ops[0].additional_bytes; byte++) {
        CHECK(!opens([&](Burst& burst) { burst.ops[0].additional[byte] ^= 1; }));
      }
      for (size_t byte = 0; is_aead && byte < 12; byte++) {
        CHECK(!opens([&](Burst& burst) { burst.ops[0].nonce[byte] ^= 1; }));
      }
    }
  }
}

TEST("one cipher may be used by several threads at once") {
  Random random(13);
  for (const Suite& suite : suites()) {
    // One of each code path.
    if (suite.cipher->wants_integrity && suite.integrity->integ != 2 && suite.integrity->integ != 1) continue;
    const Note note(suite.name());
    const Bytes key = random.bytes(suite.cipher->key_material_bytes());
    const Bytes integrity_key = random.bytes(suite.integrity->key_bits / 8u);
    const Cipher cipher = suite.make(fast_backend(), key, integrity_key);
    std::vector<std::thread> threads;
    for (uint64_t thread = 0; thread < 3; thread++) {
      threads.emplace_back([&, thread] {
        prepare_thread();
        Random own(100 + thread);
        for (size_t burst = 1; burst < 40; burst += 6) {
          Burst plain;
          for (size_t i = 0; i < burst; i++) plain.add(suite, own, 96);
          Burst through = plain.copy();
          cipher.seal(through.ops);
          cipher.open(through.ops);
          for (size_t i = 0; i < burst; i++) CHECK(through.ops[i].authentic && through.text(i) == plain.text(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

TEST("IVs differ for every number, every place and every source, on every backend") {
  for (const Backend backend : {fast_backend(), Backend::portable}) {
    auto one = IvSource::create(backend);
    auto two = IvSource::create(backend);
    REQUIRE(one.ok() && two.ok());
    std::vector<Bytes> blocks;
    for (const uint64_t number : {uint64_t{1}, uint64_t{2}, uint64_t{1} << 40}) {
      for (const IvSource* source : {&one.value(), &two.value()}) {
        Bytes ivs(kBurst * 16, 0xaa);
        source->fill(number, ivs);
        for (size_t at = 0; at < ivs.size(); at += 16) {
          blocks.emplace_back(ivs.begin() + static_cast<ptrdiff_t>(at), ivs.begin() + static_cast<ptrdiff_t>(at + 16));
        }
      }
    }
    std::sort(blocks.begin(), blocks.end());
    CHECK(std::adjacent_find(blocks.begin(), blocks.end()) == blocks.end());
    CHECK_EQ(blocks.size(), 6 * kBurst);
  }
}

}  // namespace
}  // namespace culvert::crypto
