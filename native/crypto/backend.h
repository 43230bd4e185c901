// Thread: control. What a backend gives Cipher: an expanded key and two burst functions that read it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "crypto/cipher.h"

namespace culvert::crypto {

struct KeyedContext {
  Cipher::BurstFn seal = nullptr;
  Cipher::BurstFn open = nullptr;
  std::unique_ptr<void, WipeAndFree> context;
};

/** Zeroed memory on a cache line for an expanded key, wiped when it is freed. */
template <typename T>
std::unique_ptr<void, WipeAndFree> allocate_context() {
  constexpr size_t kLine = 64;
  constexpr size_t kBytes = (sizeof(T) + kLine - 1) / kLine * kLine;
  static_assert(alignof(T) <= kLine);
  void* memory = std::aligned_alloc(kLine, kBytes);
  if (memory == nullptr) std::abort();  // as operator new does without exceptions
  new (memory) T{};
  return {memory, WipeAndFree{kBytes}};
}

/** Compares 16 bytes in time that does not depend on them. */
inline bool equal_icv16(const uint8_t* a, const uint8_t* b) {
  uint64_t x[2];
  uint64_t y[2];
  std::memcpy(x, a, 16);
  std::memcpy(y, b, 16);
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

/** Compares a whole number of 4-byte words, as every ICV is, in time that depends on their number only. */
inline bool equal_icv(const uint8_t* a, const uint8_t* b, size_t bytes) {
  uint32_t difference = 0;
  for (size_t at = 0; at < bytes; at += 4) {
    uint32_t x;
    uint32_t y;
    std::memcpy(&x, a + at, 4);
    std::memcpy(&y, b + at, 4);
    difference |= x ^ y;
  }
  return difference == 0;
}

/** What a cipher and an HMAC are keyed with when they are not one algorithm. Keys have the rows' lengths. */
struct ComposedParams {
  const CipherRow& cipher;
  const IntegrityRow& integrity;
  std::span<const uint8_t> key;  // without the salt
  std::span<const uint8_t> integrity_key;
};

// intel-ipsec-mb: x86-64 with AES and PCLMULQDQ; stubs that say "unavailable" elsewhere.
bool ipsec_mb_available();
std::string_view ipsec_mb_description();
/** Rows of mode aead. */
KeyedContext ipsec_mb_aead(const CipherRow& row, std::span<const uint8_t> key);
/** Rows of the other modes, with an HMAC. */
KeyedContext ipsec_mb_composed(const ComposedParams& params);
/** Makes the calling thread's job manager now. */
void ipsec_mb_prepare_thread();

// nettle: any CPU, and the oracle that the others are compared with.
std::string_view nettle_description();
KeyedContext nettle_aead(const CipherRow& row, std::span<const uint8_t> key);
KeyedContext nettle_composed(const ComposedParams& params);

}  // namespace culvert::crypto
