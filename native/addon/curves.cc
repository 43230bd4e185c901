#include "addon/curves.h"

#include "addon/values.h"
#include "crypto/curves.h"

namespace culvert::addon {
namespace {

// 0, which is no curve's, for what is no transform ID.
uint32_t group_of(const Napi::CallbackInfo& info) {
  const int64_t number = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : 0;
  return number < 0 || number > 0xffff ? 0 : static_cast<uint32_t>(number);
}

// A TypeError is pending when this is none.
std::optional<crypto::CurveSizes> sizes_or_throw(const Napi::CallbackInfo& info, Problem& problem) {
  const auto sizes = crypto::curve_sizes(group_of(info));
  if (!sizes) problem.note("group is not one of a curve");
  if (problem.throw_if_found(info.Env())) return std::nullopt;
  return sizes;
}

// (group, privateKey) → Uint8Array, or undefined when it is not a private key.
Napi::Value public_value(const Napi::CallbackInfo& info) {
  Problem problem;
  const auto private_key = read_bytes(info[1], "privateKey", problem);
  const auto sizes = sizes_or_throw(info, problem);
  if (!sizes) return {};
  auto value = Napi::Uint8Array::New(info.Env(), sizes->public_bytes);
  if (!crypto::curve_public_value(group_of(info), private_key, {value.Data(), value.ElementLength()})) {
    return info.Env().Undefined();
  }
  return value;
}

// (group, privateKey, publicValue) → Uint8Array, or undefined when one of the two is none.
Napi::Value shared_secret(const Napi::CallbackInfo& info) {
  Problem problem;
  const auto private_key = read_bytes(info[1], "privateKey", problem);
  const auto peer = read_bytes(info[2], "publicValue", problem);
  const auto sizes = sizes_or_throw(info, problem);
  if (!sizes) return {};
  auto secret = Napi::Uint8Array::New(info.Env(), sizes->secret_bytes);
  if (!crypto::curve_shared_secret(group_of(info), private_key, peer, {secret.Data(), secret.ElementLength()})) {
    return info.Env().Undefined();
  }
  return secret;
}

}  // namespace

Napi::Object make_curves(Napi::Env env) {
  Napi::Object curves = Napi::Object::New(env);
  curves.Set("publicValue", Napi::Function::New<public_value>(env, "publicValue"));
  curves.Set("sharedSecret", Napi::Function::New<shared_secret>(env, "sharedSecret"));
  return curves;
}

}  // namespace culvert::addon
