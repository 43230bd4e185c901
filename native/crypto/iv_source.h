// Thread: created and destroyed by control; fill by any thread, concurrently. IVs that nobody can predict.
#pragma once
#include <cstdint>
#include <span>

#include "base/result.h"
#include "crypto/cipher.h"

namespace culvert::crypto {

/**
 * IVs for CBC, which an observer must not be able to guess beforehand (RFC 3602 §3; NIST SP 800-38A appendix C): AES in
 * counter mode under a random key that exists for this only, started from a number that the caller never uses twice.
 * 16-byte IVs are unique by that; 8-byte ones are as good as random.
 */
class IvSource {
 public:
  /** Draws the key from the kernel. Error: it gave none. */
  static Result<IvSource> create(Backend backend);

  /** Fills up to kBurst * 16 bytes. `number`: never the same twice, for instance the first sequence number of a burst.
   */
  void fill(uint64_t number, std::span<uint8_t> ivs) const;

 private:
  explicit IvSource(Cipher cipher) : cipher_(std::move(cipher)) {}

  Cipher cipher_;  // AES-GCM: the fastest counter mode that both backends have; its ICV is thrown away
};

}  // namespace culvert::crypto
