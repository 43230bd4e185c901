// Thread: control (JavaScript's). The native tables as JavaScript data.
#pragma once
#include <napi.h>

namespace culvert::addon {

/** `{drops, counters, events, ciphers, integrities}`: the rows of the .def files in their order. */
Napi::Object make_tables(Napi::Env env);

}  // namespace culvert::addon
