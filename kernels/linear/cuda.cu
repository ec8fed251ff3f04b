// Linear layers for few rows of x on an NVIDIA GPU: op.cc says what they compute.
//
// A warp takes kRows rows of weights and up to kGroup rows of x: every weight is read from memory once for each kGroup
// rows, 16 bytes a lane at a time, and x comes from the caches. Sums are float32, in an order that depends on K alone: a
// row of x has the same result whatever other rows there are.
// Bytes: those of the weights; x and y are small. Launches: rms_norm 1, linear and gated_linear 1 for each kGroup rows.

#include "cuda.h"

#include "../math.h"
#include "stored.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRows = 2;
constexpr int kGroup = 8;

__global__ void rms_norm_rows(const float* x, const float* norm, float epsilon, int64_t K, float* out) {
  __shared__ float scratch[kWarps];
  const float* line = x + blockIdx.x * K;
  float squares = 0.0f;
  for (int64_t k = threadIdx.x; k < K; k += kThreads) squares += line[k] * line[k];
  squares = reduce_block(squares, Sum(), scratch);
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(K) + epsilon);
  for (int64_t k = threadIdx.x; k < K; k += kThreads) out[blockIdx.x * K + k] = line[k] * scale * norm[k];
}

// dots[r][m] = weight row r . x row m, for every lane. kWide: rows of weights and of x begin at multiples of 16 bytes.
template <typename W, int M, bool kWide>
__device__ void dot_rows(const typename W::Stored* const rows[kRows], const float* x, int64_t K, float dots[kRows][M]) {
  const int lane = threadIdx.x % kWarp;
  for (int r = 0; r < kRows; r++)
    for (int m = 0; m < M; m++) dots[r][m] = 0.0f;
  if constexpr (kWide) {
    for (int64_t k = lane * W::kCount; k < K; k += kWarp * W::kCount) {
      float w[kRows][W::kCount];
      for (int r = 0; r < kRows; r++) W::unpack(*reinterpret_cast<const uint4*>(rows[r] + k), w[r]);
      for (int m = 0; m < M; m++) {
        float v[W::kCount];
        for (int i = 0; i < W::kCount; i += 4) {
          const float4 four = *reinterpret_cast<const float4*>(x + m * K + k + i);
          v[i] = four.x, v[i + 1] = four.y, v[i + 2] = four.z, v[i + 3] = four.w;
        }
        for (int r = 0; r < kRows; r++)
          for (int i = 0; i < W::kCount; i++) dots[r][m] += w[r][i] * v[i];
      }
    }
  } else {
    for (int64_t k = lane; k < K; k += kWarp)
      for (int r = 0; r < kRows; r++)
        for (int m = 0; m < M; m++) dots[r][m] += W::value(rows[r][k]) * x[m * K + k];
  }
  for (int r = 0; r < kRows; r++)
    for (int m = 0; m < M; m++) dots[r][m] = reduce_warp(dots[r][m], Sum());
}

struct Output {
  const float *bias, *residual;
  float* y;
};

template <typename W, int M, bool kWide>
__global__ void linear_rows(const typename W::Stored* weight, const float* x, int64_t N, int64_t K, Output out) {
  const int64_t n = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp) * kRows;
  if (n >= N) return;
  const typename W::Stored* rows[kRows];
  for (int r = 0; r < kRows; r++) rows[r] = weight + (n + r < N ? n + r : N - 1) * K;
  float dots[kRows][M];
  dot_rows<W, M, kWide>(rows, x, K, dots);
  if (threadIdx.x % kWarp > 0) return;
  for (int r = 0; r < kRows && n + r < N; r++) {
    for (int m = 0; m < M; m++) {
      float value = dots[r][m];
      if (out.bias) value += out.bias[n + r];
      if (out.residual) value += out.residual[m * N + n + r];
      out.y[m * N + n + r] = value;
    }
  }
}

// A warp has row n of gate and row n of up.
template <typename W, int M, bool kWide>
__global__ void gated_rows(const typename W::Stored* weight, const float* x, int64_t N, int64_t K, Output out) {
  static_assert(kRows == 2, "gate and up");
  const int64_t I = N / 2, n = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (n >= I) return;
  const typename W::Stored* rows[kRows] = {weight + n * K, weight + (I + n) * K};
  float dots[kRows][M];
  dot_rows<W, M, kWide>(rows, x, K, dots);
  if (threadIdx.x % kWarp > 0) return;
  for (int m = 0; m < M; m++) {
    const float gate = dots[0][m] + (out.bias ? out.bias[n] : 0.0f);
    const float up = dots[1][m] + (out.bias ? out.bias[I + n] : 0.0f);
    out.y[m * I + n] = silu(gate) * up;
  }
}

template <typename W, int M>
void launch(bool gated, const Weights& weights, const float* x, const Output& out, cudaStream_t stream) {
  using Stored = typename W::Stored;
  const Stored* weight = static_cast<const Stored*>(weights.data);
  const int64_t N = weights.N, K = weights.K;
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool wide = K % W::kCount == 0 && K % 4 == 0 && aligned(weight) && aligned(x);
  const unsigned blocks = ceil_div(gated ? N / 2 : N, gated ? kWarps : kWarps * kRows);
  if (gated && wide) SDA_LAUNCH((gated_rows<W, M, true>), blocks, kThreads, 0, stream, weight, x, N, K, out);
  if (gated && !wide) SDA_LAUNCH((gated_rows<W, M, false>), blocks, kThreads, 0, stream, weight, x, N, K, out);
  if (!gated && wide) SDA_LAUNCH((linear_rows<W, M, true>), blocks, kThreads, 0, stream, weight, x, N, K, out);
  if (!gated && !wide) SDA_LAUNCH((linear_rows<W, M, false>), blocks, kThreads, 0, stream, weight, x, N, K, out);
}

template <typename W, int Most>
void launch_upto(int64_t M, bool gated, const Weights& weights, const float* x, const Output& out,
                 cudaStream_t stream) {
  if constexpr (Most > 1) {
    if (M < Most) return launch_upto<W, Most - 1>(M, gated, weights, x, out, stream);
  }
  launch<W, Most>(gated, weights, x, out, stream);
}

void run(bool gated, const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M,
         float* y, cudaStream_t stream) {
  const int64_t width = gated ? weights.N / 2 : weights.N;
  for (int64_t m = 0; m < M; m += kGroup) {
    const int64_t rows = M - m < kGroup ? M - m : kGroup;
    const Output out = {bias, residual ? residual + m * width : nullptr, y + m * width};
    const float* from = x + m * weights.K;
    switch (weights.type) {
      case WeightType::kFloat32: launch_upto<Float32, kGroup>(rows, gated, weights, from, out, stream); break;
      case WeightType::kBfloat16: launch_upto<Bfloat16, kGroup>(rows, gated, weights, from, out, stream); break;
      case WeightType::kFloat16: launch_upto<Float16, kGroup>(rows, gated, weights, from, out, stream); break;
    }
  }
}

}  // namespace

void rms_norm(const float* x, const float* norm, float epsilon, int64_t M, int64_t K, float* out,
              cudaStream_t stream) {
  SDA_LAUNCH(rms_norm_rows, static_cast<unsigned>(M), kThreads, 0, stream, x, norm, epsilon, K, out);
}

void linear(const Weights& weights, const float* x, const float* bias, const float* residual, int64_t M, float* y,
            cudaStream_t stream) {
  run(false, weights, x, bias, residual, M, y, stream);
}

void gated_linear(const Weights& weights, const float* x, const float* bias, int64_t M, float* y,
                  cudaStream_t stream) {
  run(true, weights, x, bias, nullptr, M, y, stream);
}

}  // namespace cuda
}  // namespace sda
