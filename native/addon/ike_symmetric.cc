// Arguments are numbers only: what they count lies in one block of memory that both languages see. Reading a
// Uint8Array through Node-API costs as much as an HMAC, and has V8 move short ones out of its heap first.
#include "addon/ike_symmetric.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "addon/values.h"
#include "crypto/ike_symmetric.h"

namespace culvert::addon {
namespace {

constexpr size_t kBlockBytes = size_t{96} << 10;  // a message of 64 KiB, keys, and a key stream

struct Block {
  Napi::Reference<Napi::Uint8Array> keep;
  std::span<uint8_t> bytes;
};

/** Cuts the block into what the arguments count, from its start. */
class Cutter {
 public:
  explicit Cutter(const Napi::CallbackInfo& info) : info_(info), rest_(static_cast<Block*>(info.Data())->bytes) {}

  uint32_t number(size_t argument) const {
    const Napi::Value value = info_[argument];
    return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : UINT32_MAX;
  }
  /** The next `bytes`; nothing, and a problem, when there are not so many. */
  std::span<uint8_t> take(size_t bytes) {
    if (bytes > rest_.size()) {
      fits_ = false;
      return {};
    }
    const auto taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }
  std::span<uint8_t> take_counted(size_t argument) { return take(number(argument)); }
  bool fits() const { return fits_; }

  Napi::Value refuse(const char* what) const {
    Napi::TypeError::New(info_.Env(), what).ThrowAsJavaScriptException();
    return {};
  }

 private:
  const Napi::CallbackInfo& info_;
  std::span<uint8_t> rest_;
  bool fits_ = true;
};

constexpr const char* kNoFit = "the lengths do not fit";

crypto::Hash hash_of(uint32_t number) {
  return number > static_cast<uint32_t>(crypto::Hash::sha512) ? crypto::Hash::none : static_cast<crypto::Hash>(number);
}

// (hash, textBytes): text → digest at the start.
Napi::Value digest(const Napi::CallbackInfo& info) {
  Cutter block(info);
  const crypto::Hash hash = hash_of(block.number(0));
  const auto text = block.take_counted(1);
  if (hash == crypto::Hash::none || !block.fits()) return block.refuse(kNoFit);
  crypto::digest(hash, text, std::span(static_cast<Block*>(info.Data())->bytes).first(crypto::digest_bytes(hash)));
  return info.Env().Undefined();
}

// (hash, keyBytes, textBytes): key, text → the same, HMAC. Key and text are wiped.
Napi::Value hmac(const Napi::CallbackInfo& info) {
  Cutter block(info);
  const crypto::Hash hash = hash_of(block.number(0));
  const auto key = block.take_counted(1);
  const auto text = block.take_counted(2);
  const auto out = block.take(crypto::digest_bytes(hash));
  if (hash == crypto::Hash::none || !block.fits()) return block.refuse(kNoFit);
  crypto::hmac(hash, key, text, out);
  explicit_bzero(key.data(), key.size() + text.size());
  return info.Env().Undefined();
}

// (hash, keyBytes, seedBytes, bytes): key, seed → the same, key stream. Key and seed are wiped.
Napi::Value prf_plus(const Napi::CallbackInfo& info) {
  Cutter block(info);
  const crypto::Hash hash = hash_of(block.number(0));
  const auto key = block.take_counted(1);
  const auto seed = block.take_counted(2);
  const auto out = block.take_counted(3);
  if (hash == crypto::Hash::none || !block.fits() || !crypto::prf_plus(hash, key, seed, out)) {
    return block.refuse(kNoFit);
  }
  explicit_bzero(key.data(), key.size() + seed.size());
  return info.Env().Undefined();
}

// (encr, keyBits, integ, bodyOffset, messageBytes): message, key, integrity key → message. The keys are wiped.
template <auto kTransform>
Napi::Value transform(const Napi::CallbackInfo& info) {
  Cutter block(info);
  const auto id = [&](size_t argument) { return static_cast<uint16_t>(std::min(block.number(argument), 0xffffu)); };
  const crypto::CipherRow* cipher = crypto::find_cipher(id(0), id(1));
  const crypto::IntegrityRow* integrity = crypto::find_integrity(id(2));
  if (cipher == nullptr || integrity == nullptr || cipher->mode == crypto::CipherMode::null ||
      (integrity->hash != crypto::Hash::none) != cipher->wants_integrity) {
    return block.refuse("not a suite for the Encrypted payload");
  }
  const auto message = block.take_counted(4);
  const auto key = block.take(cipher->key_material_bytes());
  const auto integrity_key = block.take(integrity->key_bits / 8u);
  if (!block.fits()) return block.refuse(kNoFit);
  const crypto::SkKeys keys{*cipher, cipher->wants_integrity ? integrity : nullptr, key, integrity_key};
  const bool done = kTransform(keys, message, block.number(3));
  explicit_bzero(key.data(), key.size() + integrity_key.size());
  return Napi::Boolean::New(info.Env(), done);
}

}  // namespace

Napi::Object make_ike_symmetric(Napi::Env env) {
  auto array = Napi::Uint8Array::New(env, kBlockBytes);
  auto* block = new Block{Napi::Persistent(array), {array.Data(), array.ElementLength()}};
  env.AddCleanupHook([block] { delete block; });
  Napi::Object symmetric = Napi::Object::New(env);
  symmetric.Set("block", array);
  symmetric.Set("digest", Napi::Function::New<digest>(env, "digest", block));
  symmetric.Set("hmac", Napi::Function::New<hmac>(env, "hmac", block));
  symmetric.Set("prfPlus", Napi::Function::New<prf_plus>(env, "prfPlus", block));
  symmetric.Set("seal", Napi::Function::New<transform<crypto::sk_seal>>(env, "seal", block));
  symmetric.Set("open", Napi::Function::New<transform<crypto::sk_open>>(env, "open", block));
  return symmetric;
}

}  // namespace culvert::addon
