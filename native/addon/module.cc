// Thread: control (JavaScript's). What `require` gives: the DataPlane class, the native tables, the
// curves and the ciphers of IKE, the kernel's routes.
// State is per environment: every worker_thread that loads the addon has its own.
#include <napi.h>

#include "addon/curves.h"
#include "addon/data_plane.h"
#include "addon/ike_symmetric.h"
#include "addon/tables.h"

#if __has_include("addon/kernel.h")
#include "addon/kernel.h"
#define CULVERT_HAVE_KERNEL 1
#else
#define CULVERT_HAVE_KERNEL 0
#endif

namespace culvert::addon {

class Module : public Napi::Addon<Module> {
 public:
  Module(Napi::Env env, Napi::Object exports) {
    DefineAddon(exports,
                {InstanceValue("DataPlane", DataPlane::define(env)), InstanceValue("tables", make_tables(env)),
                 InstanceValue("curves", make_curves(env)), InstanceValue("symmetric", make_ike_symmetric(env))});
#if CULVERT_HAVE_KERNEL
    init_kernel(env, exports);
#endif
  }
};

NODE_API_ADDON(Module)

}  // namespace culvert::addon
