#include "crypto/ike_symmetric.h"

#include <nettle/gcm.h>
#include <nettle/md5.h>
#include <nettle/nettle-meta.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "crypto/backend.h"
#include "crypto/nettle_primitives.h"

namespace culvert::crypto {
namespace {

using Construction = ::nettle_aead;  // backend.h has a function of that name

constexpr size_t kMaxBlockBytes = SHA512_BLOCK_SIZE;

union HashState {
  md5_ctx md5;
  sha1_ctx sha1;
  sha256_ctx sha256;
  sha512_ctx sha512;
};

const nettle_hash* nettle_hash_of(Hash hash) {
  switch (hash) {
    case Hash::md5:
      return &nettle_md5;
    case Hash::sha1:
      return &nettle_sha1;
    case Hash::sha256:
      return &nettle_sha256;
    case Hash::sha384:
      return &nettle_sha384;
    case Hash::sha512:
      return &nettle_sha512;
    case Hash::none:
      break;
  }
  return nullptr;
}

/** One key for any number of messages, one after the other. */
class Hmac {
 public:
  Hmac(const nettle_hash& hash, std::span<const uint8_t> key) : hash_(hash) {
    uint8_t block[kMaxBlockBytes] = {};
    if (key.size() <= hash.block_size) {
      std::copy(key.begin(), key.end(), block);
    } else {
      hash.init(&state_);
      hash.update(&state_, key.size(), key.data());
      hash.digest(&state_, hash.digest_size, block);
    }
    absorb(inner_, block, 0x36);
    absorb(outer_, block, 0x36 ^ 0x5c);  // the first pad is still there
    explicit_bzero(block, sizeof block);
    begin();
  }
  ~Hmac() {
    for (HashState* state : {&inner_, &outer_, &state_}) explicit_bzero(state, sizeof *state);
  }
  Hmac(const Hmac&) = delete;
  Hmac& operator=(const Hmac&) = delete;

  void update(std::span<const uint8_t> text) { hash_.update(&state_, text.size(), text.data()); }

  /** The first `out.size()` octets of the HMAC over all that came since the last one. */
  void finish(std::span<uint8_t> out) {
    uint8_t digest[kMaxDigestBytes];
    hash_.digest(&state_, hash_.digest_size, digest);
    state_ = outer_;
    hash_.update(&state_, hash_.digest_size, digest);
    hash_.digest(&state_, out.size(), out.data());
    explicit_bzero(digest, sizeof digest);
    begin();
  }

 private:
  void absorb(HashState& state, uint8_t* block, uint8_t pad) {
    for (size_t i = 0; i < hash_.block_size; i++) block[i] ^= pad;
    hash_.init(&state);
    hash_.update(&state, hash_.block_size, block);
  }
  void begin() { state_ = inner_; }

  const nettle_hash& hash_;
  HashState inner_;
  HashState outer_;
  HashState state_;
};

/** Where the parts of a message lie. */
struct Layout {
  std::span<uint8_t> additional;
  std::span<uint8_t> iv;
  std::span<uint8_t> text;
  std::span<uint8_t> icv;
};

size_t icv_bytes(const SkKeys& keys) {
  return keys.integrity == nullptr ? keys.cipher.icv_bytes : keys.integrity->icv_bytes;
}

std::optional<Layout> layout(const SkKeys& keys, std::span<uint8_t> message, size_t body_offset) {
  const size_t iv = keys.cipher.iv_bytes;
  const size_t icv = icv_bytes(keys);
  // The padded plaintext has at least the octet that says how long the padding is.
  if (body_offset > message.size() || message.size() - body_offset < iv + 1 + icv) return std::nullopt;
  const size_t text = message.size() - body_offset - iv - icv;
  if (text % keys.cipher.block_bytes != 0) return std::nullopt;
  return Layout{message.first(body_offset), message.subspan(body_offset, iv), message.subspan(body_offset + iv, text),
                message.last(icv)};
}

/** RFC 5282 §4, RFC 7634 §2, RFC 3686 §4: the salt followed by the IV. Returns its length. */
size_t make_nonce(const SkKeys& keys, const Layout& at, uint8_t* nonce) {
  const auto salt = keys.key.last(keys.cipher.salt_bytes);
  std::copy(at.iv.begin(), at.iv.end(), std::copy(salt.begin(), salt.end(), nonce));
  return salt.size() + at.iv.size();
}

const Construction* aead_of(const CipherRow& row) {
  if (row.mode != CipherMode::aead) return nullptr;
  if (row.primitive == Primitive::chacha20) return &nettle_chacha_poly1305;
  if (row.key_bits == 128) return &nettle_gcm_aes128;
  return row.key_bits == 192 ? &nettle_gcm_aes192 : &nettle_gcm_aes256;
}

/** An AEAD with key, nonce and additional data set. */
class Aead {
 public:
  Aead(const Construction& aead, const SkKeys& keys, const Layout& at) : aead_(aead) {
    if (aead.context_size > sizeof context_) std::abort();
    uint8_t nonce[16];
    make_nonce(keys, at, nonce);
    aead.set_encrypt_key(context_, keys.key.data());
    aead.set_nonce(context_, nonce);
    aead.update(context_, at.additional.size(), at.additional.data());
  }
  ~Aead() { explicit_bzero(context_, aead_.context_size); }
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  void encrypt(std::span<uint8_t> text) { aead_.encrypt(context_, text.size(), text.data(), text.data()); }
  void decrypt(std::span<uint8_t> text) { aead_.decrypt(context_, text.size(), text.data(), text.data()); }
  void digest(std::span<uint8_t> icv) { aead_.digest(context_, icv.size(), icv.data()); }

 private:
  const Construction& aead_;
  alignas(16) uint8_t context_[sizeof(gcm_aes256_ctx)];
};

enum class Direction : uint8_t { encrypt, decrypt };

void crypt(const SkKeys& keys, const Layout& at, Direction direction) {
  NettleCipher cipher;
  set_nettle_cipher(cipher, keys.cipher, keys.key.first(keys.cipher.key_bits / 8u));
  CipherOp op{};
  op.text = at.text.data();
  op.text_bytes = static_cast<uint32_t>(at.text.size());
  const size_t length = make_nonce(keys, at, op.nonce);
  // RFC 3686 §4: CTRBLK := NONCE || IV || ONE.
  if (keys.cipher.mode == CipherMode::ctr && length < sizeof op.nonce) op.nonce[sizeof op.nonce - 1] = 1;
  (direction == Direction::encrypt ? cipher.encrypt : cipher.decrypt)(cipher, op);
  explicit_bzero(&cipher, sizeof cipher);
}

/** RFC 7296 §3.14: over the entire message, up to the ICV. */
void integrity_checksum(const SkKeys& keys, std::span<const uint8_t> message, std::span<uint8_t> icv) {
  Hmac mac(*nettle_hash_of(keys.integrity->hash), keys.integrity_key);
  mac.update(message.first(message.size() - icv.size()));
  mac.finish(icv);
}

}  // namespace

size_t digest_bytes(Hash hash) {
  const nettle_hash* found = nettle_hash_of(hash);
  return found == nullptr ? 0 : found->digest_size;
}

void digest(Hash hash, std::span<const uint8_t> text, std::span<uint8_t> out) {
  const nettle_hash& found = *nettle_hash_of(hash);
  HashState state;
  found.init(&state);
  found.update(&state, text.size(), text.data());
  found.digest(&state, out.size(), out.data());
  explicit_bzero(&state, sizeof state);
}

void hmac(Hash hash, std::span<const uint8_t> key, std::span<const uint8_t> text, std::span<uint8_t> out) {
  Hmac mac(*nettle_hash_of(hash), key);
  mac.update(text);
  mac.finish(out);
}

bool prf_plus(Hash hash, std::span<const uint8_t> key, std::span<const uint8_t> seed, std::span<uint8_t> out) {
  const nettle_hash& found = *nettle_hash_of(hash);
  if (out.size() > 255 * size_t{found.digest_size}) return false;
  Hmac mac(found, key);
  std::span<const uint8_t> previous;
  uint8_t counter = 1;
  for (size_t at = 0; at < out.size(); counter++) {
    const auto block = out.subspan(at, std::min(out.size() - at, size_t{found.digest_size}));
    mac.update(previous);
    mac.update(seed);
    mac.update({&counter, 1});
    mac.finish(block);
    previous = block;
    at += block.size();
  }
  return true;
}

bool sk_seal(const SkKeys& keys, std::span<uint8_t> message, size_t body_offset) {
  const auto at = layout(keys, message, body_offset);
  if (!at) return false;
  if (const Construction* aead = aead_of(keys.cipher)) {
    Aead state(*aead, keys, *at);
    state.encrypt(at->text);
    state.digest(at->icv);
  } else {
    crypt(keys, *at, Direction::encrypt);
    integrity_checksum(keys, message, at->icv);
  }
  return true;
}

bool sk_open(const SkKeys& keys, std::span<uint8_t> message, size_t body_offset) {
  const auto at = layout(keys, message, body_offset);
  if (!at) return false;
  uint8_t icv[kMaxDigestBytes];
  const auto expected = std::span(icv).first(at->icv.size());
  if (const Construction* aead = aead_of(keys.cipher)) {
    Aead state(*aead, keys, *at);
    state.decrypt(at->text);
    state.digest(expected);
    if (equal_icv(icv, at->icv.data(), expected.size())) return true;
    // What is not authentic must not be seen.
    std::fill(at->text.begin(), at->text.end(), uint8_t{0});
    return false;
  }
  integrity_checksum(keys, message, expected);
  if (!equal_icv(icv, at->icv.data(), expected.size())) return false;
  crypt(keys, *at, Direction::decrypt);
  return true;
}

}  // namespace culvert::crypto
