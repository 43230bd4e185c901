// nettle: every algorithm for CPUs that intel-ipsec-mb does not serve, and the oracle of the differential tests.
#include <nettle/chacha-poly1305.h>
#include <nettle/gcm.h>
#include <nettle/version.h>

#include <string>

#include "crypto/backend.h"
#include "crypto/nettle_primitives.h"

namespace culvert::crypto {
namespace {

/** One key size of nettle's, whose functions differ in name only. */
template <typename Key, auto kSetKey, auto kEncryptBlock>
struct NettleGcm {
  struct Context {
    gcm_key hash_key;
    Key cipher_key;
  };

  static nettle_cipher_func* block_cipher() {
    // nettle's own GCM_* macros make the same cast: the first parameter is a pointer either way.
    return reinterpret_cast<nettle_cipher_func*>(kEncryptBlock);
  }

  static void start(const Context& context, gcm_ctx& state, const CipherOp& op) {
    gcm_set_iv(&state, &context.hash_key, GCM_IV_SIZE, op.nonce);
    gcm_update(&state, &context.hash_key, op.additional_bytes, op.additional);
  }

  static void seal(const void* keyed, CipherOp* ops, size_t count) {
    const auto& context = *static_cast<const Context*>(keyed);
    for (CipherOp& op : std::span(ops, count)) {
      gcm_ctx state;
      start(context, state, op);
      gcm_encrypt(&state, &context.hash_key, &context.cipher_key, block_cipher(), op.text_bytes, op.text, op.text);
      gcm_digest(&state, &context.hash_key, &context.cipher_key, block_cipher(), GCM_DIGEST_SIZE, op.icv);
    }
  }

  static void open(const void* keyed, CipherOp* ops, size_t count) {
    const auto& context = *static_cast<const Context*>(keyed);
    for (CipherOp& op : std::span(ops, count)) {
      gcm_ctx state;
      uint8_t icv[GCM_DIGEST_SIZE];
      start(context, state, op);
      gcm_decrypt(&state, &context.hash_key, &context.cipher_key, block_cipher(), op.text_bytes, op.text, op.text);
      gcm_digest(&state, &context.hash_key, &context.cipher_key, block_cipher(), GCM_DIGEST_SIZE, icv);
      op.authentic = equal_icv16(icv, op.icv);
    }
  }

  static KeyedContext make(std::span<const uint8_t> key) {
    auto memory = allocate_context<Context>();
    auto& context = *static_cast<Context*>(memory.get());
    kSetKey(&context.cipher_key, key.data());
    gcm_set_key(&context.hash_key, &context.cipher_key, block_cipher());
    return {seal, open, std::move(memory)};
  }
};

/** RFC 7634: ChaCha20 and Poly1305 as RFC 8439 §2.8 joins them. nettle keeps key and message state in one context. */
struct ChaCha {
  static void start(const void* keyed, chacha_poly1305_ctx& state, const CipherOp& op) {
    state = *static_cast<const chacha_poly1305_ctx*>(keyed);
    chacha_poly1305_set_nonce(&state, op.nonce);
    chacha_poly1305_update(&state, op.additional_bytes, op.additional);
  }

  static void seal(const void* keyed, CipherOp* ops, size_t count) {
    for (CipherOp& op : std::span(ops, count)) {
      chacha_poly1305_ctx state;
      start(keyed, state, op);
      chacha_poly1305_encrypt(&state, op.text_bytes, op.text, op.text);
      chacha_poly1305_digest(&state, CHACHA_POLY1305_DIGEST_SIZE, op.icv);
    }
  }

  static void open(const void* keyed, CipherOp* ops, size_t count) {
    for (CipherOp& op : std::span(ops, count)) {
      chacha_poly1305_ctx state;
      uint8_t icv[CHACHA_POLY1305_DIGEST_SIZE];
      start(keyed, state, op);
      chacha_poly1305_decrypt(&state, op.text_bytes, op.text, op.text);
      chacha_poly1305_digest(&state, sizeof icv, icv);
      op.authentic = equal_icv16(icv, op.icv);
    }
  }

  static KeyedContext make(std::span<const uint8_t> key) {
    auto memory = allocate_context<chacha_poly1305_ctx>();
    chacha_poly1305_set_key(static_cast<chacha_poly1305_ctx*>(memory.get()), key.data());
    return {seal, open, std::move(memory)};
  }
};

/** Encrypt, then HMAC over header, IV and ciphertext (RFC 4303 §3.3.2.1). */
struct NettleComposed {
  NettleCipher cipher;
  NettleMac mac;
  size_t icv_bytes;

  static void seal(const void* keyed, CipherOp* ops, size_t count) {
    const auto& self = *static_cast<const NettleComposed*>(keyed);
    for (CipherOp& op : std::span(ops, count)) {
      self.cipher.encrypt(self.cipher, op);
      self.mac.mac(self.mac, op, self.icv_bytes, op.icv);
    }
  }

  static void open(const void* keyed, CipherOp* ops, size_t count) {
    const auto& self = *static_cast<const NettleComposed*>(keyed);
    for (CipherOp& op : std::span(ops, count)) {
      uint8_t icv[kMaxMacBytes];
      self.mac.mac(self.mac, op, self.icv_bytes, icv);
      op.authentic = equal_icv(icv, op.icv, self.icv_bytes);
      if (op.authentic) self.cipher.decrypt(self.cipher, op);
    }
  }
};

KeyedContext nettle_gcm(const CipherRow& row, std::span<const uint8_t> key) {
  switch (row.key_bits) {
    case 128:
      return NettleGcm<aes128_ctx, aes128_set_encrypt_key, aes128_encrypt>::make(key);
    case 192:
      return NettleGcm<aes192_ctx, aes192_set_encrypt_key, aes192_encrypt>::make(key);
    default:
      return NettleGcm<aes256_ctx, aes256_set_encrypt_key, aes256_encrypt>::make(key);
  }
}

}  // namespace

std::string_view nettle_description() {
  static const std::string description =
      "nettle " + std::to_string(nettle_version_major()) + "." + std::to_string(nettle_version_minor());
  return description;
}

KeyedContext nettle_aead(const CipherRow& row, std::span<const uint8_t> key) {
  return row.primitive == Primitive::chacha20 ? ChaCha::make(key) : nettle_gcm(row, key);
}

KeyedContext nettle_composed(const ComposedParams& params) {
  auto memory = allocate_context<NettleComposed>();
  auto& composed = *static_cast<NettleComposed*>(memory.get());
  set_nettle_cipher(composed.cipher, params.cipher, params.key);
  set_nettle_mac(composed.mac, params.integrity.hash, params.integrity_key);
  composed.icv_bytes = params.integrity.icv_bytes;
  return {NettleComposed::seal, NettleComposed::open, std::move(memory)};
}

}  // namespace culvert::crypto
