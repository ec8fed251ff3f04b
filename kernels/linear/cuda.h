// Launches of linear layers on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device.h"
#include "quantised.h"

namespace sda {
namespace cuda {

enum class WeightType { kFloat32, kBfloat16, kFloat16, kInt8, kInt4 };

// weight [N, K] on the device: row by row, or the bytes of a quantised matrix, header first, that `quantised` describes.
struct Weights {
  const void* data;
  WeightType type;
  int64_t N, K;
  QuantisedShape quantised = {};  // of kInt8 and kInt4
};

inline bool is_quantised(const Weights& weights) {
  return weights.type == WeightType::kInt8 || weights.type == WeightType::kInt4;
}

inline Weights quantised_weights(const void* data, const QuantisedShape& shape) {
  return {data, shape.bits == 8 ? WeightType::kInt8 : WeightType::kInt4, shape.N, shape.K, shape};
}

// M rows of K values, normalised first where `norm` [K] is there: x / sqrt(mean(x^2) + epsilon) * norm.
struct Rows {
  const float* x;
  int64_t M;
  const float* norm;
  float epsilon;
};

// Whether the calls below take these weights on the current device: quantised ones need compute capability 8.0.
bool takes(const Weights& weights);

// Bytes of device memory that a call below works in; it begins at a multiple of 16 bytes.
size_t linear_scratch_bytes(const Weights& weights, int64_t M);

// y [M, N] = norm(x) W^T + bias + residual; bias [N] and residual [M, N] may be null.
void linear(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
            void* scratch, cudaStream_t stream);

// y [M, N / 2] = silu(gate) * up, where gate is the first half of norm(x) W^T + bias and up the second. Quantised weights
// have two parts here, and one above.
void gated_linear(const Weights& weights, const Rows& rows, const float* bias, float* y, void* scratch,
                  cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
