// Launches of linear layers for few rows on an NVIDIA GPU; see cuda.cu.
#pragma once

#include <cstdint>

#include "../device.h"

namespace sda {
namespace cuda {

enum class WeightType { kFloat32, kBfloat16, kFloat16 };

// weight [N, K] row by row, on the device.
struct Weights {
  const void* data;
  WeightType type;
  int64_t N, K;
};

// out [M, K] = x / sqrt(mean(x^2) + epsilon) * norm, line by line.
void rms_norm(const float* x, const float* norm, float epsilon, int64_t M, int64_t K, float* out,
              cudaStream_t stream);

// y [M, N] = x W^T + bias + residual for M rows of x; bias [N] and residual [M, N] may be null.
void linear(const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M, float* y,
            cudaStream_t stream);

// y [M, N / 2] = silu(gate) * up, where gate is the first half of x W^T + bias and up the second.
void gated_linear(const Weights& weights, const float* x, const float* bias, int64_t M, float* y,
                  cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
