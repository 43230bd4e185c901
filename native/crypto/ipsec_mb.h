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

}  // namespace culvert::crypto::ipsec_mb
#endif
