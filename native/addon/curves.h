// Thread: control (JavaScript's). The curves of IKE's key exchange for TypeScript.
#pragma once
#include <napi.h>

namespace culvert::addon {

/** `{publicValue, sharedSecret}`, the functions of NativeCurves in src/dataplane/native.ts. */
Napi::Object make_curves(Napi::Env env);

}  // namespace culvert::addon
