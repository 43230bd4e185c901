// Thread: see each function. What the two halves of the ipsec-mb backend share: managers.
#pragma once
#if CULVERT_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

#include <cstdint>

#include "crypto/cipher.h"
#include "crypto/nettle_primitives.h"

namespace culvert::crypto::ipsec_mb {

/**
 * The best manager for this CPU, only read after it was made: its table of functions that work on one buffer. Null when
 * the CPU lacks AES or PCLMULQDQ or the library failed its self-test. Thread: any.
 */
const IMB_MGR* shared_manager();

/** A thread's own manager, since submitting a job writes to it, and what jobs of one burst need. Idle between bursts.
 */
struct Lanes {
  Lanes();
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  IMB_MGR* manager;
  IMB_MGR* narrow;  // two lanes of the CPU's SHA instructions instead of sixteen of vectors; null without them
  IMB_JOB jobs[kBurst];
  alignas(64) uint8_t macs[kBurst][kMaxMacBytes];
};

/** The calling thread's; made by its first call, which takes milliseconds. */
Lanes& lanes();

/** Waits for every job that was submitted to `manager`. */
inline void drain(IMB_MGR* manager) {
  while (IMB_FLUSH_JOB(manager) != nullptr) {
  }
}

/** Submits the job that was filled in. Results are read after drain(), so nothing is done with those already here. */
inline void submit(IMB_MGR* manager) {
  IMB_JOB* done = IMB_SUBMIT_JOB_NOCHECK(manager);
  while (done != nullptr) done = IMB_GET_COMPLETED_JOB(manager);
}

/**
 * Encrypts or decrypts with AES-CBC or AES-CTR, or hashes with an HMAC of the SHA family; finished when it returns.
 * Returns how many jobs were done. 1.2 (Ubuntu 22.04) has no such call: there the jobs go through the queue.
 */
#if defined(IMB_SUBMIT_HASH_BURST_NOCHECK)
inline uint32_t run_ciphers(IMB_MGR* manager, IMB_JOB* jobs, uint32_t count, IMB_CIPHER_MODE mode,
                            IMB_CIPHER_DIRECTION direction, IMB_KEY_SIZE_BYTES key_bytes) {
  return IMB_SUBMIT_CIPHER_BURST_NOCHECK(manager, jobs, count, mode, direction, key_bytes);
}
inline uint32_t run_hashes(IMB_MGR* manager, IMB_JOB* jobs, uint32_t count, IMB_HASH_ALG hash) {
  return IMB_SUBMIT_HASH_BURST_NOCHECK(manager, jobs, count, hash);
}
#else
inline uint32_t run_queued(IMB_MGR* manager, const IMB_JOB* jobs, uint32_t count, IMB_CIPHER_MODE mode,
                           IMB_CIPHER_DIRECTION direction, IMB_HASH_ALG hash, IMB_CHAIN_ORDER order) {
  for (uint32_t i = 0; i < count; i++) {
    IMB_JOB* job = IMB_GET_NEXT_JOB(manager);
    *job = jobs[i];
    job->cipher_mode = mode;
    job->cipher_direction = direction;
    job->hash_alg = hash;
    job->chain_order = order;
    submit(manager);
  }
  drain(manager);
  return count;
}
inline uint32_t run_ciphers(IMB_MGR* manager, IMB_JOB* jobs, uint32_t count, IMB_CIPHER_MODE mode,
                            IMB_CIPHER_DIRECTION direction, IMB_KEY_SIZE_BYTES) {
  return run_queued(manager, jobs, count, mode, direction, IMB_AUTH_NULL, IMB_ORDER_CIPHER_HASH);
}
inline uint32_t run_hashes(IMB_MGR* manager, IMB_JOB* jobs, uint32_t count, IMB_HASH_ALG hash) {
  return run_queued(manager, jobs, count, IMB_CIPHER_NULL, IMB_DIR_ENCRYPT, hash, IMB_ORDER_HASH_CIPHER);
}
#endif

}  // namespace culvert::crypto::ipsec_mb
#endif
