#include "addon/event_pump.h"

namespace culvert::addon {

EventPump* EventPump::create(napi_env env, void* owner, Deliver deliver) {
  auto* pump = new EventPump(owner, deliver);
  napi_value name = nullptr;
  napi_create_string_utf8(env, "culvert events", NAPI_AUTO_LENGTH, &name);
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, pump, finalize, pump,
                                                             call_js, &pump->function_);
  if (status == napi_ok) return pump;
  delete pump;
  napi_throw_error(env, nullptr, "the event stream could not be created");
  return nullptr;
}

void EventPump::stop() {
  owner_ = nullptr;
  napi_release_threadsafe_function(function_, napi_tsfn_abort);
}

void EventPump::notify(void* context) {
  auto* pump = static_cast<EventPump*>(context);
  if (pump->pending_.exchange(true)) return;
  napi_call_threadsafe_function(pump->function_, nullptr, napi_tsfn_nonblocking);
}

void EventPump::call_js(napi_env env, napi_value, void* context, void*) {
  auto* pump = static_cast<EventPump*>(context);
  // Cleared first: what a worker pushes from here on is either seen by this call or brings another.
  pump->pending_.store(false);
  if (env != nullptr && pump->owner_ != nullptr) pump->deliver_(pump->owner_, env);
}

void EventPump::finalize(napi_env, void* data, void*) { delete static_cast<EventPump*>(data); }

}  // namespace culvert::addon
