// Thread: any. What set-up code returns across a layer: a value, or a sentence that says what is wrong and what to do.
#pragma once
#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace culvert {

/** Why set-up failed. The sentence is shown to an operator: it never holds key material. */
struct Error {
  std::string message;
};

/** A value or an Error; look with `ok()` before `value()`. The packet path returns Drop instead. */
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}              // NOLINT: implicit on purpose, as is the next
  Result(Error error) : error_(std::move(error.message)) {}  // NOLINT

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& value() & {
    assert(ok());
    return *value_;
  }
  const T& value() const& {
    assert(ok());
    return *value_;
  }
  T&& value() && {
    assert(ok());
    return std::move(*value_);
  }
  /** Empty when ok. */
  const std::string& error() const { return error_; }

 private:
  std::optional<T> value_;
  std::string error_;
};

/** Success without a value. */
struct Unit {};

}  // namespace culvert
