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

// intel-ipsec-mb: x86-64 with AES and PCLMULQDQ; stubs that say "unavailable" elsewhere.
bool ipsec_mb_available();
std::string_view ipsec_mb_description();
KeyedContext ipsec_mb_gcm(const CipherRow& row, std::span<const uint8_t> key);

// nettle: any CPU, and the oracle that the others are compared with.
std::string_view nettle_description();
KeyedContext nettle_gcm(const CipherRow& row, std::span<const uint8_t> key);

}  // namespace culvert::crypto
