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
Cipher make_cipher(const CipherRow* row, const Bytes& key, Backend backend, const IntegrityRow* integrity = nullptr,
                   const Bytes& integrity_key = {}) {
  Bytes material = key;
  material.resize(key.size() + row->salt_bytes);
  auto cipher = Cipher::create(
      {.cipher = row, .integrity = integrity, .key = material, .integrity_key = integrity_key, .backend = backend});
  CHECK_EQ(cipher.error(), "");
  return std::move(cipher).value();
}

const CipherRow* gcm_row(const Bytes& key) { return find_cipher(20, static_cast<uint16_t>(key.size() * 8)); }

/** One packet: header, text and ICV in an allocation of exactly their size. */
struct Packet {
  Packet(const Bytes& text_bytes, const Bytes& nonce, const Bytes& additional, const Bytes& icv = Bytes(16),
         const Bytes& header = {})
      : size(text_bytes.size()), icv_size(icv.size()), memory(new uint8_t[header.size() + size + icv.size()]) {
    std::copy(header.begin(), header.end(), memory.get());
    op.text = memory.get() + header.size();
    op.text_bytes = static_cast<uint32_t>(size);
    op.icv = op.text + size;
    std::copy(text_bytes.begin(), text_bytes.end(), op.text);
    std::copy(icv.begin(), icv.end(), op.icv);
    std::copy(nonce.begin(), nonce.end(), op.nonce);
    std::copy(additional.begin(), additional.end(), op.additional);
    op.additional_bytes = static_cast<uint8_t>(additional.size());
    op.header_bytes = static_cast<uint8_t>(header.size());
  }
  Bytes text() const { return {op.text, op.text + size}; }
  Bytes icv() const { return {op.icv, op.icv + icv_size}; }
  /** Header, text and ICV. */
  Bytes all() const { return {memory.get(), op.icv + icv_size}; }

  size_t size;
  size_t icv_size;
  std::unique_ptr<uint8_t[]> memory;
  CipherOp op{};
};

struct Vector {
  std::string name;
  Bytes key, nonce, additional, plain, cipher, icv;
  bool valid = true;
};

void run_vector(const Vector& vector, const CipherRow* row, const NamedBackend& backend) {
  const Note which(vector.name + " on " + backend.name);
  const Cipher cipher = make_cipher(row, vector.key, backend.backend);

  Packet sealed(vector.plain, vector.nonce, vector.additional);
  cipher.seal({&sealed.op, 1});
  CHECK((sealed.text() == vector.cipher && sealed.icv() == vector.icv) == vector.valid);

  Packet opened(vector.cipher, vector.nonce, vector.additional, vector.icv);
  cipher.open({&opened.op, 1});
  CHECK_EQ(opened.op.authentic, vector.valid);
  if (vector.valid) CHECK(opened.text() == vector.plain);
}

/** Wycheproof's vectors of the shape that ESP has: 96-bit nonces, 128-bit ICVs, at most 12 bytes of additional data. */
std::vector<Vector> wycheproof_aead(const std::string& file) {
  std::vector<Vector> vectors;
  const test::Json document = test::read_json_file(test::vectors_directory() + "wycheproof/" + file);
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
  const auto vectors = wycheproof_aead("aes_gcm_test.json");
  CHECK_EQ(vectors.size(), size_t{154});  // of the file's 316; a reader that loses some must not pass
  for (const NamedBackend& backend : backends()) {
    for (const Vector& vector : vectors) run_vector(vector, gcm_row(vector.key), backend);
  }
}

TEST("Wycheproof ChaCha20-Poly1305, every backend") {
  const auto vectors = wycheproof_aead("chacha20_poly1305_test.json");
  CHECK_EQ(vectors.size(), size_t{246});  // of the file's 325
  for (const NamedBackend& backend : backends()) {
    for (const Vector& vector : vectors) run_vector(vector, find_cipher(28, 256), backend);
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
                 gcm_row(fields[0]), backend);
    }
  }
  CHECK_EQ(count, size_t{14});
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
  const IntegrityRow* sha256 = find_integrity(12);
  const Bytes sha256_key(32);
  CHECK(!Cipher::create({.cipher = gcm, .integrity = sha256, .key = key, .integrity_key = sha256_key}).ok());
  const CipherRow* cbc = find_cipher(12, 128);
  const Bytes cbc_key(16);
  CHECK(Cipher::create({.cipher = cbc, .integrity = sha256, .key = cbc_key, .integrity_key = sha256_key}).ok());
  for (const size_t length : std::initializer_list<size_t>{0, 16, 31, 33, 64}) {
    const Bytes wrong(length);
    const auto refused = Cipher::create({.cipher = cbc, .integrity = sha256, .key = cbc_key, .integrity_key = wrong});
    CHECK(!refused.ok());
    CHECK(refused.error().find("32 bytes") != std::string::npos);
  }
}

TEST("encryption without integrity is refused, whatever is allowed for benchmarks (RFC 4303 §3.2.2)") {
  for (const CipherRow& row : cipher_rows()) {
    if (!row.wants_integrity || row.mode == CipherMode::null) continue;
    const Note note{std::string(row.name)};
    const Bytes key(row.key_material_bytes());
    CHECK(!Cipher::create({.cipher = &row, .key = key}).ok());
    CHECK(!Cipher::create({.cipher = &row, .key = key, .allow_unprotected_for_benchmark = true}).ok());
    CHECK(!Cipher::create({.cipher = &row, .integrity = find_integrity(0), .key = key}).ok());
  }
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
    CHECK(row.block_bytes > 0 && (row.block_bytes & (row.block_bytes - 1)) == 0 && row.block_bytes <= 16);
    CHECK(row.icv_bytes <= 16 && row.salt_bytes <= 4);
    CHECK(row.iv_bytes == 0 || row.iv_bytes == 8 || row.iv_bytes == 16);
    CHECK_EQ(row.wants_integrity, row.icv_bytes == 0);
    CHECK_EQ(row.wants_integrity, row.mode != CipherMode::aead);
    // Padding is stored by mode: only CBC has blocks, and its IV is one of them.
    CHECK_EQ(row.block_bytes != 1, row.mode == CipherMode::cbc);
    if (row.mode == CipherMode::cbc) CHECK_EQ(row.iv_bytes, row.block_bytes);
  }
  for (const IntegrityRow& row : integrity_rows()) {
    const Note note{std::string(row.name)};
    CHECK(find_integrity(row.integ) == &row);
    CHECK_EQ(row.hash == Hash::none, row.icv_bytes == 0);
    // Whole words are compared, and OutboundSa counts on twelve bytes behind its padding and trailer.
    CHECK(row.icv_bytes % 4 == 0 && row.icv_bytes <= 32 && (row.icv_bytes == 0 || row.icv_bytes >= 12));
  }
  const CipherRow* gcm = find_cipher(20, 256);
  REQUIRE(gcm != nullptr);
  CHECK_EQ(gcm->name, "aes256gcm16");
  CHECK_EQ(gcm->key_material_bytes(), size_t{36});                   // RFC 4106 §8.1
  CHECK_EQ(find_cipher(13, 128)->key_material_bytes(), size_t{20});  // RFC 3686 §5.1
  CHECK_EQ(find_cipher(28, 256)->key_material_bytes(), size_t{36});  // RFC 7634 §2
  CHECK_EQ(find_cipher(3, 192)->name, "3des");
  CHECK(find_cipher(20, 64) == nullptr);
  CHECK(find_cipher(12, 64) == nullptr);
  CHECK(find_integrity(0) != nullptr);
  CHECK(find_integrity(5) == nullptr);
}

TEST("every backend can say what it is") {
  for (const NamedBackend& backend : backends()) CHECK(!backend_description(backend.backend).empty());
  CHECK(backend_available(default_backend()));
  CHECK_EQ(backend_description(Backend::automatic), backend_description(default_backend()));
}

}  // namespace
}  // namespace culvert::crypto
