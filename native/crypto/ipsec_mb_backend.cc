// intel-ipsec-mb: its single-call AES-GCM, called through the function pointers of the best manager for this CPU.
// The manager is made once for the process and only read afterwards; keys and contexts are shared by no one else.
#include "crypto/backend.h"

#if CULVERT_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

#include <string>

namespace culvert::crypto {
namespace {

// GCM needs AES and carry-less multiplication; the library would emulate them in software otherwise.
constexpr uint64_t kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;

// The library runs known-answer tests when a manager is made and says whether they passed; 1.2 (Ubuntu 22.04) does not.
#if defined(IMB_FEATURE_SELF_TEST_PASS)
constexpr uint64_t kSelfTestPassed = IMB_FEATURE_SELF_TEST_PASS;
#else
constexpr uint64_t kSelfTestPassed = 0;
#endif

const IMB_MGR* manager() {
  static const IMB_MGR* const made = []() -> const IMB_MGR* {
    IMB_MGR* candidate = alloc_mb_mgr(0);
    if (candidate == nullptr) return nullptr;
    if ((candidate->features & kNeeded) != kNeeded) {
      free_mb_mgr(candidate);
      return nullptr;
    }
    init_mb_mgr_auto(candidate, nullptr);
    // One that failed its tests must not see a packet.
    if (imb_get_errno(candidate) != 0 || (candidate->features & kSelfTestPassed) != kSelfTestPassed) {
      free_mb_mgr(candidate);
      return nullptr;
    }
    return candidate;
  }();
  return made;
}

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

}  // namespace

bool ipsec_mb_available() { return manager() != nullptr; }

std::string_view ipsec_mb_description() {
  static const std::string description = [] {
    if (manager() == nullptr) return std::string("intel-ipsec-mb (unavailable: this CPU lacks AES or PCLMULQDQ)");
    const bool vaes =
        (manager()->features & (IMB_FEATURE_VAES | IMB_FEATURE_AVX512F)) == (IMB_FEATURE_VAES | IMB_FEATURE_AVX512F);
    return "intel-ipsec-mb " + std::string(imb_get_version_str()) + (vaes ? " (VAES, AVX-512)" : "");
  }();
  return description;
}

KeyedContext ipsec_mb_gcm(const CipherRow& row, std::span<const uint8_t> key) {
  const IMB_MGR* mgr = manager();
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
KeyedContext ipsec_mb_gcm(const CipherRow&, std::span<const uint8_t>) { return {}; }

}  // namespace culvert::crypto

#endif
