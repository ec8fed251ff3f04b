// What every op_gpu.cc starts from: those files are empty unless set-up builds for CUDA.
#pragma once

#if defined(SDA_CUDA)

#include <cuda_runtime.h>

#include "op.h"
#include "xla/stream_executor/stream.h"

namespace sda {

// TensorFlow's own stream: what is launched on it runs after what its operations launched, and nothing waits.
inline cudaStream_t stream_of(OpKernelContext* ctx) {
  return static_cast<cudaStream_t>(ctx->op_device_context()->stream()->platform_specific_handle().stream);
}

// Device memory until the operations that use it are done.
inline absl::Status allocate_bytes(OpKernelContext* ctx, size_t bytes, Tensor* memory) {
  const auto size = static_cast<int64_t>(bytes > 0 ? bytes : 1);
  return ctx->allocate_temp(tensorflow::DT_UINT8, TensorShape({size}), memory);
}

// Whether the launches since the last call were accepted.
inline absl::Status launched(const char* op) {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(op, ": the GPU refuses the launch: ", cudaGetErrorString(error), "."));
}

}  // namespace sda

#endif
