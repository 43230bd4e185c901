// intel-ipsec-mb: ciphers and HMACs that are not one algorithm. A burst goes through in two passes, cipher then HMAC or
// HMAC then cipher. Each fills the library's vector lanes with packets; a lane that stays empty costs as much as a full
// one, so that the packets left over when whole sets of lanes are full go another way when that is cheaper: SHA-1 and
// SHA-256 through the CPU's SHA instructions, the rest one by one through nettle.
#include "crypto/ipsec_mb.h"

#if CULVERT_HAVE_IPSEC_MB
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "crypto/backend.h"
#include "crypto/nettle_primitives.h"
#include "crypto/stitched_cbc.h"

namespace culvert::crypto {
namespace {

using ipsec_mb::Lanes;

constexpr size_t kMaxAesSchedule = 15 * 16;
constexpr size_t kDesSchedules = 3;

/**
 * What hashing costs, in clocks of bench_esp's machine (Xeon with AVX-512 and SHA instructions, 2.7 GHz TSC); only
 * ratios matter. Blocks are those of the hash, with the one of the outer hash.
 */
struct HashCosts {
  uint32_t wide_burst;  // lanes: once, then for each packet, then for each block of the longest packet
  uint32_t wide_packet;
  uint32_t wide_block;
  uint32_t single_packet;  // one by one: for each packet, and for each of its blocks
  uint32_t single_block;
};

struct Composed {
  using CipherPass = void (*)(const Composed&, Lanes&, CipherOp*, size_t);
  /** Leaves the HMAC of ops[i] in macs[i]. */
  using HashPass = void (*)(const Composed&, Lanes&, const CipherOp*, size_t, uint8_t (*macs)[kMaxMacBytes]);

  CipherPass encrypt;
  CipherPass decrypt;
  HashPass hash_wide;
  HashPass hash_single;
  IMB_CIPHER_MODE cipher_mode;
  IMB_KEY_SIZE_BYTES aes_key_bytes;
  IMB_HASH_ALG hash_algorithm;
  size_t icv_bytes;
  size_t hash_lanes;
  size_t hash_block_bytes;
  HashCosts costs;
  stitched::Passes stitched;  // both passes at once, where there is such code

  alignas(64) uint8_t encrypt_keys[kMaxAesSchedule];
  alignas(64) uint8_t decrypt_keys[kMaxAesSchedule];
  alignas(64) uint64_t des_keys[kDesSchedules][IMB_DES_KEY_SCHED_SIZE / sizeof(uint64_t)];
  const void* des_key_pointers[kDesSchedules];
  alignas(64) uint8_t inner_state[kMaxMacBytes];
  alignas(64) uint8_t outer_state[kMaxMacBytes];
  NettleCipher single_cipher;
  NettleMac single_mac;
};

/** The library leaves no job of a burst behind; if it did, packets would leave unencrypted or unchecked. */
void require_all(size_t done, size_t submitted) {
  if (done != submitted) std::abort();
}

// ---- cipher passes ----

void no_cipher(const Composed&, Lanes&, CipherOp*, size_t) {}

void fill_cipher(IMB_JOB& job, const CipherOp& op, const void* encrypt_keys, const void* decrypt_keys) {
  job.enc_keys = encrypt_keys;
  job.dec_keys = decrypt_keys;
  job.src = job.dst = op.text;
  job.cipher_start_src_offset_in_bytes = 0;
  job.msg_len_to_cipher_in_bytes = op.text_bytes;
  job.iv = op.nonce;
}

/** AES in the library's synchronous form: an array of jobs that is finished when the call returns. */
template <IMB_CIPHER_MODE kMode, IMB_CIPHER_DIRECTION kDirection>
void aes_pass(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  uint32_t jobs = 0;
  for (const CipherOp& op : std::span(ops, count)) {
    if (op.text_bytes == 0 || (kDirection == IMB_DIR_DECRYPT && !op.authentic)) continue;
    IMB_JOB& job = lanes.jobs[jobs++];
    fill_cipher(job, op, composed.encrypt_keys, composed.decrypt_keys);
    job.key_len_in_bytes = composed.aes_key_bytes;
    job.iv_len_in_bytes = 16;
  }
  if (jobs == 0) return;
  // The keystream of counter mode is encryption in both directions.
  constexpr auto kJobDirection = kMode == IMB_CIPHER_CNTR ? IMB_DIR_ENCRYPT : kDirection;
  require_all(ipsec_mb::run_ciphers(lanes.manager, lanes.jobs, jobs, kMode, kJobDirection, composed.aes_key_bytes),
              jobs);
}

/** CBC encryption is serial within a packet: sixteen packets side by side, and one alone through AES instructions. */
void cbc_encrypt_pass(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  constexpr size_t kLanes = 16;
  if (count % kLanes == 1) composed.single_cipher.encrypt(composed.single_cipher, ops[--count]);
  aes_pass<IMB_CIPHER_CBC, IMB_DIR_ENCRYPT>(composed, lanes, ops, count);
}

template <IMB_CIPHER_DIRECTION kDirection>
void des_pass(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  const bool is_triple = composed.cipher_mode == IMB_CIPHER_DES3;
  const void* keys = is_triple ? static_cast<const void*>(composed.des_key_pointers) : composed.des_keys;
  for (const CipherOp& op : std::span(ops, count)) {
    if (op.text_bytes == 0 || (kDirection == IMB_DIR_DECRYPT && !op.authentic)) continue;
    IMB_JOB& job = *IMB_GET_NEXT_JOB(lanes.manager);
    fill_cipher(job, op, keys, keys);
    job.key_len_in_bytes = is_triple ? 24 : 8;
    job.iv_len_in_bytes = IMB_DES_BLOCK_SIZE;
    job.cipher_mode = composed.cipher_mode;
    job.cipher_direction = kDirection;
    job.hash_alg = IMB_AUTH_NULL;
    job.chain_order = IMB_ORDER_CIPHER_HASH;
    ipsec_mb::submit(lanes.manager);
  }
  ipsec_mb::drain(lanes.manager);
}

// ---- HMAC passes ----

void fill_hash(IMB_JOB& job, const Composed& composed, const CipherOp& op, uint8_t* mac) {
  job.src = op.text - op.header_bytes;
  job.hash_start_src_offset_in_bytes = 0;
  job.msg_len_to_hash_in_bytes = op.header_bytes + uint64_t{op.text_bytes} + op.additional_bytes;
  job.auth_tag_output = mac;
  job.auth_tag_output_len_in_bytes = composed.icv_bytes;
  job.u.HMAC._hashed_auth_key_xor_ipad = composed.inner_state;
  job.u.HMAC._hashed_auth_key_xor_opad = composed.outer_state;
}

template <IMB_MGR* Lanes::*kManager>
void sha_jobs(const Composed& composed, Lanes& lanes, const CipherOp* ops, size_t count,
              uint8_t (*macs)[kMaxMacBytes]) {
  for (size_t i = 0; i < count; i++) fill_hash(lanes.jobs[i], composed, ops[i], macs[i]);
  require_all(ipsec_mb::run_hashes(lanes.*kManager, lanes.jobs, static_cast<uint32_t>(count), composed.hash_algorithm),
              count);
}

/** MD5 has no synchronous form. */
void md5_jobs(const Composed& composed, Lanes& lanes, const CipherOp* ops, size_t count,
              uint8_t (*macs)[kMaxMacBytes]) {
  for (size_t i = 0; i < count; i++) {
    IMB_JOB& job = *IMB_GET_NEXT_JOB(lanes.manager);
    fill_hash(job, composed, ops[i], macs[i]);
    job.cipher_mode = IMB_CIPHER_NULL;
    job.cipher_direction = IMB_DIR_ENCRYPT;
    job.hash_alg = composed.hash_algorithm;
    job.chain_order = IMB_ORDER_HASH_CIPHER;
    ipsec_mb::submit(lanes.manager);
  }
  ipsec_mb::drain(lanes.manager);
}

void nettle_hashes(const Composed& composed, Lanes&, const CipherOp* ops, size_t count, uint8_t (*macs)[kMaxMacBytes]) {
  // Not from behind the text, where the lanes have it: nettle takes the additional data from the op.
  for (size_t i = 0; i < count; i++) composed.single_mac.mac(composed.single_mac, ops[i], composed.icv_bytes, macs[i]);
}

/** How many of a burst are hashed in lanes: all, or whole sets of lanes. The rest is cheaper one by one. */
size_t count_for_lanes(const Composed& composed, const CipherOp* ops, size_t count) {
  const size_t left_over = count % composed.hash_lanes;
  if (left_over == 0) return count;
  size_t longest = 0;
  size_t single = 0;
  for (size_t i = count - left_over; i < count; i++) {
    const size_t blocks = (ops[i].header_bytes + size_t{ops[i].text_bytes}) / composed.hash_block_bytes + 2;
    longest = std::max(longest, blocks);
    single += composed.costs.single_packet + composed.costs.single_block * blocks;
  }
  const size_t wide =
      composed.costs.wide_burst + composed.costs.wide_packet * left_over + composed.costs.wide_block * longest;
  return single < wide ? count - left_over : count;
}

void hash_pass(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  // The high half of an extended sequence number is hashed where the ICV lies (RFC 4303 §2.2.1), which is put back.
  uint8_t displaced[kBurst][sizeof(CipherOp::additional)];
  const bool single_is_nettle = composed.hash_single == nettle_hashes;
  const size_t in_lanes = count_for_lanes(composed, ops, count);
  const size_t in_place = single_is_nettle ? in_lanes : count;
  for (size_t i = 0; i < in_place; i++) {
    if (ops[i].additional_bytes == 0) continue;
    std::memcpy(displaced[i], ops[i].text + ops[i].text_bytes, ops[i].additional_bytes);
    std::memcpy(ops[i].text + ops[i].text_bytes, ops[i].additional, ops[i].additional_bytes);
  }
  if (in_lanes > 0) composed.hash_wide(composed, lanes, ops, in_lanes, lanes.macs);
  if (in_lanes < count) composed.hash_single(composed, lanes, ops + in_lanes, count - in_lanes, lanes.macs + in_lanes);
  for (size_t i = 0; i < in_place; i++) {
    if (ops[i].additional_bytes == 0) continue;
    std::memcpy(ops[i].text + ops[i].text_bytes, displaced[i], ops[i].additional_bytes);
  }
}

// ---- both ----

void seal_in_two_passes(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  composed.encrypt(composed, lanes, ops, count);
  hash_pass(composed, lanes, ops, count);
  for (size_t i = 0; i < count; i++) std::memcpy(ops[i].icv, lanes.macs[i], composed.icv_bytes);
}

void open_in_two_passes(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  hash_pass(composed, lanes, ops, count);
  for (size_t i = 0; i < count; i++) {
    ops[i].authentic = equal_icv(lanes.macs[i], ops[i].icv, composed.icv_bytes);
  }
  composed.decrypt(composed, lanes, ops, count);
}

stitched::Keys stitched_keys(const Composed& composed) {
  return {composed.encrypt_keys, composed.decrypt_keys, composed.inner_state, composed.outer_state, composed.icv_bytes};
}

// Not inlined: their frames lie between that of stitch(), which wipes, and that of a pass.
__attribute__((noinline)) void seal_stitched(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  composed.stitched.seal(stitched_keys(composed), ops, count, lanes.macs);
  for (size_t i = 0; i < count; i++) std::memcpy(ops[i].icv, lanes.macs[i], composed.icv_bytes);
}

__attribute__((noinline)) void open_stitched(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count) {
  composed.stitched.open(stitched_keys(composed), ops, count, lanes.macs);
  for (size_t i = 0; i < count; i++) {
    ops[i].authentic = equal_icv(lanes.macs[i], ops[i].icv, composed.icv_bytes);
  }
}

/** How many of `ops` from the first on can share the lanes of the stitched code: those as long as the first. */
size_t count_alike(const CipherOp* ops, size_t count) {
  if (!stitched::can_take(ops[0])) return 0;
  const size_t most = std::min(count, stitched::kLanes);
  size_t alike = 1;
  while (alike < most && ops[alike].text_bytes == ops[0].text_bytes && ops[alike].header_bytes == ops[0].header_bytes &&
         ops[alike].additional_bytes == ops[0].additional_bytes)
    alike++;
  return alike;
}

using Whole = void (*)(const Composed&, Lanes&, CipherOp*, size_t);

template <Whole kInTwoPasses>
void in_two_passes(const void* context, CipherOp* ops, size_t count) {
  while (count > 0) {
    const size_t burst = std::min(count, kBurst);
    kInTwoPasses(*static_cast<const Composed*>(context), ipsec_mb::lanes(), ops, burst);
    ops += burst;
    count -= burst;
  }
}

/**
 * Neighbours alike that fill the lanes of the stitched code go through it; what is left of the burst goes together,
 * through it as well if all are alike and enough, or else in two passes, whose lanes take packets of any length.
 */
template <Whole kStitched, Whole kInTwoPasses>
bool stitch_burst(const Composed& composed, Lanes& lanes, CipherOp* ops, size_t count, size_t fewest) {
  CipherOp rest[kBurst];
  size_t place[kBurst];
  size_t left = 0;
  bool has_stitched = false;
  for (size_t i = 0; i < count;) {
    const size_t alike = count_alike(ops + i, count - i);
    if (alike >= stitched::kFewestBesideOthers) {
      kStitched(composed, lanes, ops + i, alike);
      has_stitched = true;
      i += alike;
      continue;
    }
    for (const size_t end = i + std::max(alike, size_t{1}); i < end; i++, left++) {
      rest[left] = ops[i];
      place[left] = i;
    }
  }
  if (left == 0) return has_stitched;
  const bool is_enough = left >= fewest && count_alike(rest, left) == left;
  (is_enough ? kStitched : kInTwoPasses)(composed, lanes, rest, left);
  if constexpr (kStitched == open_stitched) {  // sealing says nothing of it
    for (size_t i = 0; i < left; i++) ops[place[i]].authentic = rest[i].authentic;
  }
  return has_stitched || is_enough;
}

template <Whole kStitched, Whole kInTwoPasses, size_t stitched::Passes::*kFewest>
void stitch(const void* context, CipherOp* ops, size_t count) {
  const auto& composed = *static_cast<const Composed*>(context);
  bool has_stitched = false;
  while (count > 0) {
    const size_t burst = std::min(count, kBurst);
    has_stitched |=
        stitch_burst<kStitched, kInTwoPasses>(composed, ipsec_mb::lanes(), ops, burst, composed.stitched.*kFewest);
    ops += burst;
    count -= burst;
  }
  if (has_stitched) stitched::wipe_scratch();
}

// ---- keys ----

void set_cipher(Composed& composed, const CipherRow& row, std::span<const uint8_t> key) {
  const IMB_MGR* manager = ipsec_mb::shared_manager();
  set_nettle_cipher(composed.single_cipher, row, key);
  switch (row.primitive) {
    case Primitive::aes: {
      const keyexp_t expand = row.key_bits == 128   ? manager->keyexp_128
                              : row.key_bits == 192 ? manager->keyexp_192
                                                    : manager->keyexp_256;
      expand(key.data(), composed.encrypt_keys, composed.decrypt_keys);
      composed.aes_key_bytes = static_cast<IMB_KEY_SIZE_BYTES>(row.key_bits / 8);
      const bool is_ctr = row.mode == CipherMode::ctr;
      composed.encrypt = is_ctr ? aes_pass<IMB_CIPHER_CNTR, IMB_DIR_ENCRYPT> : cbc_encrypt_pass;
      composed.decrypt =
          is_ctr ? aes_pass<IMB_CIPHER_CNTR, IMB_DIR_DECRYPT> : aes_pass<IMB_CIPHER_CBC, IMB_DIR_DECRYPT>;
      return;
    }
    case Primitive::des:
    case Primitive::des3:
      for (size_t i = 0; i < key.size() / 8; i++) {
        manager->des_key_sched(composed.des_keys[i], key.data() + 8 * i);
        composed.des_key_pointers[i] = composed.des_keys[i];
      }
      composed.cipher_mode = row.primitive == Primitive::des3 ? IMB_CIPHER_DES3 : IMB_CIPHER_DES;
      composed.encrypt = des_pass<IMB_DIR_ENCRYPT>;
      composed.decrypt = des_pass<IMB_DIR_DECRYPT>;
      return;
    case Primitive::none:
    case Primitive::chacha20:  // a combined mode: not made here
      composed.encrypt = composed.decrypt = no_cipher;
      return;
  }
}

/** The state of the hash behind one block of key and pad (RFC 2104), which is what jobs start from. */
void absorb(hash_one_block_t one_block, size_t block_bytes, std::span<const uint8_t> key, uint8_t pad, uint8_t* state) {
  uint8_t block[IMB_SHA_512_BLOCK_SIZE];
  std::memset(block, pad, sizeof block);
  for (size_t i = 0; i < key.size() && i < block_bytes; i++) block[i] ^= key[i];
  one_block(block, state);
  explicit_bzero(block, sizeof block);
}

void set_mac(Composed& composed, const IntegrityRow& row, std::span<const uint8_t> key) {
  const IMB_MGR* manager = ipsec_mb::shared_manager();
  set_nettle_mac(composed.single_mac, row.hash, key);
  composed.icv_bytes = row.icv_bytes;
  const bool has_sha = (manager->features & IMB_FEATURE_SHANI) != 0;
  constexpr auto kWideSha = sha_jobs<&Lanes::manager>;
  const Composed::HashPass single_sha = has_sha ? sha_jobs<&Lanes::narrow> : nettle_hashes;
  struct Choice {
    IMB_HASH_ALG algorithm;
    hash_one_block_t one_block;
    size_t block_bytes;
    size_t lanes;
    Composed::HashPass wide;
    Composed::HashPass single;
    HashCosts costs;
  };
  const Choice choice = [&]() -> Choice {
    switch (row.hash) {
      case Hash::md5:
        return {IMB_AUTH_MD5, manager->md5_one_block, 64, 16, md5_jobs, nettle_hashes, {640, 116, 376, 27, 239}};
      case Hash::sha1:
        return {IMB_AUTH_HMAC_SHA_1,
                manager->sha1_one_block,
                64,
                16,
                kWideSha,
                single_sha,
                has_sha ? HashCosts{430, 93, 320, 40, 80} : HashCosts{430, 93, 320, 65, 191}};
      case Hash::sha256:
        return {IMB_AUTH_HMAC_SHA_256,
                manager->sha256_one_block,
                64,
                16,
                kWideSha,
                single_sha,
                has_sha ? HashCosts{550, 97, 620, 28, 71} : HashCosts{550, 97, 620, 30, 424}};
      case Hash::sha384:
        return {IMB_AUTH_HMAC_SHA_384, manager->sha384_one_block, 128, 8, kWideSha,
                nettle_hashes,         {137, 93, 770, 320, 534}};
      case Hash::sha512:
      case Hash::none:
        break;
    }
    return {IMB_AUTH_HMAC_SHA_512, manager->sha512_one_block, 128, 8, kWideSha,
            nettle_hashes,         {137, 93, 770, 320, 534}};
  }();
  composed.hash_algorithm = choice.algorithm;
  composed.hash_lanes = choice.lanes;
  composed.hash_block_bytes = choice.block_bytes;
  composed.hash_wide = choice.wide;
  composed.hash_single = choice.single;
  composed.costs = choice.costs;
  absorb(choice.one_block, choice.block_bytes, key, 0x36, composed.inner_state);
  absorb(choice.one_block, choice.block_bytes, key, 0x5c, composed.outer_state);
}

bool cpu_can_stitch() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         (ipsec_mb::shared_manager()->features & IMB_FEATURE_VAES) != 0;
}

}  // namespace

KeyedContext ipsec_mb_composed(const ComposedParams& params) {
  auto memory = allocate_context<Composed>();
  auto& composed = *static_cast<Composed*>(memory.get());
  set_cipher(composed, params.cipher, params.key);
  set_mac(composed, params.integrity, params.integrity_key);
  if (params.cipher.primitive == Primitive::aes && params.cipher.mode == CipherMode::cbc && cpu_can_stitch())
    composed.stitched = stitched::passes(params.integrity.hash, params.cipher.key_bits);
  if (composed.stitched.seal == nullptr)
    return {in_two_passes<seal_in_two_passes>, in_two_passes<open_in_two_passes>, std::move(memory)};
  return {stitch<seal_stitched, seal_in_two_passes, &stitched::Passes::fewest_to_seal>,
          stitch<open_stitched, open_in_two_passes, &stitched::Passes::fewest_to_open>, std::move(memory)};
}

}  // namespace culvert::crypto
#endif
