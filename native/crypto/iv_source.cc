#include "crypto/iv_source.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>

namespace culvert::crypto {
namespace {

constexpr uint16_t kAesGcm = 20;  // ENCR_AES_GCM_16
constexpr uint16_t kKeyBits = 128;

bool draw(std::span<uint8_t> bytes) {
  // Requests of up to 256 bytes are never cut short once the kernel's generator is seeded; a signal can come before.
  ssize_t drawn = 0;
  do {
    drawn = getrandom(bytes.data(), bytes.size(), 0);
  } while (drawn < 0 && errno == EINTR);
  return drawn == static_cast<ssize_t>(bytes.size());
}

}  // namespace

Result<IvSource> IvSource::create(Backend backend) {
  uint8_t key[kKeyBits / 8 + 4];  // the salt is not looked at
  if (!draw(key)) return Error{"the kernel gave no random bytes for IVs"};
  auto cipher = Cipher::create({.cipher = find_cipher(kAesGcm, kKeyBits), .key = key, .backend = backend});
  explicit_bzero(key, sizeof key);
  if (!cipher) return Error{cipher.error()};
  return IvSource(std::move(cipher).value());
}

void IvSource::fill(uint64_t number, std::span<uint8_t> ivs) const {
  std::memset(ivs.data(), 0, ivs.size());
  uint8_t unused_icv[16];
  CipherOp op{};
  op.text = ivs.data();
  op.text_bytes = static_cast<uint32_t>(ivs.size());
  op.icv = unused_icv;
  std::memcpy(op.nonce, &number, sizeof number);
  cipher_.seal({&op, 1});
}

}  // namespace culvert::crypto
