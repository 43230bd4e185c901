#include "test/check.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace culvert::test {
namespace {

struct Case {
  const char* file;
  const char* name;
  void (*body)();
};

// Functions, so that they exist before the first Registration does.
std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

std::mutex report_mutex;
std::atomic<unsigned> failures_in_case{0};
thread_local std::vector<std::string> notes;
std::string skip_reason;

// A loop that fails every time says so this often.
constexpr unsigned kMaxReportsInCase = 20;
constexpr uint64_t kDefaultSeed = 20240607;

uint64_t seed() {
  static const uint64_t chosen = [] {
    const char* text = std::getenv("CULVERT_TEST_SEED");
    return text == nullptr ? kDefaultSeed : std::strtoull(text, nullptr, 0);
  }();
  return chosen;
}

const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

}  // namespace

Registration::Registration(const char* file, const char* name, void (*body)()) {
  cases().push_back({file, name, body});
}

std::string vectors_directory() { return CULVERT_TEST_VECTORS "/"; }

void report_failure(const char* file, int line, const std::string& what) {
  if (failures_in_case.fetch_add(1) >= kMaxReportsInCase) return;
  const std::scoped_lock lock(report_mutex);
  std::printf("    %s:%d: %s\n", base_name(file), line, what.c_str());
  for (const std::string& note : notes) std::printf("      with %s\n", note.c_str());
}

void skip(std::string reason) { skip_reason = std::move(reason); }

Note::Note(std::string text) { notes.push_back(std::move(text)); }
Note::~Note() { notes.pop_back(); }

Random::Random(uint64_t stream) : state_(seed() + stream * 0x9e3779b97f4a7c15) {}

uint64_t Random::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void Random::fill(std::span<uint8_t> bytes) {
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(next());
}

std::vector<uint8_t> Random::bytes(size_t count) {
  std::vector<uint8_t> made(count);
  fill(made);
  return made;
}

namespace {

/** Runs every case whose name or file contains `filter`; 0 when all of them passed. */
int run(const char* filter) {
  unsigned passed = 0;
  unsigned failed = 0;
  unsigned skipped = 0;
  for (const Case& test : cases()) {
    if (std::strstr(test.name, filter) == nullptr && std::strstr(test.file, filter) == nullptr) continue;
    failures_in_case = 0;
    skip_reason.clear();
    test.body();
    const bool ok = failures_in_case == 0;
    const bool was_skipped = ok && !skip_reason.empty();
    (!ok ? failed : was_skipped ? skipped : passed)++;
    std::printf("%s %s: %s%s%s\n",
                !ok           ? "FAIL"
                : was_skipped ? "skip"
                              : "ok  ",
                base_name(test.file), test.name, was_skipped ? ": " : "", was_skipped ? skip_reason.c_str() : "");
    std::fflush(stdout);
  }
  if (failed != 0) std::printf("seed %llu\n", static_cast<unsigned long long>(seed()));
  std::printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
  // A filter that matches nothing, or a binary without tests, is a mistake and not a success.
  return failed == 0 && passed + skipped > 0 ? 0 : 1;
}

}  // namespace
}  // namespace culvert::test

int main(int argc, char** argv) { return culvert::test::run(argc > 1 ? argv[1] : ""); }
