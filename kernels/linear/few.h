// A launch of a linear layer for a few rows of x on an NVIDIA GPU's tensor cores; see few.cu and few_quantised.cu.
#pragma once

#include "cuda.h"

namespace sda {
namespace cuda {

// Most rows of x of a call below.
constexpr int64_t kFewRows = 16;

// Whether the function below takes these: bfloat16 or float16 whose rows begin at multiples of 16 bytes, as those of x
// and the norm, on compute capability 8.0 or later.
bool takes_few(const Weights& weights, const Rows& rows);

// y [M, N] = norm(x) W^T + bias + residual for M up to kFewRows; bias [N] and residual [M, N] may be null. Gated,
// y [M, N / 2] = silu(gate) * up, where gate is the first half of norm(x) W^T + bias and up the second; no residual.
void linear_few(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                float* y, cudaStream_t stream);

// The same for quantised weights whose columns stand in order, K a multiple of 8, on compute capability 8.0 or later; x and
// norm begin at multiples of 16 bytes.
void linear_few_quantised(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                          float* y, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
