// Thread: one test at a time; CHECK may be used by threads that a test starts. A runner small enough to need no
// exceptions.
//
//   TEST("rejects a header that is cut short") { CHECK_EQ(parse_ip(...), Drop::truncated); }
//
// CHECK and CHECK_EQ go on after a failure, REQUIRE leaves the function. SKIP is for what the machine cannot do (no
// TUN device, no root): it is counted and says why. Note adds a line of context to failures.
#pragma once
#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/drop.h"

namespace culvert::test {

struct Registration {
  Registration(const char* file, const char* name, void (*body)());
};

/** Where the sanctioned vectors are: test/vectors of the source tree, with a slash at the end. */
std::string vectors_directory();

/** Counts a failure and prints it with the notes in force. */
void report_failure(const char* file, int line, const std::string& what);

/** Marks the running test as skipped, with the reason that is printed. Use SKIP, which also leaves the test. */
void skip(std::string reason);

/** While it lives, failures on this thread also print this line. */
class Note {
 public:
  explicit Note(std::string text);
  ~Note();
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;
};

inline std::string describe(std::integral auto value) {
  return sizeof(value) == 1 && !std::same_as<decltype(value), bool> ? std::to_string(static_cast<int>(value))
                                                                    : std::to_string(value);
}
inline std::string describe(std::string_view text) { return std::string(text); }
inline std::string describe(Drop drop) { return std::string(kDropNames[static_cast<size_t>(drop)]); }
template <typename T>
requires std::is_enum_v<T> std::string describe(T value) { return std::to_string(static_cast<long long>(value)); }
inline std::string describe(const void* pointer) { return std::to_string(reinterpret_cast<uintptr_t>(pointer)); }

template <typename A, typename B>
bool check_eq(const A& found, const B& expected, const char* file, int line, const char* expression) {
  if (found == expected) return true;
  report_failure(file, line,
                 std::string(expression) + ": found " + describe(found) + ", expected " + describe(expected));
  return false;
}

inline bool check(bool holds, const char* file, int line, const char* expression) {
  if (!holds) report_failure(file, line, std::string(expression) + " does not hold");
  return holds;
}

/** Numbers that repeat: SplitMix64. CULVERT_TEST_SEED in the environment replaces the default seed. */
class Random {
 public:
  explicit Random(uint64_t stream = 0);
  uint64_t next();
  /** 0 to bound - 1. */
  uint64_t below(uint64_t bound) { return next() % bound; }
  void fill(std::span<uint8_t> bytes);
  std::vector<uint8_t> bytes(size_t count);

 private:
  uint64_t state_;
};

}  // namespace culvert::test

#define CULVERT_JOIN_(a, b) a##b
#define CULVERT_JOIN(a, b) CULVERT_JOIN_(a, b)
#define TEST(name)                                                                       \
  static void CULVERT_JOIN(test_body_, __LINE__)();                                      \
  static const ::culvert::test::Registration CULVERT_JOIN(test_registration_, __LINE__){ \
      __FILE__, name, &CULVERT_JOIN(test_body_, __LINE__)};                              \
  static void CULVERT_JOIN(test_body_, __LINE__)()
#define CHECK(condition) ::culvert::test::check(static_cast<bool>(condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(found, expected) ::culvert::test::check_eq(found, expected, __FILE__, __LINE__, #found)
#define REQUIRE(condition) \
  if (!CHECK(condition)) return
#define SKIP(reason)               \
  do {                             \
    ::culvert::test::skip(reason); \
    return;                        \
  } while (false)
