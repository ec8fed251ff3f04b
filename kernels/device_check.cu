#include "device_check.h"

#include <cuda_runtime.h>

namespace sda {
namespace cuda {
namespace {

__global__ void nothing() {}

}  // namespace

const char* device_problem() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, nothing);
  if (error == cudaSuccess) return "";
  cudaGetLastError();  // cleared: TensorFlow would report it as its own
  return cudaGetErrorString(error);
}

}  // namespace cuda
}  // namespace sda
