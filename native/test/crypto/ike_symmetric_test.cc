// IKE's symmetric cryptography: what the sanitizers are to see. Values are compared in
// test/addon/ike-symmetric.test.ts.
#include "crypto/ike_symmetric.h"

#include <vector>

#include "test/check.h"

namespace culvert::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes filled(test::Random& random, size_t bytes) {
  Bytes made(bytes);
  random.fill(made);
  return made;
}

TEST("ike symmetric: prf+ is HMAC over what came before, for keys of every length") {
  test::Random random(1);
  for (const Hash hash : {Hash::md5, Hash::sha1, Hash::sha256, Hash::sha384, Hash::sha512}) {
    const size_t digest = digest_bytes(hash);
    for (const size_t key_bytes : {0u, 1u, 63u, 64u, 65u, 128u, 129u, 300u}) {
      const Bytes key = filled(random, key_bytes);
      const Bytes seed = filled(random, 70);
      Bytes stream(2 * digest + 5);
      CHECK(prf_plus(hash, key, seed, stream));
      Bytes text(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(digest));
      text.insert(text.end(), seed.begin(), seed.end());
      text.push_back(2);
      Bytes second(digest);
      hmac(hash, key, text, second);
      CHECK(std::equal(second.begin(), second.end(), stream.begin() + static_cast<std::ptrdiff_t>(digest)));
    }
    Bytes longest(255 * digest + 1);
    CHECK(!prf_plus(hash, {}, {}, longest));
    longest.pop_back();
    CHECK(prf_plus(hash, {}, {}, longest));
  }
  CHECK(digest_bytes(Hash::none) == 0);
}

TEST("ike symmetric: every suite opens what it sealed, and nothing else") {
  test::Random random(2);
  for (const CipherRow& cipher : cipher_rows()) {
    if (cipher.mode == CipherMode::null) continue;
    for (const IntegrityRow& integrity : integrity_rows()) {
      if ((integrity.hash != Hash::none) != cipher.wants_integrity) continue;
      const Bytes key = filled(random, cipher.key_material_bytes());
      const Bytes integrity_key = filled(random, integrity.key_bits / 8u);
      const SkKeys keys{cipher, cipher.wants_integrity ? &integrity : nullptr, key, integrity_key};
      const size_t icv = cipher.wants_integrity ? integrity.icv_bytes : cipher.icv_bytes;
      for (const size_t head : {0u, 28u, 300u}) {
        const size_t overhead = head + cipher.iv_bytes + icv;
        const Bytes plain = filled(random, overhead + 5u * cipher.block_bytes);
        Bytes message = plain;
        CHECK(sk_seal(keys, message, head));
        CHECK(message != plain);
        Bytes broken = message;
        broken[broken.size() / 2] ^= 1;
        CHECK(!sk_open(keys, broken, head));
        CHECK(sk_open(keys, message, head));
        CHECK(std::equal(plain.begin(), plain.end() - static_cast<std::ptrdiff_t>(icv), message.begin()));
        // Lengths that leave no text, or cut it.
        for (size_t bytes = 0; bytes <= overhead; bytes++) {
          CHECK(!sk_open(keys, std::span(message).first(bytes), head));
          CHECK(!sk_seal(keys, std::span(message).first(bytes), head));
        }
        if (cipher.block_bytes > 1) CHECK(!sk_seal(keys, std::span(message).first(overhead + 1), head));
        CHECK(!sk_seal(keys, message, SIZE_MAX));
      }
    }
  }
}

}  // namespace
}  // namespace culvert::crypto
