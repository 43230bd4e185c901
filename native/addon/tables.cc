#include "addon/tables.h"

#include "addon/values.h"
#include "crypto/algorithms.h"

namespace culvert::addon {
namespace {

struct Row {
  const char* name;
  const char* severity;  // drops only
  const char* text;
};

constexpr Row kDrops[] = {
#define DROP(name, severity, text) {#name, #severity, text},
#include "tables/drops.def"
#undef DROP
};
constexpr Row kCounters[] = {
#define COUNTER(name, text) {#name, nullptr, text},
#include "tables/counters.def"
#undef COUNTER
};
constexpr Row kEvents[] = {
#define EVENT(name, text) {#name, nullptr, text},
#include "tables/events.def"
#undef EVENT
};

Napi::Array rows_to_js(Napi::Env env, std::span<const Row> rows) {
  Napi::Array array = Napi::Array::New(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", rows[i].name);
    if (rows[i].severity != nullptr) object.Set("severity", rows[i].severity);
    object.Set("text", rows[i].text);
    array.Set(i, object);
  }
  return array;
}

}  // namespace

Napi::Object make_tables(Napi::Env env) {
  Napi::Object tables = Napi::Object::New(env);
  tables.Set("drops", rows_to_js(env, kDrops));
  tables.Set("counters", rows_to_js(env, kCounters));
  tables.Set("events", rows_to_js(env, kEvents));

  Napi::Array ciphers = Napi::Array::New(env);
  for (const crypto::CipherRow& row : crypto::cipher_rows()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", to_js(env, row.name));
    object.Set("encr", to_js(env, uint64_t{row.encr}));
    object.Set("keyBits", to_js(env, uint64_t{row.key_bits}));
    object.Set("saltBytes", to_js(env, uint64_t{row.salt_bytes}));
    object.Set("ivBytes", to_js(env, uint64_t{row.iv_bytes}));
    object.Set("icvBytes", to_js(env, uint64_t{row.icv_bytes}));
    object.Set("blockBytes", to_js(env, uint64_t{row.block_bytes}));
    object.Set("wantsIntegrity", Napi::Boolean::New(env, row.wants_integrity));
    ciphers.Set(ciphers.Length(), object);
  }
  tables.Set("ciphers", ciphers);

  Napi::Array integrities = Napi::Array::New(env);
  for (const crypto::IntegrityRow& row : crypto::integrity_rows()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", to_js(env, row.name));
    object.Set("integ", to_js(env, uint64_t{row.integ}));
    object.Set("keyBits", to_js(env, uint64_t{row.key_bits}));
    object.Set("icvBytes", to_js(env, uint64_t{row.icv_bytes}));
    integrities.Set(integrities.Length(), object);
  }
  tables.Set("integrities", integrities);
  return tables;
}

}  // namespace culvert::addon
