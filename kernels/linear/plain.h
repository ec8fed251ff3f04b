// Launches of linear layers for few rows of x by ordinary arithmetic; see plain.cu.
#pragma once

#include "cuda.h"

namespace sda {
namespace cuda {

// y [M, N] = norm(x) W^T + bias + residual; bias [N] and residual [M, N] may be null.
void linear_plain(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y,
                  cudaStream_t stream);

// y [M, N / 2] = silu(gate) * up, where gate is the first half of norm(x) W^T + bias and up the second.
void gated_linear_plain(const Weights& weights, const Rows& rows, const float* bias, float* y, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
