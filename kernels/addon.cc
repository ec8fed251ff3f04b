// The Node module around the kernels. Loading it runs the REGISTER_OP and REGISTER_KERNEL_BUILDER lines of
// every kernels/<name>/op.cc, after which TensorFlow, and so tfjs, can run the operations by name. What it
// exports is the list of those names.

#include <node_api.h>

#include "registry.h"

namespace {

napi_value Init(napi_env env, napi_value exports) {
  napi_value list;
  napi_create_array(env, &list);
  uint32_t index = 0;
  for (const char* name : sda::operation_names()) {
    napi_value text;
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, list, index++, text);
  }
  napi_set_named_property(env, exports, "operations", list);
  return exports;
}

}  // namespace

NAPI_MODULE(sda_kernels, Init)
