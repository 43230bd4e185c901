#include "test/json.h"

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace culvert::test {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json value = parse(0);
    skip_space();
    return failed_ || at_ != text_.size() ? Json{} : value;
  }

 private:
  static constexpr int kMaxDepth = 32;

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) at_++;
  }
  bool take(std::string_view token) {
    skip_space();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  Json fail() {
    failed_ = true;
    return {};
  }

  Json parse(int depth) {
    Json value;
    if (failed_ || depth > kMaxDepth) return fail();
    if (take("{")) return parse_object(depth);
    if (take("[")) return parse_array(depth);
    if (take("null")) return value;
    if (take("true") || take("false")) {
      value.kind = Json::Kind::boolean;
      value.number = text_[at_ - 2] == 'u' ? 1 : 0;
      return value;
    }
    skip_space();
    if (at_ < text_.size() && text_[at_] == '"') {
      value.kind = Json::Kind::string;
      value.string = parse_string();
      return value;
    }
    return parse_number();
  }

  Json parse_object(int depth) {
    Json value;
    value.kind = Json::Kind::object;
    if (take("}")) return value;
    do {
      skip_space();
      std::string key = parse_string();
      if (!take(":")) return fail();
      value.object[std::move(key)] = parse(depth + 1);
    } while (!failed_ && take(","));
    return take("}") ? value : fail();
  }

  Json parse_array(int depth) {
    Json value;
    value.kind = Json::Kind::array;
    if (take("]")) return value;
    do {
      value.array.push_back(parse(depth + 1));
    } while (!failed_ && take(","));
    return take("]") ? value : fail();
  }

  std::string parse_string() {
    std::string value;
    if (at_ >= text_.size() || text_[at_++] != '"') return fail().string;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\') at_++;  // vectors are hexadecimal: what an escape stands for is of no interest
      if (at_ < text_.size()) value += text_[at_++];
    }
    if (at_ >= text_.size()) return fail().string;
    at_++;
    return value;
  }

  Json parse_number() {
    Json value;
    const std::string digits(text_.substr(at_, 32));
    char* end = nullptr;
    value.kind = Json::Kind::number;
    value.number = std::strtod(digits.c_str(), &end);
    if (end == digits.c_str()) return fail();
    at_ += static_cast<size_t>(end - digits.c_str());
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
  bool failed_ = false;
};

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

const Json& Json::operator[](std::string_view key) const {
  static const Json null;
  const auto member = object.find(key);
  return member == object.end() ? null : member->second;
}

Json read_json_file(const std::string& path) { return Parser(read_text_file(path)).document(); }

std::vector<unsigned char> from_hex(std::string_view text) {
  std::vector<unsigned char> bytes;
  if (text.size() % 2 != 0) return {};
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = nibble(text[i]);
    const int low = nibble(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes.push_back(static_cast<unsigned char>(high << 4 | low));
  }
  return bytes;
}

std::string read_text_file(const std::string& path) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  std::string text;
  if (!file) return text;
  char chunk[65536];
  size_t got;
  while ((got = std::fread(chunk, 1, sizeof chunk, file.get())) > 0) text.append(chunk, got);
  return text;
}

}  // namespace culvert::test
