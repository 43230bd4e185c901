#include "esp/sa.h"

#include <algorithm>
#include <string>

namespace culvert::esp {
Result<SaParts> make_sa_parts(const SaParams& params) {
  if (params.spi < kFirstLegalSpi) return Error{"SPI " + std::to_string(params.spi) + " is reserved: 0 to 255 are"};
  const crypto::CipherRow* cipher_row = crypto::find_cipher(params.encr, params.encr_key_bits);
  if (cipher_row == nullptr) {
    return Error{"ESP encryption algorithm " + std::to_string(params.encr) + " with " +
                 std::to_string(params.encr_key_bits) + " key bits is not implemented"};
  }
  const crypto::IntegrityRow* integrity_row = crypto::find_integrity(params.integ);
  if (integrity_row == nullptr) {
    return Error{"ESP integrity algorithm " + std::to_string(params.integ) + " is not implemented"};
  }

  auto selectors = SelectorSet::create(params.local_selectors, params.remote_selectors);
  if (!selectors) return Error{selectors.error()};
  auto cipher = crypto::Cipher::create({.cipher = cipher_row,
                                        .integrity = integrity_row,
                                        .key = params.encr_key,
                                        .integrity_key = params.integ_key,
                                        .backend = params.backend,
                                        .allow_unprotected_for_benchmark = params.allow_unprotected_for_benchmark});
  if (!cipher) return Error{cipher.error()};

  SaParts parts{.selectors = std::move(selectors).value(),
                .cipher = std::move(cipher).value(),
                .geometry = {.header_bytes = static_cast<uint8_t>(kEspHeaderBytes + cipher_row->iv_bytes),
                             .icv_bytes = static_cast<uint8_t>(cipher_row->icv_bytes + integrity_row->icv_bytes),
                             .align = std::max(kMinAlign, cipher_row->block_bytes)},
                .mode = cipher_row->mode,
                .salt = {}};
  const auto salt = params.encr_key.last(cipher_row->salt_bytes);
  std::copy(salt.begin(), salt.end(), parts.salt.begin());
  return parts;
}

}  // namespace culvert::esp
