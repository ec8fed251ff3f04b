// A launch of a linear layer for few rows of x by ordinary arithmetic; see plain.cu.
#pragma once

#include "cuda.h"

namespace sda {
namespace cuda {

// Most rows of x of a call below.
constexpr int64_t kPlainRows = 8;

// As linear_few of few.h, for any weights but quantised ones and up to kPlainRows rows.
void linear_plain(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                  float* y, cudaStream_t stream);

}  // namespace cuda
}  // namespace sda
