// This file is compiled for AVX-512 and VAES, whatever CPU runs the rest. All but passes() is in an unnamed namespace,
// so that no other file can be linked with a function that was compiled here.
#include "crypto/stitched_cbc.h"

#include <immintrin.h>

#include <cstring>
#include <utility>

namespace culvert::crypto::stitched {
namespace {

using Vector = __m512i;

constexpr size_t kChunkBytes = 64;  // of text per lane and step: four blocks of AES, one of the hash
constexpr size_t kChunkBlocks = 4;
constexpr size_t kHeaderWords = kHeaderBytes / 4;
constexpr size_t kBlockWords = 16;
// What passes need of the stack: the compiler refuses frames that are larger than this less what their caller's takes
// (CMakeLists.txt).
constexpr size_t kScratchBytes = 14336;

// One function of straight code for each pass, or no register holds a vector for long. With sanitizers that would take
// many minutes to compile: they see the same steps as functions of their own.
#if CULVERT_OUT_OF_LINE
#define CULVERT_HERE
#define CULVERT_INLINE inline
#else
#define CULVERT_HERE __attribute__((always_inline))
#define CULVERT_INLINE inline CULVERT_HERE
#endif

CULVERT_INLINE uint32_t load_word(const uint8_t* from) {
  uint32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return __builtin_bswap32(word);
}

CULVERT_INLINE Vector splat(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }

/** Calls f with 0 to kCount - 1 as constants. */
template <size_t kCount, typename F>
CULVERT_INLINE void unroll(F&& f) {
  [&]<size_t... i>(std::index_sequence<i...>) CULVERT_HERE { (f(std::integral_constant<size_t, i>{}), ...); }
  (std::make_index_sequence<kCount>{});
}

// ---- hashes: one word of a vector per packet ----

struct Sha1 {
  static constexpr size_t kStateWords = 5;
  static constexpr size_t kRounds = 80;
  static constexpr size_t kFewestToSeal = 4;
  static constexpr size_t kFewestToOpen = 5;

  /** FIPS 180-4 §6.1.2. `state` is a..e, whose names move by one each round. */
  template <size_t t>
  static CULVERT_INLINE void round(Vector* state, Vector* w) {
    Vector& b = state[(81 - t) % 5];
    Vector& e = state[(84 - t) % 5];
    const Vector a = state[(80 - t) % 5];
    const Vector c = state[(82 - t) % 5];
    const Vector d = state[(83 - t) % 5];
    Vector& word = w[t % 16];
    if constexpr (t >= 16) {
      const Vector three = _mm512_ternarylogic_epi32(w[(t + 13) % 16], w[(t + 8) % 16], w[(t + 2) % 16], 0x96);
      word = _mm512_rol_epi32(_mm512_xor_si512(three, word), 1);
    }
    constexpr uint32_t kConstants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    constexpr int kFunctions[] = {0xca, 0x96, 0xe8, 0x96};  // choose, parity, majority, parity
    const Vector f = _mm512_ternarylogic_epi32(b, c, d, kFunctions[t / 20]);
    const Vector early = _mm512_add_epi32(_mm512_add_epi32(e, _mm512_add_epi32(word, splat(kConstants[t / 20]))), f);
    e = _mm512_add_epi32(early, _mm512_rol_epi32(a, 5));
    b = _mm512_rol_epi32(b, 30);
  }
};

constexpr uint32_t kSha256Constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

struct Sha256 {
  static constexpr size_t kStateWords = 8;
  static constexpr size_t kRounds = 64;
  static constexpr size_t kFewestToSeal = 8;
  static constexpr size_t kFewestToOpen = 10;

  template <int kA, int kB, int kC>
  static CULVERT_INLINE Vector sum(Vector x) {
    return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kA), _mm512_ror_epi32(x, kB), _mm512_ror_epi32(x, kC), 0x96);
  }
  template <int kA, int kB, int kShift>
  static CULVERT_INLINE Vector schedule_sum(Vector x) {
    return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, kA), _mm512_ror_epi32(x, kB), _mm512_srli_epi32(x, kShift),
                                     0x96);
  }

  /** FIPS 180-4 §6.2.2. `state` is a..h, whose names move by one each round. */
  template <size_t t>
  static CULVERT_INLINE void round(Vector* state, Vector* w) {
    const Vector a = state[(64 - t) % 8];
    const Vector b = state[(65 - t) % 8];
    const Vector c = state[(66 - t) % 8];
    Vector& d = state[(67 - t) % 8];
    const Vector e = state[(68 - t) % 8];
    const Vector f = state[(69 - t) % 8];
    const Vector g = state[(70 - t) % 8];
    Vector& h = state[(71 - t) % 8];
    Vector& word = w[t % 16];
    if constexpr (t >= 16) {
      const Vector before =
          _mm512_add_epi32(_mm512_add_epi32(word, w[(t + 9) % 16]), schedule_sum<7, 18, 3>(w[(t + 1) % 16]));
      word = _mm512_add_epi32(before, schedule_sum<17, 19, 10>(w[(t + 14) % 16]));
    }
    const Vector early = _mm512_add_epi32(h, _mm512_add_epi32(word, splat(kSha256Constants[t])));
    const Vector choose = _mm512_ternarylogic_epi32(e, f, g, 0xca);
    const Vector t1 = _mm512_add_epi32(_mm512_add_epi32(early, choose), sum<6, 11, 25>(e));
    d = _mm512_add_epi32(d, t1);
    const Vector t2 = _mm512_add_epi32(sum<2, 13, 22>(a), _mm512_ternarylogic_epi32(a, b, c, 0xe8));
    h = _mm512_add_epi32(t1, t2);
  }
};

struct Nothing {
  static constexpr size_t kSteps = 0;
  template <size_t kStep>
  CULVERT_INLINE void step() {}
};

/** Hashes one block; between its rounds go the steps of `beside`, evenly. */
template <typename H, typename Beside>
CULVERT_INLINE void hash_block(Vector* digest, const Vector* words, Beside& beside) {
  Vector state[H::kStateWords];
  Vector w[kBlockWords];
  unroll<H::kStateWords>([&](auto i) CULVERT_HERE { state[i] = digest[i]; });
  unroll<kBlockWords>([&](auto i) CULVERT_HERE { w[i] = words[i]; });
  unroll<H::kRounds>([&](auto t) CULVERT_HERE {
    H::template round<t>(state, w);
    constexpr size_t kFirst = t * Beside::kSteps / H::kRounds;
    constexpr size_t kEnd = (t + 1) * Beside::kSteps / H::kRounds;
    unroll<kEnd - kFirst>([&](auto i) CULVERT_HERE { beside.template step<kFirst + decltype(i)::value>(); });
  });
  unroll<H::kStateWords>([&](auto i) CULVERT_HERE { digest[i] = _mm512_add_epi32(digest[i], state[i]); });
}

template <typename H>
__attribute__((noinline)) void hash_block_alone(Vector* digest, const Vector* words) {
  Nothing nothing;
  hash_block<H>(digest, words, nothing);
}

template <typename Beside>
CULVERT_INLINE void run_alone(Beside& beside) {
  unroll<Beside::kSteps>([&](auto i) CULVERT_HERE { beside.template step<i>(); });
}

// ---- from packets to lanes and back ----

// Four packets share a vector of the cipher, a quarter each: packet 4g + i is quarter i of vector g. Transposing words
// leaves packet 4g + i in word 4i + g of the hash's vectors.
constexpr size_t word_of_packet(size_t packet) { return packet % 4 * 4 + packet / 4; }

/** Rows of four quarters become columns; its own inverse. */
CULVERT_INLINE void transpose_quarters(Vector* v) {
  const Vector a = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
  const Vector b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
  const Vector c = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
  const Vector d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
  v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

/** One block of all packets becomes four words of the message, in the host's order. */
CULVERT_INLINE void store_words(const Vector* blocks, Vector* words) {
  const Vector a = _mm512_unpacklo_epi32(blocks[0], blocks[1]);
  const Vector b = _mm512_unpackhi_epi32(blocks[0], blocks[1]);
  const Vector c = _mm512_unpacklo_epi32(blocks[2], blocks[3]);
  const Vector d = _mm512_unpackhi_epi32(blocks[2], blocks[3]);
  const Vector swap = _mm512_broadcast_i32x4(_mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12));
  _mm512_store_si512(words + 0, _mm512_shuffle_epi8(_mm512_unpacklo_epi64(a, c), swap));
  _mm512_store_si512(words + 1, _mm512_shuffle_epi8(_mm512_unpackhi_epi64(a, c), swap));
  _mm512_store_si512(words + 2, _mm512_shuffle_epi8(_mm512_unpacklo_epi64(b, d), swap));
  _mm512_store_si512(words + 3, _mm512_shuffle_epi8(_mm512_unpackhi_epi64(b, d), swap));
}

struct Packets {
  uint8_t* text[kLanes];
  size_t count;  // lanes behind it do the last packet's work again: each chunk is read before any of it is written
  size_t text_bytes;
  size_t chunks;
  __mmask8 last_mask;  // the eights of bytes of the last chunk

  __mmask8 mask_of(size_t chunk) const { return chunk + 1 == chunks ? last_mask : __mmask8{0xff}; }
};

CULVERT_INLINE Packets packets_of(const CipherOp* ops, size_t count) {
  Packets packets;
  for (size_t i = 0; i < kLanes; i++) packets.text[i] = ops[i < count ? i : count - 1].text;
  packets.count = count;
  packets.text_bytes = ops[0].text_bytes;
  packets.chunks = (packets.text_bytes + kChunkBytes - 1) / kChunkBytes;
  const size_t last_bytes = packets.text_bytes - (packets.chunks - 1) * kChunkBytes;
  packets.last_mask = static_cast<__mmask8>((1u << last_bytes / 8) - 1);
  return packets;
}

// The bytes of a chunk that `mask` names, eight a bit, and no other byte of memory. Sanitizers do not look into masked
// instructions: for them these are copies, which they do check.
#if CULVERT_OUT_OF_LINE
Vector load_chunk(const uint8_t* from, __mmask8 mask) {
  Vector chunk = _mm512_setzero_si512();
  __builtin_memcpy(&chunk, from, 8 * static_cast<size_t>(__builtin_popcount(mask)));
  return chunk;
}

void store_chunk(uint8_t* to, __mmask8 mask, Vector chunk) {
  __builtin_memcpy(to, &chunk, 8 * static_cast<size_t>(__builtin_popcount(mask)));
}
#else
CULVERT_INLINE Vector load_chunk(const uint8_t* from, __mmask8 mask) { return _mm512_maskz_loadu_epi64(mask, from); }

CULVERT_INLINE void store_chunk(uint8_t* to, __mmask8 mask, Vector chunk) { _mm512_mask_storeu_epi64(to, mask, chunk); }
#endif

CULVERT_INLINE Vector round_key(const uint8_t* schedule, size_t round) {
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(schedule + 16 * round)));
}

// ---- what goes on beside the hash ----

/** Encrypts one chunk of every packet in place, and leaves it as words for the hash. */
template <size_t kRounds>
struct Encryption {
  static constexpr size_t kStepsPerBlock = kRounds + 2;
  static constexpr size_t kFirstBlock = 4;
  static constexpr size_t kFirstStore = kFirstBlock + kChunkBlocks * kStepsPerBlock;
  static constexpr size_t kSteps = kFirstStore + 4;

  const Packets& packets;
  const uint8_t* schedule;
  Vector* words;
  size_t offset;
  __mmask8 mask;
  Vector (&blocks)[kChunkBlocks][4];  // plaintext, then ciphertext
  Vector chain[4];

  template <size_t kStep>
  CULVERT_INLINE void step() {
    if constexpr (kStep < kFirstBlock) {
      load<kStep>();
    } else if constexpr (kStep < kFirstStore) {
      constexpr size_t kBlock = (kStep - kFirstBlock) / kStepsPerBlock;
      constexpr size_t kRound = (kStep - kFirstBlock) % kStepsPerBlock;
      if constexpr (kRound == 0) {
        unroll<4>([&](auto g) CULVERT_HERE {
          chain[g] = _mm512_ternarylogic_epi32(chain[g], blocks[kBlock][g], round_key(schedule, 0), 0x96);
        });
      } else if constexpr (kRound < kRounds) {
        unroll<4>([&](auto g) CULVERT_HERE { chain[g] = _mm512_aesenc_epi128(chain[g], round_key(schedule, kRound)); });
      } else if constexpr (kRound == kRounds) {
        unroll<4>([&](auto g) CULVERT_HERE {
          chain[g] = _mm512_aesenclast_epi128(chain[g], round_key(schedule, kRounds));
          blocks[kBlock][g] = chain[g];
        });
      } else {
        store_words(chain, words + 4 * kBlock);
      }
    } else {
      store<kStep - kFirstStore>();
    }
  }

  template <size_t g>
  CULVERT_INLINE void load() {
    Vector v[4];
    unroll<4>([&](auto i) CULVERT_HERE { v[i] = load_chunk(packets.text[4 * g + i] + offset, mask); });
    transpose_quarters(v);
    unroll<4>([&](auto i) CULVERT_HERE { blocks[i][g] = v[i]; });
  }

  template <size_t g>
  CULVERT_INLINE void store() {
    Vector v[4];
    unroll<4>([&](auto i) CULVERT_HERE { v[i] = blocks[i][g]; });
    transpose_quarters(v);
    unroll<4>([&](auto i) CULVERT_HERE { store_chunk(packets.text[4 * g + i] + offset, mask, v[i]); });
  }
};

/** Makes words for the hash of the next chunk of every packet, and keeps the chunk itself for decryption. */
struct Reading {
  static constexpr size_t kSteps = 4 + kChunkBlocks;

  const Packets& packets;
  Vector* words;
  Vector* sealed;
  size_t offset;
  __mmask8 mask;
  Vector (&blocks)[kChunkBlocks][4];

  template <size_t kStep>
  CULVERT_INLINE void step() {
    if constexpr (kStep < 4) {
      constexpr size_t g = kStep;
      Vector v[4];
      unroll<4>([&](auto i) CULVERT_HERE {
        v[i] = load_chunk(packets.text[4 * g + i] + offset, mask);
        sealed[4 * g + i] = v[i];
      });
      transpose_quarters(v);
      unroll<4>([&](auto i) CULVERT_HERE { blocks[i][g] = v[i]; });
    } else {
      store_words(blocks[kStep - 4], words + 4 * (kStep - 4));
    }
  }
};

/** Decrypts one chunk of every packet, which is in the hash's lanes already. The four blocks of a packet go together.
 */
template <size_t kRounds>
struct Decryption {
  static constexpr size_t kStepsPerGroup = kRounds + 1;
  static constexpr size_t kSteps = 4 * kStepsPerGroup;

  const Packets& packets;
  const uint8_t* schedule;
  size_t offset;
  __mmask8 mask;
  // Not read from the packets again: what was just written to one looks, by its address in the page, like the next one.
  const Vector* sealed;
  const Vector* before_sealed;  // the chunk before, of which the last block counts
  Vector x[4];
  Vector before[4];

  template <size_t kStep>
  CULVERT_INLINE void step() {
    constexpr size_t g = kStep / kStepsPerGroup;
    constexpr size_t kRound = kStep % kStepsPerGroup;
    if constexpr (kRound == 0) {
      unroll<4>([&](auto i) CULVERT_HERE {
        constexpr size_t kLane = 4 * g + decltype(i)::value;
        x[i] = _mm512_xor_si512(sealed[kLane], round_key(schedule, 0));
        const Vector chain = _mm512_alignr_epi64(sealed[kLane], before_sealed[kLane], 6);
        before[i] = _mm512_xor_si512(chain, round_key(schedule, kRounds));
      });
    } else if constexpr (kRound < kRounds) {
      unroll<4>([&](auto i) CULVERT_HERE { x[i] = _mm512_aesdec_epi128(x[i], round_key(schedule, kRound)); });
    } else {
      unroll<4>([&](auto i) CULVERT_HERE {
        constexpr size_t kLane = 4 * g + decltype(i)::value;
        store_chunk(packets.text[kLane] + offset, mask, _mm512_aesdeclast_epi128(x[i], before[i]));
      });
    }
  }
};

/** The steps of A and of B, evenly mixed. */
template <typename A, typename B>
struct Both {
  static constexpr size_t kSteps = A::kSteps + B::kSteps;

  A a;
  B b;

  template <size_t kStep>
  CULVERT_INLINE void step() {
    constexpr size_t kDone = kStep * A::kSteps / kSteps;
    if constexpr ((kStep + 1) * A::kSteps / kSteps > kDone) {
      a.template step<kDone>();
    } else {
      b.template step<kStep - kDone>();
    }
  }
};

// ---- HMAC ----

/**
 * The words of a message on their way into the hash. They arrive in chunks, behind a header that is no whole block, so
 * that a block is the end of one chunk and most of the next: two buffers, each with what the other one left over.
 */
template <typename H>
struct Message {
  // Room for the last chunk and what goes behind it: an extended sequence number's high half, the bit that ends a
  // message, its length.
  static_assert(kHeaderWords + kBlockWords + 1 + 1 + 2 <= 2 * kBlockWords);
  alignas(64) Vector words[2][2 * kBlockWords];
  Vector digest[H::kStateWords];

  CULVERT_INLINE void start(const Keys& keys, const Packets& packets) {
    load_state(keys.inner_state);
    alignas(64) uint32_t header[kHeaderWords][kLanes];
    for (size_t lane = 0; lane < kLanes; lane++) {
      const uint8_t* from = packets.text[lane] - kHeaderBytes;
      for (size_t i = 0; i < kHeaderWords; i++) header[i][word_of_packet(lane)] = load_word(from + 4 * i);
    }
    for (size_t i = 0; i < kHeaderWords; i++) words[0][i] = _mm512_load_si512(header[i]);
  }

  /** Where the chunk's words go. */
  CULVERT_INLINE Vector* place(size_t chunk) { return words[chunk % 2] + kHeaderWords; }

  CULVERT_INLINE const Vector* block(size_t chunk) const { return words[chunk % 2]; }

  /** What a block leaves of its chunk is the start of the next. */
  CULVERT_INLINE void carry(size_t chunk) {
    for (size_t i = 0; i < kHeaderWords; i++) words[(chunk + 1) % 2][i] = words[chunk % 2][kBlockWords + i];
  }

  /** Puts behind the last chunk what ends a message (FIPS 180-4 §5.1.1); returns how many blocks are left to hash. */
  CULVERT_INLINE size_t end(const Packets& packets, const CipherOp* ops) {
    Vector* const left = words[(packets.chunks - 1) % 2];
    size_t used = kHeaderWords + (packets.text_bytes - (packets.chunks - 1) * kChunkBytes) / 4;
    const size_t additional_bytes = ops[0].additional_bytes;
    if (additional_bytes != 0) {
      alignas(64) uint32_t high_halves[kLanes];
      for (size_t lane = 0; lane < kLanes; lane++) {
        high_halves[word_of_packet(lane)] = load_word(ops[lane < packets.count ? lane : packets.count - 1].additional);
      }
      left[used++] = _mm512_load_si512(high_halves);
    }
    left[used++] = splat(0x80000000);
    const size_t blocks = used + 2 <= kBlockWords ? 1 : 2;
    while (used < blocks * kBlockWords - 1) left[used++] = _mm512_setzero_si512();
    const size_t bytes = kBlockWords * 4 + kHeaderBytes + packets.text_bytes + additional_bytes;
    left[used] = splat(static_cast<uint32_t>(bytes * 8));
    return blocks;
  }

  /** The outer hash, and its words back to the packets. */
  CULVERT_INLINE void finish(const Keys& keys, size_t count, uint8_t (*macs)[kMaxMacBytes]) {
    Vector* const w = words[0];
    for (size_t i = 0; i < kBlockWords; i++) w[i] = i < H::kStateWords ? digest[i] : _mm512_setzero_si512();
    w[H::kStateWords] = splat(0x80000000);
    w[kBlockWords - 1] = splat((kBlockWords * 4 + H::kStateWords * 4) * 8);
    load_state(keys.outer_state);
    hash_block_alone<H>(digest, w);
    alignas(64) uint32_t out[H::kStateWords][kLanes];
    for (size_t i = 0; i < H::kStateWords; i++) _mm512_store_si512(out[i], digest[i]);
    for (size_t packet = 0; packet < count; packet++) {
      for (size_t i = 0; i < keys.mac_bytes / 4; i++) {
        const uint32_t word = __builtin_bswap32(out[i][word_of_packet(packet)]);
        __builtin_memcpy(macs[packet] + 4 * i, &word, sizeof word);
      }
    }
  }

  CULVERT_INLINE void load_state(const uint8_t* from) {
    for (size_t i = 0; i < H::kStateWords; i++) {
      uint32_t word;
      __builtin_memcpy(&word, from + 4 * i, sizeof word);
      digest[i] = splat(word);
    }
  }
};

// ---- passes ----

template <typename H, size_t kRounds>
void seal(const Keys& keys, const CipherOp* ops, size_t count, uint8_t (*macs)[kMaxMacBytes]) {
  const Packets packets = packets_of(ops, count);
  Message<H> message;
  message.start(keys, packets);

  Vector blocks[kChunkBlocks][4];
  Encryption<kRounds> encryption{packets, keys.encrypt_keys, message.place(0), 0, packets.mask_of(0), blocks, {}};
  for (size_t g = 0; g < 4; g++) {
    alignas(64) uint8_t ivs[4][16];
    for (size_t i = 0; i < 4; i++) __builtin_memcpy(ivs[i], ops[4 * g + i < count ? 4 * g + i : count - 1].nonce, 16);
    encryption.chain[g] = _mm512_load_si512(ivs);
  }
  run_alone(encryption);
  for (size_t chunk = 1; chunk < packets.chunks; chunk++) {
    encryption.words = message.place(chunk);
    encryption.offset = chunk * kChunkBytes;
    encryption.mask = packets.mask_of(chunk);
    hash_block<H>(message.digest, message.block(chunk - 1), encryption);
    message.carry(chunk - 1);
  }
  const size_t blocks_left = message.end(packets, ops);
  const Vector* last = message.block(packets.chunks - 1);
  for (size_t i = 0; i < blocks_left; i++) hash_block_alone<H>(message.digest, last + kBlockWords * i);
  message.finish(keys, count, macs);
}

template <typename H, size_t kRounds>
void open(const Keys& keys, const CipherOp* ops, size_t count, uint8_t (*macs)[kMaxMacBytes]) {
  const Packets packets = packets_of(ops, count);
  Message<H> message;
  message.start(keys, packets);

  Vector blocks[kChunkBlocks][4];
  Vector sealed[3][kLanes];  // the chunk that is decrypted, the one before and the one behind
  for (size_t lane = 0; lane < kLanes; lane++) {
    const uint8_t* iv = ops[lane < count ? lane : count - 1].nonce;
    sealed[2][lane] = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(iv)));
  }
  Both<Reading, Decryption<kRounds>> both{{packets, message.place(0), sealed[0], 0, packets.mask_of(0), blocks},
                                          {packets, keys.decrypt_keys, 0, 0xff, sealed[0], sealed[2], {}, {}}};
  run_alone(both.a);
  size_t next = 1;
  for (size_t chunk = 1; chunk < packets.chunks; chunk++) {
    both.a.words = message.place(chunk);
    both.a.sealed = sealed[next];
    both.a.offset = chunk * kChunkBytes;
    both.a.mask = packets.mask_of(chunk);
    hash_block<H>(message.digest, message.block(chunk - 1), both);
    message.carry(chunk - 1);
    both.b.before_sealed = both.b.sealed;
    both.b.sealed = sealed[next];
    both.b.offset = both.a.offset;
    next = next == 2 ? 0 : next + 1;
  }
  const size_t blocks_left = message.end(packets, ops);
  const Vector* last = message.block(packets.chunks - 1);
  both.b.mask = packets.last_mask;
  hash_block<H>(message.digest, last, both.b);
  if (blocks_left > 1) hash_block_alone<H>(message.digest, last + kBlockWords);
  message.finish(keys, count, macs);
}

template <typename H>
Passes passes_with(size_t aes_key_bits) {
  switch (aes_key_bits) {
    case 128:
      return {seal<H, 10>, open<H, 10>, H::kFewestToSeal, H::kFewestToOpen};
    case 256:
      return {seal<H, 14>, open<H, 14>, H::kFewestToSeal, H::kFewestToOpen};
    default:  // 192 bits: too rare for another 100 KB of code
      return {};
  }
}

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wframe-larger-than="  // it covers the others
void wipe_scratch() {
  alignas(64) uint8_t scratch[kScratchBytes];
  explicit_bzero(scratch, sizeof scratch);
  asm volatile(
      "vzeroall\n\t"
      "vpxord %%zmm16, %%zmm16, %%zmm16\n\tvpxord %%zmm17, %%zmm17, %%zmm17\n\t"
      "vpxord %%zmm18, %%zmm18, %%zmm18\n\tvpxord %%zmm19, %%zmm19, %%zmm19\n\t"
      "vpxord %%zmm20, %%zmm20, %%zmm20\n\tvpxord %%zmm21, %%zmm21, %%zmm21\n\t"
      "vpxord %%zmm22, %%zmm22, %%zmm22\n\tvpxord %%zmm23, %%zmm23, %%zmm23\n\t"
      "vpxord %%zmm24, %%zmm24, %%zmm24\n\tvpxord %%zmm25, %%zmm25, %%zmm25\n\t"
      "vpxord %%zmm26, %%zmm26, %%zmm26\n\tvpxord %%zmm27, %%zmm27, %%zmm27\n\t"
      "vpxord %%zmm28, %%zmm28, %%zmm28\n\tvpxord %%zmm29, %%zmm29, %%zmm29\n\t"
      "vpxord %%zmm30, %%zmm30, %%zmm30\n\tvpxord %%zmm31, %%zmm31, %%zmm31" ::
          : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
            "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
            "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}
#pragma GCC diagnostic pop

Passes passes(Hash hash, size_t aes_key_bits) {
  switch (hash) {
    case Hash::sha1:
      return passes_with<Sha1>(aes_key_bits);
    case Hash::sha256:
      return passes_with<Sha256>(aes_key_bits);
    default:
      return {};
  }
}

}  // namespace culvert::crypto::stitched
