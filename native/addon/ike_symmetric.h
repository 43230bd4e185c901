// Thread: control (JavaScript's). IKE's hashes, prf+ and Encrypted payload for TypeScript.
#pragma once
#include <napi.h>

namespace culvert::addon {

/** The object that NativeSymmetric in src/dataplane/native.ts describes. */
Napi::Object make_ike_symmetric(Napi::Env env);

}  // namespace culvert::addon
