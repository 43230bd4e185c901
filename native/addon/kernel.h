// Thread: control (JavaScript's). The kernel's links, routes, rules and systemd's notification socket for TypeScript.
#pragma once
#include <napi.h>

namespace culvert::addon {

// Adds the functions of `src/dataplane/kernel.ts` to `exports.kernel`.
void init_kernel(Napi::Env env, Napi::Object exports);

}  // namespace culvert::addon
