#include "crypto/algorithms.h"

namespace culvert::crypto {
namespace {

namespace column {
constexpr bool yes = true;
constexpr bool no = false;
}  // namespace column

constexpr CipherRow kCiphers[] = {
#define ESP_CIPHER(name, encr, key_bits, salt_bytes, iv_bytes, icv_bytes, block_bytes, mode, primitive, \
                   wants_integrity, rfc)                                                                \
  {#name,                                                                                               \
   rfc,                                                                                                 \
   encr,                                                                                                \
   key_bits,                                                                                            \
   salt_bytes,                                                                                          \
   iv_bytes,                                                                                            \
   icv_bytes,                                                                                           \
   block_bytes,                                                                                         \
   CipherMode::mode,                                                                                    \
   Primitive::primitive,                                                                                \
   column::wants_integrity},
#define ESP_INTEGRITY(name, integ, key_bits, icv_bytes, hash, rfc)
#include "tables/esp_algorithms.def"
#undef ESP_CIPHER
#undef ESP_INTEGRITY
};

constexpr IntegrityRow kIntegrities[] = {
#define ESP_CIPHER(name, encr, key_bits, salt_bytes, iv_bytes, icv_bytes, block_bytes, mode, primitive, \
                   wants_integrity, rfc)
#define ESP_INTEGRITY(name, integ, key_bits, icv_bytes, hash, rfc) {#name, rfc, integ, key_bits, icv_bytes, Hash::hash},
#include "tables/esp_algorithms.def"
#undef ESP_CIPHER
#undef ESP_INTEGRITY
};

}  // namespace

std::span<const CipherRow> cipher_rows() { return kCiphers; }
std::span<const IntegrityRow> integrity_rows() { return kIntegrities; }

const CipherRow* find_cipher(uint16_t encr, uint16_t key_bits) {
  for (const CipherRow& row : kCiphers) {
    if (row.encr == encr && row.key_bits == key_bits) return &row;
  }
  return nullptr;
}

const IntegrityRow* find_integrity(uint16_t integ) {
  for (const IntegrityRow& row : kIntegrities) {
    if (row.integ == integ) return &row;
  }
  return nullptr;
}

}  // namespace culvert::crypto
