// What few.cu and plain.cu share: a call of few rows, and what follows its products.
#pragma once

#include "../math.h"
#include "cuda.h"

namespace sda {
namespace cuda {

struct Call {
  int64_t N, K;
  const float *x, *norm, *bias, *residual;
  float epsilon;
  int count;  // rows of x
  float* y;
};

inline Call call_of(const Weights& weights, const Rows& rows, const float* bias, const float* residual, float* y) {
  return {weights.N, weights.K, rows.x, rows.norm, bias, residual, rows.epsilon, static_cast<int>(rows.M), y};
}

// 1 / RMS of a row of K values, by the sum of their squares.
__device__ inline float rms_scale(float squares, int64_t K, float epsilon) {
  return 1.0f / sqrtf(squares / static_cast<float>(K) + epsilon);
}

// Writes y[m][n] of a row's products with rows of weights: `value` with row n; gated, `value` with gate n and `up` with up
// n.
template <bool kGated>
__device__ void finish(const Call& call, int m, int64_t n, float scale, float value, float up) {
  const int64_t width = kGated ? call.N / 2 : call.N, to = m * width + n;
  value = scale * value + (call.bias ? call.bias[n] : 0.0f);
  if constexpr (kGated) value = silu(value) * (scale * up + (call.bias ? call.bias[width + n] : 0.0f));
  else value += call.residual ? call.residual[to] : 0.0f;
  call.y[to] = value;
}

}  // namespace cuda
}  // namespace sda
