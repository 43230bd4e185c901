// Thread: any, concurrently (the keys are read-only). AES-CBC and HMAC of up to sixteen packets in one pass.
//
// In two passes the AES unit idles while lanes are hashed, and the other vector port while they are encrypted: here the
// instructions of one hash block and of the cipher's next 64 bytes are interleaved, so that both ports are busy. The
// words that are hashed come from the registers that were encrypted, not from memory again.
#pragma once
#include <cstddef>
#include <cstdint>

#include "crypto/algorithms.h"
#include "crypto/cipher.h"
#include "crypto/nettle_primitives.h"

namespace culvert::crypto::stitched {

inline constexpr size_t kLanes = 16;

/**
 * Every lane costs as much as a full set does: beside other packets, whose lanes these can share in two passes, it
 * takes this many to be cheaper (bench_esp).
 */
inline constexpr size_t kFewestBesideOthers = 14;

/** What all packets of one SA share. Schedules as AESENC and AESDEC want them, aligned to 16 bytes; states are words of
 * the host's order. */
struct Keys {
  const uint8_t* encrypt_keys;
  const uint8_t* decrypt_keys;
  const uint8_t* inner_state;
  const uint8_t* outer_state;
  size_t mac_bytes;  // how much of the HMAC is wanted, a multiple of 4
};

/**
 * Packets that have the same text_bytes and the same additional_bytes, up to kLanes of them, the first of which
 * can_take() says yes to. The IV is the nonce. Touches the kHeaderBytes in front of a text and the text, nothing else.
 * Leaves the HMAC of ops[i] in macs[i].
 */
using Pass = void (*)(const Keys& keys, const CipherOp* ops, size_t count, uint8_t (*macs)[kMaxMacBytes]);

inline constexpr size_t kHeaderBytes = 24;
inline constexpr size_t kMostTextBytes = 65536;

/** Whether the loops of a pass end where the text does. */
inline bool can_take(const CipherOp& op) {
  return op.text_bytes != 0 && op.text_bytes % 16 == 0 && op.text_bytes <= kMostTextBytes &&
         op.header_bytes == kHeaderBytes && (op.additional_bytes == 0 || op.additional_bytes == 4);
}

/** `open` decrypts what is not authentic too: nobody may look at it. */
struct Passes {
  Pass seal = nullptr;
  Pass open = nullptr;
  // From how many packets on, with no others beside them, a pass is cheaper than two (bench_esp --run N, on a CPU with
  // SHA instructions, which all that have VAES and AVX-512 are).
  size_t fewest_to_seal = 0;
  size_t fewest_to_open = 0;
};

/** Only on a CPU with AVX512F, AVX512BW and VAES. Null for what there is no code for: hashes but SHA-1 and SHA-256, AES
 * keys but those of 128 and 256 bits. */
Passes passes(Hash hash, size_t aes_key_bits);

/**
 * Overwrites what a pass left of keys in vector registers and on the stack below its caller's frame: its scratch memory
 * is its own stack frame, so that no copy of it survives a pass but there. To be called from the pass's caller or
 * above.
 */
void wipe_scratch();

}  // namespace culvert::crypto::stitched
