// Thread: control (JavaScript's). JavaScript values to ours and back. Readers never throw: the first thing that is
// wrong is remembered, and the caller throws it when it has read everything.
#pragma once
#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "base/traffic_selector.h"

namespace culvert::addon {

/** Throws `message` as a JavaScript Error; a leading "EPERM: " becomes its `code`. */
void throw_error(Napi::Env env, const std::string& message);

/** What a reader found wrong first. */
class Problem {
 public:
  bool found() const { return !text_.empty(); }
  void note(const std::string& text) {
    if (text_.empty()) text_ = text;
  }
  /** Throws a TypeError when something was found. */
  bool throw_if_found(Napi::Env env) const;

 private:
  std::string text_;
};

/** Reads the properties of one object. */
class Fields {
 public:
  Fields(Napi::Value value, std::string name, Problem& problem);

  /** An integer of `minimum` to `maximum`; `minimum` when something is wrong. */
  uint64_t integer(const char* name, uint64_t minimum, uint64_t maximum);
  uint32_t u32(const char* name) { return static_cast<uint32_t>(integer(name, 0, 0xffffffff)); }
  uint16_t u16(const char* name) { return static_cast<uint16_t>(integer(name, 0, 0xffff)); }
  uint8_t u8(const char* name) { return static_cast<uint8_t>(integer(name, 0, 0xff)); }
  /** Up to 2^53, which is as far as a JavaScript number counts. */
  uint64_t count(const char* name) { return integer(name, 0, uint64_t{1} << 53); }
  bool boolean(const char* name);
  std::string text(const char* name);
  /** A Uint8Array; a view that is valid while JavaScript does not run. */
  std::span<const uint8_t> bytes(const char* name);
  /** A Uint8Array of 4 or 16. */
  IpAddress address(const char* name);
  /** An array; empty when something is wrong. */
  std::vector<Napi::Value> list(const char* name);

 private:
  Napi::Value get(const char* name);
  void wrong(const char* name, const char* expected);

  Napi::Object object_;
  std::string name_;
  Problem& problem_;
};

/** A Uint8Array of 4 or 16. */
IpAddress read_address(Napi::Value value, const std::string& name, Problem& problem);
std::span<const uint8_t> read_bytes(Napi::Value value, const std::string& name, Problem& problem);
/** `{protocol, startPort, endPort, startAddress, endAddress}` each. */
std::vector<TrafficSelector> read_selectors(Fields& fields, const char* name, Problem& problem);

Napi::Value to_js(Napi::Env env, const IpAddress& address);
inline Napi::Value to_js(Napi::Env env, uint64_t number) { return Napi::Number::New(env, static_cast<double>(number)); }
inline Napi::Value to_js(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

}  // namespace culvert::addon
