#include "crypto/nettle_primitives.h"

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/des.h>
#include <nettle/md5.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>

#include <cstring>
#include <new>

namespace culvert::crypto {
namespace {

/** HMAC over one of nettle's hashes, whose functions differ in name only. */
template <typename Context, auto kInit, auto kUpdate, auto kDigest, size_t kBlockBytes, size_t kDigestBytes>
struct Hmac {
  struct States {
    Context inner;
    Context outer;
  };
  static_assert(sizeof(States) <= NettleMac::kStateBytes && kDigestBytes <= kMaxMacBytes);

  static void set_key(NettleMac& mac, std::span<const uint8_t> key) {
    auto* states = new (mac.states) States;
    absorb(states->inner, key, 0x36);
    absorb(states->outer, key, 0x5c);
    mac.mac = compute;
  }

  static void absorb(Context& state, std::span<const uint8_t> key, uint8_t pad) {
    uint8_t block[kBlockBytes];
    std::memset(block, pad, sizeof block);
    for (size_t i = 0; i < key.size(); i++) block[i] ^= key[i];
    kInit(&state);
    kUpdate(&state, sizeof block, block);
    explicit_bzero(block, sizeof block);
  }

  static void compute(const NettleMac& mac, const CipherOp& op, size_t bytes, uint8_t* out) {
    const auto& states = *std::launder(reinterpret_cast<const States*>(mac.states));
    uint8_t digest[kDigestBytes];
    Context state = states.inner;
    kUpdate(&state, op.header_bytes + size_t{op.text_bytes}, op.text - op.header_bytes);
    kUpdate(&state, op.additional_bytes, op.additional);
    kDigest(&state, sizeof digest, digest);
    state = states.outer;
    kUpdate(&state, sizeof digest, digest);
    kDigest(&state, bytes, out);
  }
};

using HmacMd5 = Hmac<md5_ctx, md5_init, md5_update, md5_digest, MD5_BLOCK_SIZE, MD5_DIGEST_SIZE>;
using HmacSha1 = Hmac<sha1_ctx, sha1_init, sha1_update, sha1_digest, SHA1_BLOCK_SIZE, SHA1_DIGEST_SIZE>;
using HmacSha256 = Hmac<sha256_ctx, sha256_init, sha256_update, sha256_digest, SHA256_BLOCK_SIZE, SHA256_DIGEST_SIZE>;
using HmacSha384 = Hmac<sha512_ctx, sha384_init, sha512_update, sha384_digest, SHA512_BLOCK_SIZE, SHA384_DIGEST_SIZE>;
using HmacSha512 = Hmac<sha512_ctx, sha512_init, sha512_update, sha512_digest, SHA512_BLOCK_SIZE, SHA512_DIGEST_SIZE>;

// nettle's own CBC_* and CTR_* macros make the same cast: the first parameter is a pointer either way.
template <auto kBlockFunction>
nettle_cipher_func* as_cipher_function() {
  return reinterpret_cast<nettle_cipher_func*>(kBlockFunction);
}

/** CBC (NIST SP 800-38A §6.2) over one of nettle's block ciphers. */
template <typename Context, auto kSetEncrypt, auto kSetDecrypt, auto kEncryptBlock, auto kDecryptBlock, size_t kBlock>
struct Cbc {
  static_assert(sizeof(Context) <= NettleCipher::kScheduleBytes && kBlock <= sizeof(CipherOp::nonce));

  static void set_key(NettleCipher& cipher, std::span<const uint8_t> key) {
    kSetEncrypt(new (cipher.encrypt_schedule) Context, key.data());
    kSetDecrypt(new (cipher.decrypt_schedule) Context, key.data());
    cipher.encrypt = encrypt;
    cipher.decrypt = decrypt;
  }
  static void encrypt(const NettleCipher& cipher, const CipherOp& op) {
    uint8_t iv[kBlock];
    std::memcpy(iv, op.nonce, kBlock);
    cbc_encrypt(cipher.encrypt_schedule, as_cipher_function<kEncryptBlock>(), kBlock, iv, op.text_bytes, op.text,
                op.text);
  }
  static void decrypt(const NettleCipher& cipher, const CipherOp& op) {
    uint8_t iv[kBlock];
    std::memcpy(iv, op.nonce, kBlock);
    cbc_decrypt(cipher.decrypt_schedule, as_cipher_function<kDecryptBlock>(), kBlock, iv, op.text_bytes, op.text,
                op.text);
  }
};

/** AES in both modes: its CBC encryption is nettle's fused one, which does not reload the key for every block. */
template <typename Context, auto kSetEncrypt, auto kSetDecrypt, auto kEncryptBlock, auto kDecryptBlock,
          auto kCbcEncrypt>
struct Aes {
  using Generic = Cbc<Context, kSetEncrypt, kSetDecrypt, kEncryptBlock, kDecryptBlock, AES_BLOCK_SIZE>;

  static void set_cbc_key(NettleCipher& cipher, std::span<const uint8_t> key) {
    Generic::set_key(cipher, key);
    cipher.encrypt = encrypt_cbc;
  }
  static void encrypt_cbc(const NettleCipher& cipher, const CipherOp& op) {
    uint8_t iv[AES_BLOCK_SIZE];
    std::memcpy(iv, op.nonce, sizeof iv);
    kCbcEncrypt(std::launder(reinterpret_cast<const Context*>(cipher.encrypt_schedule)), iv, op.text_bytes, op.text,
                op.text);
  }

  static void set_ctr_key(NettleCipher& cipher, std::span<const uint8_t> key) {
    kSetEncrypt(new (cipher.encrypt_schedule) Context, key.data());
    cipher.encrypt = cipher.decrypt = crypt_ctr;
  }
  static void crypt_ctr(const NettleCipher& cipher, const CipherOp& op) {
    uint8_t counter[AES_BLOCK_SIZE];
    std::memcpy(counter, op.nonce, sizeof counter);
    ctr_crypt(cipher.encrypt_schedule, as_cipher_function<kEncryptBlock>(), AES_BLOCK_SIZE, counter, op.text_bytes,
              op.text, op.text);
  }

  static void set_key(NettleCipher& cipher, CipherMode mode, std::span<const uint8_t> key) {
    if (mode == CipherMode::ctr) return set_ctr_key(cipher, key);
    set_cbc_key(cipher, key);
  }
};

using Aes128 =
    Aes<aes128_ctx, aes128_set_encrypt_key, aes128_set_decrypt_key, aes128_encrypt, aes128_decrypt, cbc_aes128_encrypt>;
using Aes192 =
    Aes<aes192_ctx, aes192_set_encrypt_key, aes192_set_decrypt_key, aes192_encrypt, aes192_decrypt, cbc_aes192_encrypt>;
using Aes256 =
    Aes<aes256_ctx, aes256_set_encrypt_key, aes256_set_decrypt_key, aes256_encrypt, aes256_decrypt, cbc_aes256_encrypt>;
using Des = Cbc<des_ctx, des_set_key, des_set_key, des_encrypt, des_decrypt, DES_BLOCK_SIZE>;
using Des3 = Cbc<des3_ctx, des3_set_key, des3_set_key, des3_encrypt, des3_decrypt, DES3_BLOCK_SIZE>;

void crypt_nothing(const NettleCipher&, const CipherOp&) {}

}  // namespace

void set_nettle_mac(NettleMac& mac, Hash hash, std::span<const uint8_t> key) {
  switch (hash) {
    case Hash::md5:
      return HmacMd5::set_key(mac, key);
    case Hash::sha1:
      return HmacSha1::set_key(mac, key);
    case Hash::sha256:
      return HmacSha256::set_key(mac, key);
    case Hash::sha384:
      return HmacSha384::set_key(mac, key);
    case Hash::sha512:
      return HmacSha512::set_key(mac, key);
    case Hash::none:
      return;
  }
}

void set_nettle_cipher(NettleCipher& cipher, const CipherRow& row, std::span<const uint8_t> key) {
  switch (row.primitive) {
    case Primitive::aes:
      if (row.key_bits == 128) return Aes128::set_key(cipher, row.mode, key);
      if (row.key_bits == 192) return Aes192::set_key(cipher, row.mode, key);
      return Aes256::set_key(cipher, row.mode, key);
    case Primitive::des:
      return Des::set_key(cipher, key);
    case Primitive::des3:
      return Des3::set_key(cipher, key);
    case Primitive::none:
    case Primitive::chacha20:  // a combined mode: not made here
      cipher.encrypt = cipher.decrypt = crypt_nothing;
      return;
  }
}

}  // namespace culvert::crypto
