#include "addon/values.h"

#include <cmath>
#include <cstring>

namespace culvert::addon {

void throw_error(Napi::Env env, const std::string& message) {
  // "EPERM: what: why; remedy" → code EPERM, and the rest is the sentence.
  const size_t colon = message.find(": ");
  const bool has_code = colon != std::string::npos && message[0] == 'E' &&
                        message.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == colon;
  Napi::Error error = Napi::Error::New(env, has_code ? message.substr(colon + 2) : message);
  if (has_code) error.Set("code", Napi::String::New(env, message.substr(0, colon)));
  error.ThrowAsJavaScriptException();
}

bool Problem::throw_if_found(Napi::Env env) const {
  if (!found()) return false;
  Napi::TypeError::New(env, text_).ThrowAsJavaScriptException();
  return true;
}

Fields::Fields(Napi::Value value, std::string name, Problem& problem) : name_(std::move(name)), problem_(problem) {
  if (value.IsObject()) {
    object_ = value.As<Napi::Object>();
  } else {
    problem_.note(name_ + " is not an object");
    object_ = Napi::Object::New(value.Env());
  }
}

Napi::Value Fields::get(const char* name) { return object_.Get(name); }

void Fields::wrong(const char* name, const char* expected) {
  problem_.note(name_ + "." + name + " is not " + expected);
}

uint64_t Fields::integer(const char* name, uint64_t minimum, uint64_t maximum) {
  const Napi::Value value = get(name);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= static_cast<double>(minimum) && number <= static_cast<double>(maximum)) ||
      number != std::floor(number)) {
    problem_.note(name_ + "." + name + " is not an integer from " + std::to_string(minimum) + " to " +
                  std::to_string(maximum));
    return minimum;
  }
  return static_cast<uint64_t>(number);
}

bool Fields::boolean(const char* name) {
  const Napi::Value value = get(name);
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  wrong(name, "a boolean");
  return false;
}

std::string Fields::text(const char* name) {
  const Napi::Value value = get(name);
  if (value.IsString()) return value.As<Napi::String>().Utf8Value();
  wrong(name, "a string");
  return {};
}

std::span<const uint8_t> Fields::bytes(const char* name) { return read_bytes(get(name), name_ + "." + name, problem_); }

IpAddress Fields::address(const char* name) { return read_address(get(name), name_ + "." + name, problem_); }

std::vector<Napi::Value> Fields::list(const char* name) {
  const Napi::Value value = get(name);
  std::vector<Napi::Value> items;
  if (!value.IsArray()) {
    wrong(name, "an array");
    return items;
  }
  const Napi::Array array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) items.push_back(array.Get(i));
  return items;
}

std::span<const uint8_t> read_bytes(Napi::Value value, const std::string& name, Problem& problem) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    problem.note(name + " is not a Uint8Array");
    return {};
  }
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

IpAddress read_address(Napi::Value value, const std::string& name, Problem& problem) {
  const std::span<const uint8_t> bytes = read_bytes(value, name, problem);
  if (bytes.size() == 4) return IpAddress::load_ipv4(bytes.data());
  if (bytes.size() == 16) return IpAddress::load_ipv6(bytes.data());
  problem.note(name + " is not an address of 4 or 16 bytes");
  return {};
}

std::vector<TrafficSelector> read_selectors(Fields& fields, const char* name, Problem& problem) {
  std::vector<TrafficSelector> selectors;
  for (const Napi::Value& value : fields.list(name)) {
    Fields selector(value, name, problem);
    selectors.push_back({.start_address = selector.address("startAddress"),
                         .end_address = selector.address("endAddress"),
                         .start_port = selector.u16("startPort"),
                         .end_port = selector.u16("endPort"),
                         .protocol = selector.u8("protocol")});
  }
  return selectors;
}

Napi::Value to_js(Napi::Env env, const IpAddress& address) {
  auto bytes = Napi::Uint8Array::New(env, address.bytes());
  address.store(bytes.Data());
  return bytes;
}

}  // namespace culvert::addon
