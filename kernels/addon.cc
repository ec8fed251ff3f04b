// The Node module around the kernels. Loading it runs the REGISTER_OP and REGISTER_KERNEL_BUILDER lines of
// every kernels/<name>/op.cc, after which TensorFlow, and so tfjs, can run the operations by name. It exports
// the list of those names, that of the operations with a form for the GPU, the forms of products with quantised weights that
// this processor has (the fastest first), `gpuProblem` and `prepareMemory`.

#include <node_api.h>

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "linear/quantised_forms.h"
#include "registry.h"

#if defined(SDA_CUDA)
#include "device_check.h"
#endif

namespace {

// prepareMemory(buffer: ArrayBuffer): number. Asks for huge pages, which matter to a stream through hundreds of
// megabytes, where the system hands them out on request; call it before the buffer is filled. Returns how many bytes
// into the buffer the first multiple of 64 lies: TensorFlow copies tensors that start elsewhere.
napi_value PrepareMemory(napi_env env, napi_callback_info info) {
  size_t count = 1, length = 0;
  napi_value argument, result;
  void* data = nullptr;
  if (napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr) != napi_ok || count != 1 ||
      napi_get_arraybuffer_info(env, argument, &data, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "prepareMemory: an ArrayBuffer is expected");
    return nullptr;
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096;
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage, last = (begin + length) / kPage * kPage;
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  napi_create_uint32(env, static_cast<uint32_t>((64 - begin % 64) % 64), &result);
  return result;
}

void ExportNames(napi_env env, napi_value exports, const char* property, const std::vector<const char*>& names) {
  napi_value list;
  napi_create_array(env, &list);
  uint32_t index = 0;
  for (const char* name : names) {
    napi_value text;
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, list, index++, text);
  }
  napi_set_named_property(env, exports, property, list);
}

// gpuProblem(): string. Why the GPU forms do not run on this machine's device; empty where they do.
napi_value GpuProblem(napi_env env, napi_callback_info) {
  const char* problem = "";
#if defined(SDA_CUDA)
  problem = sda::cuda::device_problem();
#endif
  napi_value text;
  napi_create_string_utf8(env, problem, NAPI_AUTO_LENGTH, &text);
  return text;
}

void SetFunction(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

napi_value Init(napi_env env, napi_value exports) {
  ExportNames(env, exports, "operations", sda::operation_names());
  ExportNames(env, exports, "gpuOperations", sda::gpu_operation_names());
  ExportNames(env, exports, "quantisedForms", sda::quantised_form_names());
  SetFunction(env, exports, "gpuProblem", GpuProblem);
  SetFunction(env, exports, "prepareMemory", PrepareMemory);
  return exports;
}

}  // namespace

NAPI_MODULE(sda_kernels, Init)
