// Thread: control (JavaScript's). The DataPlane class of the addon: the engine with JavaScript values.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/event_pump.h"
#include "crypto/cipher.h"
#include "engine/engine.h"

namespace culvert::addon {

/** `src/dataplane/native.ts` declares the same methods, with types. */
class DataPlane : public Napi::ObjectWrap<DataPlane> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit DataPlane(const Napi::CallbackInfo& info);
  ~DataPlane() override;

 private:
  Napi::Value install_sa(const Napi::CallbackInfo& info);
  Napi::Value remove_sa(const Napi::CallbackInfo& info);
  Napi::Value sa_totals(const Napi::CallbackInfo& info);
  Napi::Value publish(const Napi::CallbackInfo& info);
  Napi::Value publish_connections(const Napi::CallbackInfo& info);
  Napi::Value send_ike(const Napi::CallbackInfo& info);
  Napi::Value send_keepalive(const Napi::CallbackInfo& info);
  Napi::Value send_probe(const Napi::CallbackInfo& info);
  Napi::Value update_sa(const Napi::CallbackInfo& info);
  Napi::Value read_counters(const Napi::CallbackInfo& info);
  Napi::Value list_sas(const Napi::CallbackInfo& info);
  Napi::Value describe(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  void shut_down();
  static void end_with_environment(void* self);
  bool is_open(Napi::Env env);
  void deliver(Napi::Env env);

  std::unique_ptr<engine::Engine> engine_;
  EventPump* pump_ = nullptr;  // Node's: see EventPump
  Napi::FunctionReference on_events_;
  std::vector<uint8_t> records_;  // of the batch that is being delivered
  crypto::Backend backend_ = crypto::Backend::automatic;
  bool allow_bench_null_ = false;
};

}  // namespace culvert::addon
