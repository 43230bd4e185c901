// Thread: created and destroyed by control; seal and open by any thread, concurrently (the context is read-only).
// A keyed cipher for one direction of one SA, fed with bursts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "crypto/algorithms.h"

namespace culvert::crypto {

/** Whose code encrypts. `automatic`: ipsec_mb where the CPU has AES and carry-less multiplication, else portable. */
enum class Backend : uint8_t { automatic, ipsec_mb, portable };

/** What `automatic` stands for on this machine; CULVERT_CRYPTO_BACKEND=portable|ipsec_mb in the environment wins. */
Backend default_backend();
bool backend_available(Backend backend);
/** For status pages: "ipsec-mb 1.3.0 (avx512, vaes)" or "nettle 3.8". */
std::string_view backend_description(Backend backend);

/**
 * One packet of a burst. Everything is in place: the text is replaced by its encryption or decryption.
 *
 * A combined mode (aead) authenticates `additional`, then the text. An HMAC covers `header_bytes` right in front of the
 * text, the text as it travels, and then `additional`, which is not part of the packet; the ICV has to lie right behind
 * the text.
 */
struct alignas(64) CipherOp {
  uint8_t* text;      // first byte to encrypt or decrypt
  uint8_t* icv;       // seal: where the ICV is written; open: the ICV that was received
  uint8_t nonce[16];  // aead: salt and IV, 12 bytes. cbc: the IV, one block. ctr: the first counter block
  uint8_t
      additional[12];   // aead: SPI and sequence number, 8 bytes or 12 with ESN. HMAC: high half of an ESN, 4 or none
  uint32_t text_bytes;  // a multiple of the row's block
  uint8_t additional_bytes;
  uint8_t header_bytes;  // HMAC: SPI, sequence number and IV
  bool authentic;        // open: out
};
static_assert(sizeof(CipherOp) == 64, "one cache line for each packet of a burst");

/**
 * Makes what seal and open need on the calling thread, some milliseconds' worth. Without it the first burst of a thread
 * pays. Workers call it before their first packet.
 */
void prepare_thread();

/** Most packets that a caller puts into one burst. Larger spans are legal, this is what buffers are sized for. */
inline constexpr size_t kBurst = 64;

/** Deleter of expanded keys: wipes, then frees. */
struct WipeAndFree {
  size_t bytes = 0;
  void operator()(void* context) const;
};

class Cipher {
 public:
  using BurstFn = void (*)(const void* context, CipherOp* ops, size_t count);

  struct Params {
    const CipherRow* cipher = nullptr;
    const IntegrityRow* integrity = nullptr;      // nullptr or the `none` row for combined modes
    std::span<const uint8_t> key = {};            // cipher->key_material_bytes(): the salt at its end is not used here
    std::span<const uint8_t> integrity_key = {};  // integrity->key_bits
    Backend backend = Backend::automatic;
    bool allow_unprotected_for_benchmark = false;  // ENCR_NULL without integrity; nothing that is negotiated sets it
  };

  /**
   * Expands the keys. Error: missing row, wrong key length, unavailable backend, a cipher that needs integrity without
   * it (RFC 4303 §3.2.2), a combined mode with it.
   */
  static Result<Cipher> create(const Params& params);

  Cipher(Cipher&&) noexcept = default;
  Cipher& operator=(Cipher&&) noexcept = default;

  /** Encrypts every op and writes its ICV. */
  void seal(std::span<CipherOp> ops) const { seal_(context_.get(), ops.data(), ops.size()); }

  /**
   * Decrypts every op and sets `authentic`, comparing ICVs in constant time. The text of an op that is not authentic
   * is garbage that must not be used.
   */
  void open(std::span<CipherOp> ops) const { open_(context_.get(), ops.data(), ops.size()); }

 private:
  Cipher() = default;

  BurstFn seal_ = nullptr;
  BurstFn open_ = nullptr;
  std::unique_ptr<void, WipeAndFree> context_;
};

}  // namespace culvert::crypto
