// Linear layers for few rows of x on an NVIDIA GPU by ordinary arithmetic: op.cc says what they compute. For what tensor
// cores do not take (few.cu): float32 weights, rows that do not begin at multiples of 16 bytes, older devices.
//
// A warp takes kRows rows of weights, or a part of their columns, and all rows of x: every weight is read from memory
// once, 16 bytes a lane at a time, and x comes from the caches. RMSNorm costs no launch:
// norm(x) W^T = scale * ((x * norm) W^T), and the squares for `scale` are summed beside the products. Sums are float32,
// in an order that depends on the weights' shape alone: a row of x has the same result whatever other rows there are.
// Bytes: those of the weights; x and y are small. Launches: 1.

#include "plain.h"

#include "call.h"
#include "stored.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRows = 2;

// Weights are read once: they do not push x out of the caches.
__device__ uint4 load_once(const void* at) { return __ldcs(static_cast<const uint4*>(at)); }

// A sum a warp hands over: kRows x M products, then the squares of M rows of x.
template <int M>
constexpr int kSums = kRows * M + M;

// Sums over the columns of this warp: every `split`-th step of kWarp * kCount, from the `part`-th on. kWide: rows of
// weights, of x and norm begin at multiples of 16 bytes. Rows of x after the `count`-th are taken as the last.
template <typename W, int M, bool kNorm, bool kWide>
__device__ void sum_rows(const typename W::Stored* const rows[kRows], const float* x, int count, const float* norm,
                         int64_t K, int part, int split, float* sums) {
  const int lane = threadIdx.x % kWarp;
  float dots[kRows][M] = {}, squares[M] = {};
  const float* lines[M];
  for (int m = 0; m < M; m++) lines[m] = x + (m < count ? m : count - 1) * K;
  if constexpr (kWide) {
    const int64_t step = static_cast<int64_t>(split) * kWarp * W::kCount;
    constexpr int kAhead = M <= 2 ? 4 : 2;  // all of a lane's loads of weights first
    for (int64_t base = (part * kWarp + lane) * W::kCount; base < K; base += kAhead * step) {
      uint4 raw[kAhead][kRows];
#pragma unroll
      for (int a = 0; a < kAhead; a++)
        for (int r = 0; r < kRows; r++)
          raw[a][r] = base + a * step < K ? load_once(rows[r] + base + a * step) : uint4{0, 0, 0, 0};
#pragma unroll
      for (int a = 0; a < kAhead; a++) {
        const int64_t k = base + a * step;
        if (k >= K) break;
        float w[kRows][W::kCount], g[W::kCount];
        for (int r = 0; r < kRows; r++) W::unpack(raw[a][r], w[r]);
        if constexpr (kNorm) load_floats<W::kCount>(norm + k, g);
        for (int m = 0; m < M; m++) {
          float v[W::kCount];
          load_floats<W::kCount>(lines[m] + k, v);
          for (int i = 0; i < W::kCount; i++) {
            if constexpr (kNorm) squares[m] += v[i] * v[i], v[i] *= g[i];
            for (int r = 0; r < kRows; r++) dots[r][m] += w[r][i] * v[i];
          }
        }
      }
    }
  } else {
    for (int64_t k = part * kWarp + lane; k < K; k += split * kWarp) {
      for (int m = 0; m < M; m++) {
        float v = lines[m][k];
        if constexpr (kNorm) squares[m] += v * v, v *= norm[k];
        for (int r = 0; r < kRows; r++) dots[r][m] += W::value(rows[r][k]) * v;
      }
    }
  }
  for (int m = 0; m < M; m++) {
    for (int r = 0; r < kRows; r++) {
      const float dot = reduce_warp(dots[r][m], Sum());
      if (lane == 0) sums[r * M + m] = dot;
    }
    if constexpr (kNorm) {
      const float sum = reduce_warp(squares[m], Sum());
      if (lane == 0) sums[kRows * M + m] = sum;
    }
  }
}

// What the warps of a block that share rows summed up, in their order.
template <int M>
__device__ float total(const float (*sums)[kSums<M>], int split, int which) {
  float sum = 0.0f;
  for (int part = 0; part < split; part++) sum += sums[part][which];
  return sum;
}

// `split` warps share a unit, and a block has kWarps / split units. A unit is two neighbouring rows of weights, or
// gated the rows n and N / 2 + n.
template <typename W, int M, bool kGated, bool kNorm, bool kWide>
__global__ void few_rows(const typename W::Stored* weight, Call call, int split) {
  static_assert(kRows == 2, "gate and up");
  __shared__ float sums[kWarps][kSums<M>];
  await_previous();
  const int64_t N = call.N, K = call.K, units = kGated ? N / 2 : (N + 1) / 2;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kWarps / split);
  const auto row = [=](int64_t unit, int r) { return kGated ? r * units + unit : unit * kRows + r; };
  const int warp = threadIdx.x / kWarp;
  const int64_t unit = first + warp / split < units ? first + warp / split : units - 1;
  const typename W::Stored* rows[kRows];
  for (int r = 0; r < kRows; r++) rows[r] = weight + (row(unit, r) < N ? row(unit, r) : N - 1) * K;
  sum_rows<W, M, kNorm, kWide>(rows, call.x, call.count, call.norm, K, warp % split, split, sums[warp]);
  __syncthreads();

  constexpr int kOutputs = kGated ? M : kRows * M;  // of a unit
  for (int i = threadIdx.x; i < kWarps / split * kOutputs; i += kThreads) {
    const int m = i % M, r = i / M % (kOutputs / M);
    const int64_t at = first + i / kOutputs, n = row(at, r);
    if (at >= units || n >= N || m >= call.count) continue;
    const float (*mine)[kSums<M>] = sums + i / kOutputs * split;
    const float scale = kNorm ? rms_scale(total<M>(mine, split, kRows * M + m), K, call.epsilon) : 1.0f;
    finish<kGated>(call, m, n, scale, total<M>(mine, split, r * M + m), kGated ? total<M>(mine, split, M + m) : 0.0f);
  }
}

// How many warps share a unit: more where there are few units, so that the device has enough loads on their way.
int split_of(int64_t units, int64_t K, int step) {
  constexpr int64_t kEnough = 4096;  // 32 warps on each of 128 multiprocessors
  int split = 1;
  while (split < 4 && split * units < kEnough && split * step < K) split *= 2;
  return split;
}

template <typename W, int M, bool kGated, bool kNorm>
void launch(const Weights& weights, const Call& call, cudaStream_t stream) {
  using Stored = typename W::Stored;
  const Stored* weight = static_cast<const Stored*>(weights.data);
  const bool wide = call.K % W::kCount == 0 && call.K % 4 == 0 && is_aligned(weight) && is_aligned(call.x) &&
                    is_aligned(call.norm);
  const int64_t units = kGated ? call.N / 2 : (call.N + 1) / 2;
  const int split = split_of(units, call.K, kWarp * W::kCount);
  const unsigned blocks = ceil_div(units, kWarps / split);
  if (wide) {
    SDA_LAUNCH((few_rows<W, M, kGated, kNorm, true>), blocks, kThreads, 0, stream, weight, call, split);
  } else {
    SDA_LAUNCH((few_rows<W, M, kGated, kNorm, false>), blocks, kThreads, 0, stream, weight, call, split);
  }
}

template <typename W, int M>
void launch(bool gated, const Weights& weights, const Call& call, cudaStream_t stream) {
  if (gated) return call.norm ? launch<W, M, true, true>(weights, call, stream)
                              : launch<W, M, true, false>(weights, call, stream);
  return call.norm ? launch<W, M, false, true>(weights, call, stream)
                   : launch<W, M, false, false>(weights, call, stream);
}

template <typename W>
void launch(bool gated, const Weights& weights, const Call& call, cudaStream_t stream) {
  if (call.count > 4) return launch<W, 8>(gated, weights, call, stream);
  if (call.count > 2) return launch<W, 4>(gated, weights, call, stream);
  if (call.count > 1) return launch<W, 2>(gated, weights, call, stream);
  launch<W, 1>(gated, weights, call, stream);
}

}  // namespace

void linear_plain(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                  float* y, cudaStream_t stream) {
  const Call call = call_of(weights, rows, bias, residual, y);
  switch (weights.type) {
    case WeightType::kFloat32: return launch<Float32>(gated, weights, call, stream);
    case WeightType::kBfloat16: return launch<Bfloat16>(gated, weights, call, stream);
    case WeightType::kFloat16: return launch<Float16>(gated, weights, call, stream);
    default: return;  // quantised: few_quantised.cu
  }
}

}  // namespace cuda
}  // namespace sda
