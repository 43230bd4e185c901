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

/** The lines of a file of test/vectors/esp, without comments, cut at spaces. */
std::vector<std::vector<std::string>> read_lines(const std::string& file) {
  const std::string text = test::read_text_file(test::vectors_directory() + "esp/" + file);
  std::vector<std::vector<std::string>> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.empty() || line[0] == '#') continue;
    auto& fields = lines.emplace_back();
    for (size_t from = 0; from < line.size();) {
      const size_t space = std::min(line.find(' ', from), line.size());
      fields.push_back(line.substr(from, space - from));
      from = space + 1;
    }
  }
  return lines;
}

void run_esp_vectors(const std::string& file, size_t expected, const CipherRow* (*row_of)(const Bytes& key)) {
  const auto lines = read_lines(file);
  CHECK_EQ(lines.size(), expected);
  for (const auto& line : lines) {
    REQUIRE(line.size() == 6);
    std::vector<Bytes> fields;
    for (const std::string& field : line) fields.push_back(test::from_hex(field));
    for (const NamedBackend& backend : backends()) {
      run_vector({.name = file + " " + line[0] + " " + line[1],
                  .key = fields[0],
                  .nonce = fields[1],
                  .additional = fields[2],
                  .plain = fields[3],
                  .cipher = fields[4],
                  .icv = fields[5]},
                 row_of(fields[0]), backend);
    }
  }
}

TEST("AES-GCM in ESP, draft-mcgrew-gcm-test-01, every backend") { run_esp_vectors("gcm-esp.txt", 14, gcm_row); }

TEST("ChaCha20-Poly1305 in ESP, RFC 7634 appendix A, every backend") {
  run_esp_vectors("chacha-esp.txt", 1, [](const Bytes&) { return find_cipher(28, 256); });
}

// ---- ciphers and HMACs that are not one algorithm ----

/** How many of one packet go into a burst: one alone, and so many that they fill vector lanes and leave some over. */
constexpr size_t kBursts[] = {1, 2, 19};

/** Runs one plaintext and ciphertext through `row` with an HMAC, which is only a means here. */
void run_cipher_vector(const std::string& name, const CipherRow* row, const Bytes& key, const Bytes& nonce,
                       const Bytes& plain, const Bytes& encrypted) {
  const IntegrityRow* sha256 = find_integrity(12);
  for (const NamedBackend& backend : backends()) {
    const Note which(name + " on " + backend.name);
    const Cipher cipher = make_cipher(row, key, backend.backend, sha256, Bytes(32, 7));
    for (const size_t burst : kBursts) {
      std::vector<Packet> packets;
      std::vector<CipherOp> ops;
      for (size_t i = 0; i < burst; i++) packets.emplace_back(plain, nonce, Bytes{}, Bytes(16), Bytes(24, 9));
      for (const Packet& packet : packets) ops.push_back(packet.op);
      cipher.seal(ops);
      for (const Packet& packet : packets) CHECK(packet.text() == encrypted);
      cipher.open(ops);
      for (size_t i = 0; i < burst; i++) CHECK(ops[i].authentic && packets[i].text() == plain);
    }
  }
}

TEST("AES-CBC, AES-CTR, DES and 3DES: RFC 3602, RFC 3686, FIPS 81, every backend") {
  const auto lines = read_lines("ciphers.txt");
  CHECK_EQ(lines.size(), size_t{19});
  for (const auto& line : lines) {
    REQUIRE(line.size() == 5);
    const Bytes key = test::from_hex(line[1]);
    const CipherRow* row =
        find_cipher(static_cast<uint16_t>(std::stoi(line[0])), static_cast<uint16_t>(key.size() * 8));
    REQUIRE(row != nullptr);
    run_cipher_vector(line[0] + " " + line[1], row, key, test::from_hex(line[2]), test::from_hex(line[3]),
                      test::from_hex(line[4]));
  }
}

TEST("Wycheproof AES-CBC, every key size, every backend") {
  size_t count = 0;
  const test::Json document = test::read_json_file(test::vectors_directory() + "wycheproof/aes_cbc_pkcs5_test.json");
  for (const test::Json& group : document["testGroups"].array) {
    for (const test::Json& item : group["tests"].array) {
      if (item["result"].string != "valid") continue;  // the others are about PKCS #5, which ESP does not use
      count++;
      Bytes plain = test::from_hex(item["msg"].string);
      const auto padding = static_cast<uint8_t>(16 - plain.size() % 16);
      plain.insert(plain.end(), padding, padding);
      const Bytes key = test::from_hex(item["key"].string);
      run_cipher_vector("tcId " + std::to_string(static_cast<int>(item["tcId"].number)),
                        find_cipher(12, static_cast<uint16_t>(key.size() * 8)), key, test::from_hex(item["iv"].string),
                        plain, test::from_hex(item["ct"].string));
    }
  }
  CHECK_EQ(count, size_t{72});
}

/** Runs one message through ENCR_NULL, as text, and again with its beginning as header and its end as additional data.
 */
void run_hmac_vector(const std::string& name, const IntegrityRow* row, const Bytes& key, const Bytes& message,
                     const Bytes& icv, bool valid = true) {
  for (const NamedBackend& backend : backends()) {
    const Note which(name + " on " + backend.name);
    const Cipher cipher = make_cipher(find_cipher(11, 0), {}, backend.backend, row, key);
    const size_t header = std::min<size_t>(message.size(), 8);
    const size_t additional = std::min<size_t>(message.size() - header, 4);
    for (const size_t burst : kBursts) {
      for (const bool divided : {false, true}) {
        const auto begin = message.begin() + static_cast<ptrdiff_t>(divided ? header : 0);
        const auto end = message.end() - static_cast<ptrdiff_t>(divided ? additional : 0);
        std::vector<Packet> packets;
        std::vector<CipherOp> ops;
        for (size_t i = 0; i < burst; i++) {
          packets.emplace_back(Bytes(begin, end), Bytes{}, Bytes(end, message.end()), icv,
                               Bytes(message.begin(), begin));
        }
        for (const Packet& packet : packets) ops.push_back(packet.op);
        cipher.open(ops);
        for (const CipherOp& op : ops) CHECK_EQ(op.authentic, valid);
        cipher.seal(ops);
        for (const Packet& packet : packets) CHECK_EQ(packet.icv() == icv, valid);
      }
    }
  }
}

TEST("HMACs as ESP cuts them: RFC 2202, RFC 4868, every backend") {
  const auto lines = read_lines("hmacs.txt");
  CHECK_EQ(lines.size(), size_t{15});
  for (const auto& line : lines) {
    REQUIRE(line.size() == 4);
    run_hmac_vector(line[0] + " " + line[1], find_integrity(static_cast<uint16_t>(std::stoi(line[0]))),
                    test::from_hex(line[1]), test::from_hex(line[2]), test::from_hex(line[3]));
  }
}

TEST("Wycheproof HMAC with keys of the length that ESP uses, every backend") {
  const std::pair<const char*, uint16_t> files[] = {{"sha1", 2}, {"sha256", 12}, {"sha384", 13}, {"sha512", 14}};
  size_t count = 0;
  for (const auto& [hash, integ] : files) {
    const IntegrityRow* row = find_integrity(integ);
    const test::Json document =
        test::read_json_file(test::vectors_directory() + "wycheproof/hmac_" + hash + "_test.json");
    for (const test::Json& group : document["testGroups"].array) {
      // An ICV is the first bytes of the whole tag; a tag that is shorter than the ICV is of no use.
      if (group["keySize"].number != row->key_bits || group["tagSize"].number < row->icv_bytes * 8) continue;
      for (const test::Json& item : group["tests"].array) {
        const bool valid = item["result"].string == "valid";
        const Bytes tag = test::from_hex(item["tag"].string);
        // A tag that is wrong only behind the part that travels is right here.
        if (!valid && tag.size() != row->icv_bytes) continue;
        const Bytes message = test::from_hex(item["msg"].string);
        if (message.empty()) continue;  // ESP has a header at least, and ipsec-mb wants a byte
        count++;
        run_hmac_vector(std::string(hash) + " tcId " + std::to_string(static_cast<int>(item["tcId"].number)), row,
                        test::from_hex(item["key"].string), message, {tag.begin(), tag.begin() + row->icv_bytes},
                        valid);
      }
    }
  }
  CHECK_EQ(count, size_t{263});
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
