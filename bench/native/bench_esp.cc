// Clocks per packet of encap_run and decap_run alone: no sockets, no routing. Every figure is the median of many
// rounds over a ring of buffers that are in the second-level cache, as packets fresh from the kernel are.
//
//   bench_esp [--json] [--run N] [--ring N] [--rounds N] [--backend ipsec-mb|portable|null] [--algorithm NAME | --all]
//
// --run is the number of packets of one call: 64 is a full burst, 1 a lone packet. NAME is spelled as in a proposal,
// aes128gcm16 or aes128-sha1. Without it every cipher is measured, with SHA-1 and SHA-256 where it needs integrity;
// --all adds the other hashes.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_order.h"
#include "clock.h"
#include "crypto/algorithms.h"
#include "crypto/cipher.h"
#include "esp/inbound_sa.h"
#include "esp/outbound_sa.h"

namespace {

using namespace culvert;
using bench::Figures;
using bench::kUnit;
using bench::now;
using bench::summarise;

constexpr size_t kPacketSizes[] = {64, 512, 1400};  // inner packets, bytes
constexpr size_t kBufferBytes = 2048;
constexpr size_t kHeadroom = 128;
constexpr uint32_t kSpi = 0x1000;
constexpr std::chrono::milliseconds kWarmUp{100};
constexpr std::chrono::milliseconds kLongest{1000};  // for one row: slow algorithms get fewer rounds
constexpr size_t kFewestRounds = 21;

struct Options {
  bool json = false;
  size_t run = 64;
  size_t ring = 256;
  size_t rounds = 2001;
  std::string backend;
  std::string algorithm;
  bool all = false;
};

/** A cipher and, unless it is a combined mode, an integrity algorithm. */
struct Suite {
  const crypto::CipherRow* cipher;
  const crypto::IntegrityRow* integrity;

  bool is_null() const { return cipher->mode == crypto::CipherMode::null && integrity->hash == crypto::Hash::none; }
  /** As in a proposal: aes128-sha1; ENCR_NULL without integrity, which exists here only, is null. */
  std::string name() const {
    std::string name(cipher->name);
    return integrity->hash == crypto::Hash::none ? name : name + "-" + std::string(integrity->name);
  }
};

struct Row {
  std::string algorithm;
  std::string backend;
  size_t bytes;
  Figures encap;
  Figures decap;
};

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "bench_esp: %s\n", why.c_str());
  std::exit(1);
}

struct FreeBuffer {
  void operator()(uint8_t* memory) const { std::free(memory); }
};

/** Packets of one size in buffers of their own, and both ends of an SA. */
class Bench {
 public:
  Bench(const Suite& suite, crypto::Backend backend, size_t bytes, const Options& options)
      : bytes_(bytes), options_(options) {
    const crypto::CipherRow& row = *suite.cipher;
    const std::vector<uint8_t> key(row.key_material_bytes(), 0x5a);
    const std::vector<uint8_t> integrity_key(suite.integrity->key_bits / 8u, 0xa5);
    const TrafficSelector any{{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}, 0, 65535, 0};
    esp::SaParams common;
    common.spi = kSpi;
    common.encr = row.encr;
    common.encr_key_bits = row.key_bits;
    common.encr_key = key;
    common.integ = suite.integrity->integ;
    common.integ_key = integrity_key;
    common.local_selectors = common.remote_selectors = {&any, 1};
    common.backend = backend;
    common.allow_unprotected_for_benchmark = suite.is_null();
    auto outbound = esp::OutboundSa::create({common});
    if (!outbound) fail(outbound.error());
    outbound_ = std::move(outbound).value();
    auto inbound = esp::InboundSa::create({common});
    if (!inbound) fail(inbound.error());
    inbound_ = std::move(inbound).value();

    memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(4096, options.ring * kBufferBytes)));
    std::memset(memory_.get(), 0, options.ring * kBufferBytes);
    encap_items_.resize(options.ring);
    decap_items_.resize(options.ring);
  }

  Row measure(std::string algorithm, std::string backend) {
    std::vector<double> encap;
    std::vector<double> decap;
    // A core that just began to use wide vectors runs slowly for a while: that is not what is measured.
    const auto warm = std::chrono::steady_clock::now() + kWarmUp;
    while (std::chrono::steady_clock::now() < warm) {
      encap_round();
      decap_round();
    }
    const auto end = std::chrono::steady_clock::now() + kLongest;
    for (size_t round = 0; round < options_.rounds; round++) {
      if (round >= kFewestRounds && std::chrono::steady_clock::now() > end) break;
      encap.push_back(encap_round());
      decap.push_back(decap_round());
    }
    return {std::move(algorithm), std::move(backend), bytes_, summarise(encap), summarise(decap)};
  }

 private:
  double encap_round() {
    for (size_t i = 0; i < options_.ring; i++) {
      uint8_t* inner = memory_.get() + i * kBufferBytes + kHeadroom;
      const uint8_t header[20] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2};
      std::memcpy(inner, header, sizeof header);
      store_be16(inner + 2, static_cast<uint16_t>(bytes_));
      encap_items_[i] = {inner, static_cast<uint32_t>(bytes_), 4, Drop::none, nullptr, 0};
    }
    const uint64_t start = now();
    for (size_t done = 0; done < options_.ring; done += options_.run) {
      esp::encap_run(*outbound_, std::span(encap_items_).subspan(done, std::min(options_.run, options_.ring - done)));
    }
    return per_packet(now() - start);
  }

  double decap_round() {
    for (size_t i = 0; i < options_.ring; i++) {
      const esp::EncapItem& sealed = encap_items_[i];
      if (sealed.drop != Drop::none) fail("a packet was not sealed");
      decap_items_[i] = {sealed.esp, sealed.esp_length, Drop::none, 0, nullptr, 0};
    }
    const uint64_t start = now();
    for (size_t done = 0; done < options_.ring; done += options_.run) {
      esp::decap_run(*inbound_, std::span(decap_items_).subspan(done, std::min(options_.run, options_.ring - done)));
    }
    const uint64_t spent = now() - start;
    for (const esp::DecapItem& opened : decap_items_) {
      if (opened.drop != Drop::none || opened.inner_length != bytes_) fail("a packet was not opened");
    }
    return per_packet(spent);
  }

  double per_packet(uint64_t clocks) const { return static_cast<double>(clocks) / static_cast<double>(options_.ring); }

  size_t bytes_;
  const Options& options_;
  std::unique_ptr<esp::OutboundSa> outbound_;
  std::unique_ptr<esp::InboundSa> inbound_;
  std::unique_ptr<uint8_t, FreeBuffer> memory_;
  std::vector<esp::EncapItem> encap_items_;
  std::vector<esp::DecapItem> decap_items_;
};

const struct {
  const char* name;
  crypto::Backend backend;
} kBackends[] = {{"ipsec-mb", crypto::Backend::ipsec_mb}, {"portable", crypto::Backend::portable}};

/**
 * What is measured: --algorithm's suite, or with --all every suite there is, or else every cipher, those that need
 * integrity with SHA-1 and SHA-256.
 */
std::vector<Suite> chosen_suites(const Options& options) {
  constexpr crypto::Hash kUsual[] = {crypto::Hash::sha1, crypto::Hash::sha256};
  std::vector<Suite> suites;
  for (const crypto::CipherRow& cipher : crypto::cipher_rows()) {
    for (const crypto::IntegrityRow& integrity : crypto::integrity_rows()) {
      const Suite suite{&cipher, &integrity};
      const bool has_integrity = integrity.hash != crypto::Hash::none;
      if (has_integrity != cipher.wants_integrity && !suite.is_null()) continue;
      const bool is_usual = std::find(std::begin(kUsual), std::end(kUsual), integrity.hash) != std::end(kUsual);
      const bool is_chosen =
          options.algorithm.empty() ? options.all || !has_integrity || is_usual : suite.name() == options.algorithm;
      if (is_chosen) suites.push_back(suite);
    }
  }
  return suites;
}

std::vector<Row> measure_all(const Options& options) {
  std::vector<Row> rows;
  for (const Suite& suite : chosen_suites(options)) {
    const bool is_null = suite.is_null();
    for (const auto& [name, backend] : kBackends) {
      const std::string label = is_null ? "null" : name;
      const bool again = is_null && backend != kBackends[0].backend;
      if (again || !crypto::backend_available(backend)) continue;
      if (!options.backend.empty() && options.backend != label) continue;
      for (const size_t bytes : kPacketSizes) {
        const auto row = [&] {
          const auto used = is_null ? crypto::Backend::portable : backend;
          return Bench(suite, used, bytes, options).measure(suite.name(), label);
        };
        // A machine that was idle takes a second to get up to speed: what is measured first is measured twice.
        if (rows.empty()) row();
        rows.push_back(row());
      }
    }
  }
  return rows;
}

void print_table(const std::vector<Row>& rows, const Options& options) {
  std::printf("%s per packet, median of up to %zu rounds (best round in brackets), runs of %zu, ring of %zu\n", kUnit,
              options.rounds, options.run, options.ring);
  std::printf("%s\n\n", std::string(crypto::backend_description(crypto::Backend::ipsec_mb)).c_str());
  std::printf("%-17s %-9s %6s %18s %18s\n", "algorithm", "backend", "bytes", "encap", "decap");
  for (const Row& row : rows) {
    std::printf("%-17s %-9s %6zu %9.1f (%6.1f) %9.1f (%6.1f)\n", row.algorithm.c_str(), row.backend.c_str(), row.bytes,
                row.encap.median, row.encap.best, row.decap.median, row.decap.best);
  }
}

void print_json(const std::vector<Row>& rows, const Options& options) {
  std::printf("{\"unit\":\"%s\",\"run\":%zu,\"ring\":%zu,\"rounds\":%zu,\"rows\":[", kUnit, options.run, options.ring,
              options.rounds);
  const char* separator = "";
  for (const Row& row : rows) {
    std::printf(
        "%s{\"algorithm\":\"%s\",\"backend\":\"%s\",\"bytes\":%zu,\"encap\":%.1f,\"encapBest\":%.1f,\"decap\":%.1f,"
        "\"decapBest\":%.1f}",
        separator, row.algorithm.c_str(), row.backend.c_str(), row.bytes, row.encap.median, row.encap.best,
        row.decap.median, row.decap.best);
    separator = ",";
  }
  std::printf("]}\n");
}

size_t positive(const char* text) {
  const long value = std::strtol(text, nullptr, 10);
  if (value < 1 || value > 1000000) fail(std::string("not a number from 1 to 1000000: ") + text);
  return static_cast<size_t>(value);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i++) {
    const std::string_view flag = argv[i];
    if (flag == "--json") {
      options.json = true;
      continue;
    }
    if (flag == "--all") {
      options.all = true;
      continue;
    }
    if (i + 1 == argc) fail("unknown option, or a value is missing: " + std::string(flag));
    const char* value = argv[++i];
    if (flag == "--run") {
      options.run = positive(value);
    } else if (flag == "--ring") {
      options.ring = positive(value);
    } else if (flag == "--rounds") {
      options.rounds = positive(value);
    } else if (flag == "--backend") {
      options.backend = value;
    } else if (flag == "--algorithm") {
      options.algorithm = value;
    } else {
      fail("unknown option: " + std::string(flag));
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const std::vector<Row> rows = measure_all(options);
  if (rows.empty()) fail("nothing matches --backend and --algorithm");
  if (options.json) {
    print_json(rows, options);
  } else {
    print_table(rows, options);
  }
  return 0;
}
