#include "crypto/cipher.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "crypto/backend.h"

namespace culvert::crypto {
namespace {

/** ENCR_NULL (RFC 2410): the identity. Integrity, when there is any, is another row's work. */
void null_seal(const void*, CipherOp*, size_t) {}

void null_open(const void*, CipherOp* ops, size_t count) {
  for (CipherOp& op : std::span(ops, count)) op.authentic = true;
}

Error wrong_key_length(const CipherRow& row, size_t found) {
  return Error{std::string(row.name) + " takes " + std::to_string(row.key_material_bytes()) +
               " bytes of keying material (key, then salt), not " + std::to_string(found)};
}

KeyedContext key_gcm(const CipherRow& row, std::span<const uint8_t> key, Backend backend) {
  return backend == Backend::ipsec_mb ? ipsec_mb_gcm(row, key) : nettle_gcm(row, key);
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

void WipeAndFree::operator()(void* context) const {
  explicit_bzero(context, bytes);
  std::free(context);
}

Result<Cipher> Cipher::create(const Params& params) {
  if (params.cipher == nullptr) return Error{"no such ESP encryption algorithm"};
  const CipherRow& row = *params.cipher;
  if (params.key.size() != row.key_material_bytes()) return wrong_key_length(row, params.key.size());
  if (params.integrity != nullptr && params.integrity->icv_bytes != 0) {
    return Error{"ESP integrity algorithm " + std::string(params.integrity->name) + " is not implemented"};
  }
  if (!params.integrity_key.empty()) return Error{std::string(row.name) + " takes no integrity key"};
  const Backend backend = params.backend == Backend::automatic ? default_backend() : params.backend;
  if (!backend_available(backend)) return Error{"this CPU cannot run intel-ipsec-mb: it needs AES and PCLMULQDQ"};

  Cipher cipher;
  if (row.mode == CipherMode::null) {
    // RFC 4303 §3.2.2: encryption and integrity are never both null.
    if (!params.allow_unprotected_for_benchmark) return Error{"ENCR_NULL needs an integrity algorithm"};
    cipher.seal_ = null_seal;
    cipher.open_ = null_open;
    return cipher;
  }
  KeyedContext keyed = key_gcm(row, params.key.first(row.key_bits / 8u), backend);
  cipher.seal_ = keyed.seal;
  cipher.open_ = keyed.open;
  cipher.context_ = std::move(keyed.context);
  return cipher;
}

}  // namespace culvert::crypto
