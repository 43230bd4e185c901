#include "crypto/cipher.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "crypto/backend.h"

namespace culvert::crypto {
namespace {

/** ENCR_NULL (RFC 2410) without integrity: the identity. */
void null_seal(const void*, CipherOp*, size_t) {}

void null_open(const void*, CipherOp* ops, size_t count) {
  for (CipherOp& op : std::span(ops, count)) op.authentic = true;
}

Error wrong_key_length(const CipherRow& row, size_t found) {
  return Error{std::string(row.name) + " takes " + std::to_string(row.key_material_bytes()) +
               " bytes of keying material (key, then salt), not " + std::to_string(found)};
}

Error wrong_key_length(const IntegrityRow& row, size_t found) {
  return Error{"HMAC-" + std::string(row.name) + " takes a key of " + std::to_string(row.key_bits / 8u) +
               " bytes, not " + std::to_string(found)};
}

KeyedContext key_aead(const CipherRow& row, std::span<const uint8_t> key, Backend backend) {
  return backend == Backend::ipsec_mb ? ipsec_mb_aead(row, key) : nettle_aead(row, key);
}

KeyedContext key_composed(const ComposedParams& params, Backend backend) {
  return backend == Backend::ipsec_mb ? ipsec_mb_composed(params) : nettle_composed(params);
}

Backend backend_from_environment() {
  const char* wanted = std::getenv("CULVERT_CRYPTO_BACKEND");
  if (wanted != nullptr && std::strcmp(wanted, "portable") == 0) return Backend::portable;
  return ipsec_mb_available() ? Backend::ipsec_mb : Backend::portable;
}

}  // namespace

Backend default_backend() {
  static const Backend chosen = backend_from_environment();
  return chosen;
}

bool backend_available(Backend backend) { return backend != Backend::ipsec_mb || ipsec_mb_available(); }

std::string_view backend_description(Backend backend) {
  if (backend == Backend::automatic) backend = default_backend();
  return backend == Backend::ipsec_mb ? ipsec_mb_description() : nettle_description();
}

void prepare_thread() {
  if (ipsec_mb_available()) ipsec_mb_prepare_thread();
}

void WipeAndFree::operator()(void* context) const {
  explicit_bzero(context, bytes);
  std::free(context);
}

Result<Cipher> Cipher::create(const Params& params) {
  if (params.cipher == nullptr) return Error{"no such ESP encryption algorithm"};
  const CipherRow& row = *params.cipher;
  if (params.key.size() != row.key_material_bytes()) return wrong_key_length(row, params.key.size());
  const bool has_integrity = params.integrity != nullptr && params.integrity->hash != Hash::none;
  if (has_integrity && !row.wants_integrity) {
    return Error{std::string(row.name) + " has integrity of its own: it takes no integrity algorithm"};
  }
  const size_t integrity_key_bytes = has_integrity ? params.integrity->key_bits / 8u : 0;
  if (params.integrity_key.size() != integrity_key_bytes) {
    if (!has_integrity) return Error{std::string(row.name) + " takes no integrity key"};
    return wrong_key_length(*params.integrity, params.integrity_key.size());
  }
  const Backend backend = params.backend == Backend::automatic ? default_backend() : params.backend;
  if (!backend_available(backend)) return Error{"this CPU cannot run intel-ipsec-mb: it needs AES and PCLMULQDQ"};

  Cipher cipher;
  if (row.wants_integrity && !has_integrity) {
    // RFC 4303 §3.2.2: encryption and integrity are never both null, and encryption alone can be tampered with.
    if (row.mode != CipherMode::null || !params.allow_unprotected_for_benchmark) {
      return Error{std::string(row.name) + " needs an integrity algorithm"};
    }
    cipher.seal_ = null_seal;
    cipher.open_ = null_open;
    return cipher;
  }
  const auto key = params.key.first(row.key_bits / 8u);
  KeyedContext keyed = has_integrity ? key_composed({row, *params.integrity, key, params.integrity_key}, backend)
                                     : key_aead(row, key, backend);
  cipher.seal_ = keyed.seal;
  cipher.open_ = keyed.open;
  cipher.context_ = std::move(keyed.context);
  return cipher;
}

}  // namespace culvert::crypto
