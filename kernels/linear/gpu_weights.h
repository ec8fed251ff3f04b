// A TensorFlow matrix as the CUDA kernels take it.
#pragma once

#include "../op.h"
#include "cuda.h"

namespace sda {

// Quantised weights (matrix.h) are for the CPU alone.
constexpr tensorflow::DataType kGpuWeightTypes[] = {DT_FLOAT, tensorflow::DT_BFLOAT16, tensorflow::DT_HALF};

// [N, K] float32, bfloat16 or float16, on the device.
inline cuda::Weights weights_of(const Tensor& tensor) {
  const auto type = tensor.dtype() == DT_FLOAT                ? cuda::WeightType::kFloat32
                    : tensor.dtype() == tensorflow::DT_BFLOAT16 ? cuda::WeightType::kBfloat16
                                                                : cuda::WeightType::kFloat16;
  return {tensor.data(), type, tensor.dim_size(0), tensor.dim_size(1)};
}

}  // namespace sda
