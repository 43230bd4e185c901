// Thread: any. Network byte order changes here and nowhere else.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

namespace culvert {

static_assert(std::endian::native == std::endian::little, "culvert runs on little-endian hosts");

/** Host value of the 2, 4 or 8 bytes at `from`, which need no alignment. */
inline uint16_t load_be16(const void* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap16(value);
}
inline uint32_t load_be32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap32(value);
}
inline uint64_t load_be64(const void* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof value);
  return __builtin_bswap64(value);
}

/** Writes 2, 4 or 8 bytes at `to`, which needs no alignment. */
inline void store_be16(void* to, uint16_t value) {
  value = __builtin_bswap16(value);
  std::memcpy(to, &value, sizeof value);
}
inline void store_be32(void* to, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}
inline void store_be64(void* to, uint64_t value) {
  value = __builtin_bswap64(value);
  std::memcpy(to, &value, sizeof value);
}

/** The value whose bytes in memory are `value` in network order: for putting words together before they are stored. */
inline uint32_t to_be32(uint32_t value) { return __builtin_bswap32(value); }
inline uint64_t to_be64(uint64_t value) { return __builtin_bswap64(value); }

}  // namespace culvert
