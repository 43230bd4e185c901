// Thread: any. As much JSON as test vectors need; what does not parse becomes null and fails the test that wanted it.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace culvert::test {

struct Json {
  enum class Kind { null, boolean, number, string, array, object } kind = Kind::null;
  double number = 0;  // booleans are 0 and 1
  std::string string;
  std::vector<Json> array;
  std::map<std::string, Json, std::less<>> object;

  /** The member, or null. */
  const Json& operator[](std::string_view key) const;
};

/** Null when the file is missing or is not JSON. */
Json read_json_file(const std::string& path);

/** Bytes of a hexadecimal string; empty when it is not one. */
std::vector<unsigned char> from_hex(std::string_view text);

/** The whole file; empty when it cannot be read. */
std::string read_text_file(const std::string& path);

}  // namespace culvert::test
