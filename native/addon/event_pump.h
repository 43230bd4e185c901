// Thread: `notify` any worker; everything else control. Wakes JavaScript when workers have events.
#pragma once
#include <node_api.h>

#include <atomic>

#include "engine/shared.h"

namespace culvert::addon {

/**
 * One call into JavaScript for any number of events: workers only set a flag and queue one call when it was clear. The
 * pump lives until Node has let go of it, which may be after the DataPlane is gone.
 */
class EventPump {
 public:
  using Deliver = void (*)(void* owner, napi_env env);

  /** nullptr with a JavaScript exception pending when Node refuses. */
  static EventPump* create(napi_env env, void* owner, Deliver deliver);

  engine::Notify notifier() { return {notify, this}; }

  /** No call reaches the owner from here on. The workers must have ended. */
  void stop();

 private:
  EventPump(void* owner, Deliver deliver) : owner_(owner), deliver_(deliver) {}

  static void notify(void* context);
  static void call_js(napi_env env, napi_value callback, void* context, void* data);
  static void finalize(napi_env env, void* data, void* hint);

  void* owner_;
  Deliver deliver_;
  napi_threadsafe_function function_ = nullptr;
  std::atomic<bool> pending_{false};
};

}  // namespace culvert::addon
