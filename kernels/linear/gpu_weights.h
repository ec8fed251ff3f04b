// A TensorFlow matrix as the CUDA kernels take it.
#pragma once

#include "../op.h"
#include "cuda.h"
#include "matrix.h"

namespace sda {

constexpr tensorflow::DataType kGpuWeightTypes[] = {DT_FLOAT, tensorflow::DT_BFLOAT16, tensorflow::DT_HALF,
                                                    tensorflow::DT_INT32};

// On the device: [N, K] float32, bfloat16 or float16, or quantised as is told.
inline cuda::Weights weights_of(const Tensor& tensor, const QuantisedShape* told) {
  if (is_quantised(tensor)) return cuda::quantised_weights(tensor.data(), *told);
  const auto type = tensor.dtype() == DT_FLOAT                ? cuda::WeightType::kFloat32
                    : tensor.dtype() == tensorflow::DT_BFLOAT16 ? cuda::WeightType::kBfloat16
                                                                : cuda::WeightType::kFloat16;
  return {tensor.data(), type, tensor.dim_size(0), tensor.dim_size(1)};
}

// Whether the device takes them.
inline absl::Status check_taken(const char* op, const cuda::Weights& weights) {
  if (cuda::takes(weights)) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(op, ": quantised weights need a GPU of compute capability 8.0 or later; take floats (--dtype bfloat16)."));
}

}  // namespace sda
