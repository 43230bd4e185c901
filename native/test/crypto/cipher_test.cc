#include "crypto/cipher.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "test/check.h"
#include "test/json.h"

namespace culvert::crypto {
namespace {

using test::Note;
using test::Random;
using Bytes = std::vector<uint8_t>;

struct NamedBackend {
  const char* name;
  Backend backend;
};

/** Both, on a CPU that has both. */
std::vector<NamedBackend> backends() {
  std::vector<NamedBackend> found{{"portable", Backend::portable}};
  if (backend_available(Backend::ipsec_mb)) found.push_back({"ipsec_mb", Backend::ipsec_mb});
  return found;
}

/** A cipher for `key` without its salt, which the cipher does not look at. */
Cipher make_gcm(const Bytes& key, Backend backend) {
  Bytes material = key;
  material.resize(key.size() + 4);
  auto cipher = Cipher::create(
      {.cipher = find_cipher(20, static_cast<uint16_t>(key.size() * 8)), .key = material, .backend = backend});
  CHECK_EQ(cipher.error(), "");
  return std::move(cipher).value();
}

/** One packet: text and ICV in an allocation of exactly their size. */
struct Packet {
  Packet(const Bytes& text_bytes, const Bytes& nonce, const Bytes& additional, const Bytes& icv = Bytes(16))
      : size(text_bytes.size()), memory(new uint8_t[text_bytes.size() + 16]) {
    std::copy(text_bytes.begin(), text_bytes.end(), memory.get());
    std::copy(icv.begin(), icv.end(), memory.get() + size);
    op.text = memory.get();
    op.text_bytes = static_cast<uint32_t>(size);
    op.icv = memory.get() + size;
    std::copy(nonce.begin(), nonce.end(), op.nonce);
    std::copy(additional.begin(), additional.end(), op.additional);
    op.additional_bytes = static_cast<uint8_t>(additional.size());
  }
  Bytes text() const { return {memory.get(), memory.get() + size}; }
  Bytes icv() const { return {memory.get() + size, memory.get() + size + 16}; }

  size_t size;
  std::unique_ptr<uint8_t[]> memory;
  CipherOp op{};
};

struct Vector {
  std::string name;
  Bytes key, nonce, additional, plain, cipher, icv;
  bool valid = true;
};

void run_vector(const Vector& vector, const NamedBackend& backend) {
  const Note which(vector.name + " on " + backend.name);
  const Cipher cipher = make_gcm(vector.key, backend.backend);

  Packet sealed(vector.plain, vector.nonce, vector.additional);
  cipher.seal({&sealed.op, 1});
  CHECK((sealed.text() == vector.cipher && sealed.icv() == vector.icv) == vector.valid);

  Packet opened(vector.cipher, vector.nonce, vector.additional, vector.icv);
  cipher.open({&opened.op, 1});
  CHECK_EQ(opened.op.authentic, vector.valid);
  if (vector.valid) CHECK(opened.text() == vector.plain);
}

/** Wycheproof's vectors of the shape that ESP has: 96-bit nonces, 128-bit ICVs, at most 12 bytes of additional data. */
std::vector<Vector> wycheproof() {
  std::vector<Vector> vectors;
  const test::Json document = test::read_json_file(test::vectors_directory() + "wycheproof/aes_gcm_test.json");
  for (const test::Json& group : document["testGroups"].array) {
    if (group["ivSize"].number != 96 || group["tagSize"].number != 128) continue;
    for (const test::Json& item : group["tests"].array) {
      Vector vector{.name = "Wycheproof tcId " + std::to_string(static_cast<int>(item["tcId"].number)),
                    .key = test::from_hex(item["key"].string),
                    .nonce = test::from_hex(item["iv"].string),
                    .additional = test::from_hex(item["aad"].string),
                    .plain = test::from_hex(item["msg"].string),
                    .cipher = test::from_hex(item["ct"].string),
                    .icv = test::from_hex(item["tag"].string),
                    .valid = item["result"].string == "valid"};
      if (vector.additional.size() <= sizeof(CipherOp::additional)) vectors.push_back(std::move(vector));
    }
  }
  return vectors;
}

TEST("Wycheproof AES-GCM, every key size, every backend") {
  const auto vectors = wycheproof();
  CHECK_EQ(vectors.size(), size_t{154});  // of the file's 316; a reader that loses some must not pass
  for (const NamedBackend& backend : backends()) {
    for (const Vector& vector : vectors) run_vector(vector, backend);
  }
}

TEST("AES-GCM in ESP, draft-mcgrew-gcm-test-01, every backend") {
  const std::string text = test::read_text_file(test::vectors_directory() + "esp/gcm-esp.txt");
  size_t count = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.empty() || line[0] == '#') continue;
    std::vector<Bytes> fields;
    for (size_t from = 0; from < line.size();) {
      const size_t space = std::min(line.find(' ', from), line.size());
      fields.push_back(test::from_hex(line.substr(from, space - from)));
      from = space + 1;
    }
    REQUIRE(fields.size() == 6);
    count++;
    for (const NamedBackend& backend : backends()) {
      run_vector({.name = "case " + std::to_string(count),
                  .key = fields[0],
                  .nonce = fields[1],
                  .additional = fields[2],
                  .plain = fields[3],
                  .cipher = fields[4],
                  .icv = fields[5]},
                 backend);
    }
  }
  CHECK_EQ(count, size_t{14});
}

TEST("the backends agree packet by packet, in bursts of every size") {
  // Where there is one backend only, it must at least agree with itself.
  const Backend fast_backend = backend_available(Backend::ipsec_mb) ? Backend::ipsec_mb : Backend::portable;
  Random random(10);
  for (const size_t key_bytes : std::initializer_list<size_t>{16, 24, 32}) {
    const Bytes key = random.bytes(key_bytes);
    const Cipher fast = make_gcm(key, fast_backend);
    const Cipher portable = make_gcm(key, Backend::portable);
    for (int burst = 0; burst < 60; burst++) {
      const size_t count = 1 + random.below(kBurst + 8);
      std::vector<CipherOp> fast_ops;
      std::vector<CipherOp> portable_ops;
      std::vector<Packet> fast_packets;
      std::vector<Packet> portable_packets;
      std::vector<Bytes> texts;
      for (size_t i = 0; i < count; i++) {
        texts.push_back(random.bytes(random.below(burst < 50 ? 600 : 9000)));
        const Bytes nonce = random.bytes(12);
        const Bytes additional = random.bytes(random.below(2) == 0 ? 8 : 12);
        fast_packets.emplace_back(texts.back(), nonce, additional);
        portable_packets.emplace_back(texts.back(), nonce, additional);
        fast_ops.push_back(fast_packets.back().op);
        portable_ops.push_back(portable_packets.back().op);
      }
      fast.seal(fast_ops);
      portable.seal(portable_ops);
      for (size_t i = 0; i < count; i++) {
        const Note note(std::to_string(key_bytes) + "-byte key, text of " + std::to_string(texts[i].size()));
        CHECK(fast_packets[i].text() == portable_packets[i].text());
        CHECK(fast_packets[i].icv() == portable_packets[i].icv());
      }
      // Crosswise, and with every fifth packet damaged: neighbours in a burst must not matter.
      for (size_t i = 0; i < count; i += 5) {
        fast_packets[i].memory[random.below(texts[i].size() + 16)] ^= 1;
        portable_packets[i].memory[random.below(texts[i].size() + 16)] ^= 1;
      }
      for (CipherOp& op : fast_ops) op.authentic = random.below(2) == 0;
      for (CipherOp& op : portable_ops) op.authentic = random.below(2) == 0;
      fast.open(portable_ops);
      portable.open(fast_ops);
      for (size_t i = 0; i < count; i++) {
        CHECK_EQ(fast_ops[i].authentic, i % 5 != 0);
        CHECK_EQ(portable_ops[i].authentic, i % 5 != 0);
        if (i % 5 != 0) CHECK(fast_packets[i].text() == texts[i] && portable_packets[i].text() == texts[i]);
      }
    }
  }
}

TEST("one flipped bit anywhere is not authentic") {
  Random random(11);
  const Bytes key = random.bytes(16);
  const Bytes plain = random.bytes(52);
  const Bytes nonce = random.bytes(12);
  const Bytes additional = random.bytes(8);
  for (const NamedBackend& backend : backends()) {
    const Note which(backend.name);
    const Cipher cipher = make_gcm(key, backend.backend);
    Packet sealed(plain, nonce, additional);
    cipher.seal({&sealed.op, 1});
    const auto opens = [&](size_t flipped_byte, uint8_t bits) {
      Packet packet(sealed.text(), nonce, additional, sealed.icv());
      uint8_t* parts[] = {packet.memory.get(), packet.op.nonce, packet.op.additional};
      const size_t sizes[] = {plain.size() + 16, nonce.size(), additional.size()};
      for (size_t part = 0; part < 3; part++) {
        if (flipped_byte < sizes[part]) {
          parts[part][flipped_byte] ^= bits;
          break;
        }
        flipped_byte -= sizes[part];
      }
      cipher.open({&packet.op, 1});
      return packet.op.authentic;
    };
    CHECK(opens(0, 0));
    for (size_t byte = 0; byte < plain.size() + 16 + nonce.size() + additional.size(); byte++) {
      for (unsigned bit = 0; bit < 8; bit++) CHECK(!opens(byte, static_cast<uint8_t>(1u << bit)));
    }
  }
}

TEST("a cipher is refused with a reason when its parameters are wrong") {
  const CipherRow* gcm = find_cipher(20, 128);
  const Bytes key(20);
  CHECK(Cipher::create({.cipher = gcm, .key = key}).ok());
  CHECK(!Cipher::create({.cipher = nullptr, .key = key}).ok());
  for (const size_t length : std::initializer_list<size_t>{0, 16, 19, 21, 36}) {
    const Bytes wrong(length);
    const auto refused = Cipher::create({.cipher = gcm, .key = wrong});
    CHECK(!refused.ok());
    CHECK(refused.error().find("20 bytes") != std::string::npos);
  }
  CHECK(!Cipher::create({.cipher = gcm, .key = key, .integrity_key = key}).ok());
  const IntegrityRow unknown{"hmac", "", 12, 256, 16};
  CHECK(!Cipher::create({.cipher = gcm, .integrity = &unknown, .key = key}).ok());
}

TEST("ENCR_NULL without integrity exists for the benchmark only (RFC 4303 §3.2.2)") {
  const CipherRow* null_row = find_cipher(11, 0);
  REQUIRE(null_row != nullptr);
  CHECK(!Cipher::create({.cipher = null_row}).ok());
  CHECK(!Cipher::create({.cipher = null_row, .integrity = find_integrity(0)}).ok());
  auto allowed = Cipher::create({.cipher = null_row, .allow_unprotected_for_benchmark = true});
  REQUIRE(allowed.ok());
  Packet packet({1, 2, 3, 4}, {}, {});
  allowed.value().seal({&packet.op, 1});
  CHECK(packet.text() == Bytes({1, 2, 3, 4}));
  allowed.value().open({&packet.op, 1});
  CHECK(packet.op.authentic);
}

TEST("the table's rows are what the RFCs say, and each is found by its IANA ids") {
  for (const CipherRow& row : cipher_rows()) {
    const Note note{std::string(row.name)};
    CHECK(find_cipher(row.encr, row.key_bits) == &row);
    CHECK(row.block_bytes > 0 && (row.block_bytes & (row.block_bytes - 1)) == 0);
    CHECK(row.icv_bytes <= 16 && row.iv_bytes <= 16 && row.salt_bytes <= 4);
    CHECK_EQ(row.wants_integrity, row.icv_bytes == 0);
  }
  const CipherRow* gcm = find_cipher(20, 256);
  REQUIRE(gcm != nullptr);
  CHECK_EQ(gcm->name, "aes256gcm16");
  CHECK_EQ(gcm->key_material_bytes(), size_t{36});  // RFC 4106 §8.1
  CHECK(find_cipher(20, 64) == nullptr);
  CHECK(find_cipher(12, 128) == nullptr);
  CHECK(find_integrity(0) != nullptr);
  CHECK(find_integrity(12) == nullptr);
}

TEST("every backend can say what it is") {
  for (const NamedBackend& backend : backends()) CHECK(!backend_description(backend.backend).empty());
  CHECK(backend_available(default_backend()));
  CHECK_EQ(backend_description(Backend::automatic), backend_description(default_backend()));
}

}  // namespace
}  // namespace culvert::crypto
