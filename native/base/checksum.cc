#include "base/checksum.h"

#include <cstring>

#if defined(__x86_64__)
#if !defined(__clang__)
// GCC's own AVX-512 intrinsics read a deliberately undefined register (GCC bug 105593, fixed in 13).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace culvert {
namespace {

// Every function here sums 32-bit words into 64-bit lanes, which cannot overflow below 2^32 words, so that no carry has
// to be carried; one's complement arithmetic does not care how wide the words were.

template <bool kCopy>
uint64_t sum_tail(uint8_t* to, const uint8_t* from, size_t length, uint64_t sum) {
  for (; length >= 4; length -= 4, from += 4) {
    uint32_t word;
    std::memcpy(&word, from, 4);
    if constexpr (kCopy) {
      std::memcpy(to, &word, 4);
      to += 4;
    }
    sum += word;
  }
  if (length != 0) {
    uint32_t word = 0;
    std::memcpy(&word, from, length);
    if constexpr (kCopy) std::memcpy(to, &word, length);
    sum += word;
  }
  return sum;
}

template <bool kCopy>
uint64_t sum_scalar(uint8_t* to, const uint8_t* from, size_t length) {
  uint64_t even = 0;
  uint64_t odd = 0;
  for (; length >= 16; length -= 16, from += 16) {
    uint64_t words[2];
    std::memcpy(words, from, 16);
    if constexpr (kCopy) {
      std::memcpy(to, words, 16);
      to += 16;
    }
    even += (words[0] & 0xffffffff) + (words[1] & 0xffffffff);
    odd += (words[0] >> 32) + (words[1] >> 32);
  }
  return sum_tail<kCopy>(to, from, length, even + odd);
}

#if defined(__x86_64__)
template <bool kCopy>
__attribute__((target("avx2"))) uint64_t sum_avx2(uint8_t* to, const uint8_t* from, size_t length) {
  const __m256i low_half = _mm256_set1_epi64x(0xffffffff);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = _mm256_setzero_si256();
  for (; length >= 32; length -= 32, from += 32) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    if constexpr (kCopy) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words);
      to += 32;
    }
    even = _mm256_add_epi64(even, _mm256_and_si256(words, low_half));
    odd = _mm256_add_epi64(odd, _mm256_srli_epi64(words, 32));
  }
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi64(even, odd));
  return sum_tail<kCopy>(to, from, length, lanes[0] + lanes[1] + lanes[2] + lanes[3]);
}

template <bool kCopy>
__attribute__((target("avx512f,avx512bw,avx512vl,bmi2"))) uint64_t sum_avx512(uint8_t* to, const uint8_t* from,
                                                                              size_t length) {
  const __m512i low_half = _mm512_set1_epi64(0xffffffff);
  __m512i even = _mm512_setzero_si512();
  __m512i odd = _mm512_setzero_si512();
  for (; length >= 64; length -= 64, from += 64) {
    const __m512i words = _mm512_loadu_si512(from);
    if constexpr (kCopy) {
      _mm512_storeu_si512(to, words);
      to += 64;
    }
    even = _mm512_add_epi64(even, _mm512_and_si512(words, low_half));
    odd = _mm512_add_epi64(odd, _mm512_srli_epi64(words, 32));
  }
  if (length != 0) {
    const __mmask64 rest = (uint64_t{1} << length) - 1;
    const __m512i words = _mm512_maskz_loadu_epi8(rest, from);
    if constexpr (kCopy) _mm512_mask_storeu_epi8(to, rest, words);
    even = _mm512_add_epi64(even, _mm512_and_si512(words, low_half));
    odd = _mm512_add_epi64(odd, _mm512_srli_epi64(words, 32));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(even, odd)));
}
#endif

const ChecksumVariant kFastest = checksum_variants().back();

}  // namespace

std::vector<ChecksumVariant> checksum_variants() {
  std::vector<ChecksumVariant> variants{{"scalar", sum_scalar<false>, sum_scalar<true>}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) variants.push_back({"avx2", sum_avx2<false>, sum_avx2<true>});
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    variants.push_back({"avx512", sum_avx512<false>, sum_avx512<true>});
  }
#endif
  return variants;
}

uint64_t checksum_partial(const uint8_t* data, size_t length, uint64_t sum) {
  return checksum_add(kFastest.sum(nullptr, data, length), sum);
}

uint64_t copy_and_checksum(uint8_t* to, const uint8_t* from, size_t length, uint64_t sum) {
  return checksum_add(kFastest.copy_and_sum(to, from, length), sum);
}

uint64_t pseudo_header_checksum(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                                uint32_t length) {
  // IPv4 has a 16-bit length and IPv6 a 32-bit one: both sum to the same for every length that either can have.
  uint8_t header[40];
  source.store(header);
  destination.store(header + source.bytes());
  uint8_t* rest = header + source.bytes() + destination.bytes();
  store_be32(rest, length);
  store_be32(rest + 4, protocol);
  return sum_scalar<false>(nullptr, header, source.bytes() + destination.bytes() + 8);
}

}  // namespace culvert
