// intel-ipsec-mb: managers, and the combined modes. AES-GCM is single-call, through the function pointers of a manager
// that is made once for the process and only read afterwards. ChaCha20-Poly1305 is a job for the thread's own manager,
// done when it is submitted: the library's single calls for it cost two thirds more on short packets.
#include "crypto/backend.h"
#include "crypto/ipsec_mb.h"

#if CULVERT_HAVE_IPSEC_MB
#include <cstdlib>
#include <string>

namespace culvert::crypto {
namespace ipsec_mb {
namespace {

// GCM needs AES and carry-less multiplication; the library would emulate them in software otherwise.
constexpr uint64_t kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;

// The library runs known-answer tests when a manager is made and says whether they passed; 1.2 (Ubuntu 22.04) does not.
#if defined(IMB_FEATURE_SELF_TEST_PASS)
constexpr uint64_t kSelfTestPassed = IMB_FEATURE_SELF_TEST_PASS;
#else
constexpr uint64_t kSelfTestPassed = 0;
#endif

/** Null when this CPU cannot run it. `init` chooses the library's code for a generation of CPUs. */
IMB_MGR* make_manager(void (*init)(IMB_MGR*)) {
  IMB_MGR* candidate = alloc_mb_mgr(0);
  if (candidate == nullptr) return nullptr;
  if ((candidate->features & kNeeded) != kNeeded) {
    free_mb_mgr(candidate);
    return nullptr;
  }
  init(candidate);
  // One that failed its tests must not see a packet.
  if (imb_get_errno(candidate) != 0 || (candidate->features & kSelfTestPassed) != kSelfTestPassed) {
    free_mb_mgr(candidate);
    return nullptr;
  }
  return candidate;
}

void init_best(IMB_MGR* manager) { init_mb_mgr_auto(manager, nullptr); }

}  // namespace

const IMB_MGR* shared_manager() {
  static const IMB_MGR* const made = make_manager(init_best);
  return made;
}

// Nobody asks for lanes unless shared_manager() exists, so what is missing here is memory: abort as operator new does.
Lanes::Lanes() : manager(make_manager(init_best)), narrow(nullptr) {
  if (manager == nullptr) std::abort();
  // The library's own choice for a CPU with AVX-512 is vectors, however few the packets.
  if ((manager->features & IMB_FEATURE_SHANI) == 0) return;
  narrow = make_manager(init_mb_mgr_sse);
  if (narrow == nullptr) std::abort();
}

Lanes::~Lanes() {
  explicit_bzero(macs, sizeof macs);
  free_mb_mgr(manager);
  if (narrow != nullptr) free_mb_mgr(narrow);
}

Lanes& lanes() {
  static thread_local Lanes own;
  return own;
}

}  // namespace ipsec_mb

namespace {

using ipsec_mb::shared_manager;

/** What the packet path touches of a key: the expansion, and the library's functions for this CPU and key size. */
struct GcmContext {
  gcm_key_data key;
  aes_gcm_enc_dec_t encrypt;
  aes_gcm_enc_dec_t decrypt;
};

void gcm_seal(const void* context, CipherOp* ops, size_t count) {
  const auto& gcm = *static_cast<const GcmContext*>(context);
  gcm_context_data state;
  for (CipherOp& op : std::span(ops, count)) {
    gcm.encrypt(&gcm.key, &state, op.text, op.text, op.text_bytes, op.nonce, op.additional, op.additional_bytes, op.icv,
                16);
  }
}

void gcm_open(const void* context, CipherOp* ops, size_t count) {
  const auto& gcm = *static_cast<const GcmContext*>(context);
  gcm_context_data state;
  for (CipherOp& op : std::span(ops, count)) {
    uint8_t icv[16];
    gcm.decrypt(&gcm.key, &state, op.text, op.text, op.text_bytes, op.nonce, op.additional, op.additional_bytes, icv,
                16);
    op.authentic = equal_icv16(icv, op.icv);
  }
}

struct ChaChaContext {
  uint8_t key[32];
};

template <IMB_CIPHER_DIRECTION kDirection>
void chacha_job(IMB_MGR* manager, const ChaChaContext& context, const CipherOp& op, uint8_t* icv) {
  IMB_JOB* job = IMB_GET_NEXT_JOB(manager);
  job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
  job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
  job->cipher_direction = kDirection;
  job->chain_order = kDirection == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
  job->enc_keys = job->dec_keys = context.key;
  job->key_len_in_bytes = sizeof context.key;
  job->src = job->dst = op.text;
  job->cipher_start_src_offset_in_bytes = job->hash_start_src_offset_in_bytes = 0;
  job->msg_len_to_cipher_in_bytes = job->msg_len_to_hash_in_bytes = op.text_bytes;
  job->iv = op.nonce;
  job->iv_len_in_bytes = 12;
  job->u.CHACHA20_POLY1305.aad = op.additional;
  job->u.CHACHA20_POLY1305.aad_len_in_bytes = op.additional_bytes;
  job->auth_tag_output = icv;
  job->auth_tag_output_len_in_bytes = 16;
  ipsec_mb::submit(manager);
}

void chacha_seal(const void* context, CipherOp* ops, size_t count) {
  const auto& chacha = *static_cast<const ChaChaContext*>(context);
  IMB_MGR* manager = ipsec_mb::lanes().manager;
  for (CipherOp& op : std::span(ops, count)) chacha_job<IMB_DIR_ENCRYPT>(manager, chacha, op, op.icv);
}

void chacha_open(const void* context, CipherOp* ops, size_t count) {
  const auto& chacha = *static_cast<const ChaChaContext*>(context);
  IMB_MGR* manager = ipsec_mb::lanes().manager;
  for (CipherOp& op : std::span(ops, count)) {
    uint8_t icv[16];
    chacha_job<IMB_DIR_DECRYPT>(manager, chacha, op, icv);
    op.authentic = equal_icv16(icv, op.icv);
  }
}

KeyedContext key_chacha(std::span<const uint8_t> key) {
  auto memory = allocate_context<ChaChaContext>();
  std::memcpy(static_cast<ChaChaContext*>(memory.get())->key, key.data(), sizeof(ChaChaContext::key));
  return {chacha_seal, chacha_open, std::move(memory)};
}

}  // namespace

bool ipsec_mb_available() { return shared_manager() != nullptr; }
void ipsec_mb_prepare_thread() { ipsec_mb::lanes(); }

std::string_view ipsec_mb_description() {
  static const std::string description = [] {
    if (shared_manager() == nullptr)
      return std::string("intel-ipsec-mb (unavailable: this CPU lacks AES or PCLMULQDQ)");
    const bool vaes = (shared_manager()->features & (IMB_FEATURE_VAES | IMB_FEATURE_AVX512F)) ==
                      (IMB_FEATURE_VAES | IMB_FEATURE_AVX512F);
    return "intel-ipsec-mb " + std::string(imb_get_version_str()) + (vaes ? " (VAES, AVX-512)" : "");
  }();
  return description;
}

KeyedContext ipsec_mb_aead(const CipherRow& row, std::span<const uint8_t> key) {
  if (row.primitive == Primitive::chacha20) return key_chacha(key);
  const IMB_MGR* mgr = shared_manager();
  auto memory = allocate_context<GcmContext>();
  auto& gcm = *static_cast<GcmContext*>(memory.get());
  switch (row.key_bits) {
    case 128:
      mgr->gcm128_pre(key.data(), &gcm.key);
      gcm.encrypt = mgr->gcm128_enc;
      gcm.decrypt = mgr->gcm128_dec;
      break;
    case 192:
      mgr->gcm192_pre(key.data(), &gcm.key);
      gcm.encrypt = mgr->gcm192_enc;
      gcm.decrypt = mgr->gcm192_dec;
      break;
    default:
      mgr->gcm256_pre(key.data(), &gcm.key);
      gcm.encrypt = mgr->gcm256_enc;
      gcm.decrypt = mgr->gcm256_dec;
      break;
  }
  return {gcm_seal, gcm_open, std::move(memory)};
}

}  // namespace culvert::crypto

#else

namespace culvert::crypto {

bool ipsec_mb_available() { return false; }
std::string_view ipsec_mb_description() { return "intel-ipsec-mb (not built: x86-64 only)"; }
void ipsec_mb_prepare_thread() {}
KeyedContext ipsec_mb_aead(const CipherRow&, std::span<const uint8_t>) { return {}; }
KeyedContext ipsec_mb_composed(const ComposedParams&) { return {}; }

}  // namespace culvert::crypto

#endif
