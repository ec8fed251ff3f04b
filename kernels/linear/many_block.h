// A block's part of a linear layer for many rows: see many.cu. For it alone.
#pragma once

#include <type_traits>

#include "../async_copy.h"
#include "../math.h"
#include "cuda.h"
#include "quantised_view.h"

#if defined(SDA_CUDA_EMULATE)
#include "../../test/cuda/wmma.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
#endif

namespace sda {
namespace cuda {
namespace many {

namespace wmma = nvcuda::wmma;
using bfloat16 = __nv_bfloat16;
using XPart = wmma::fragment<wmma::matrix_a, 16, 16, 16, bfloat16, wmma::row_major>;
using WeightPart = wmma::fragment<wmma::matrix_b, 16, 16, 16, bfloat16, wmma::col_major>;
using Sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;

constexpr int kColumns = 128;                          // of y in a tile: rows of weights
constexpr int kWarpRows = 32, kWarpColumns = 64;       // of a warp
constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 16;
constexpr int kStep = 32;                              // columns of x in a stage
constexpr int kPitch = kStep + 8;                      // of a row there: 8 rows at one column lie in different banks
constexpr int kEight = 8;                              // numbers in 16 bytes
constexpr int kChunk = 256 / kStep;                    // steps
constexpr int kOutPitch = kWarpColumns + 4;
constexpr size_t kShared = 96 * 1024;                  // a block's at most on capability 8.6 and 8.9: 99 KB

template <WeightType kType>
constexpr bool kQuantised = kType == WeightType::kInt8 || kType == WeightType::kInt4;

// One tile's places in shared memory, counted in bfloat16 numbers.
template <WeightType kType, int kRows>
struct Tile {
  static constexpr int kThreads = kRows / kWarpRows * (kColumns / kWarpColumns) * kWarp;
  static constexpr int kX = kRows * kPitch, kWeights = kColumns * kPitch;  // one part of each
  static constexpr int kWeightParts = kType == WeightType::kBfloat16 ? 1 : 2;
  static constexpr int kStage = 2 * kX + kWeightParts * kWeights;
  static constexpr int kFit = static_cast<int>(kShared / (kStage * sizeof(bfloat16)));
  static constexpr int kStages = kFit < 4 ? kFit : 4;
  static constexpr size_t kBytes = kStages * kStage * sizeof(bfloat16) + 32;  // 32 to align
  static constexpr int kXRuns = kRows * kStep / kEight / kThreads;            // of 16 bytes, a thread and part
  static constexpr int kWeightRuns = kColumns * kStep / kEight / kThreads;
  static_assert(kStages >= 2, "one to fill while another is used");
  static_assert(kThreads / kWarp * 16 * kOutPitch * sizeof(float) <= kStages * kStage * sizeof(bfloat16), "for write");
};

struct Problem {
  const uint16_t* weight;
  const bfloat16* x;  // hi [rows, depth], then lo, zero beyond M and K
  int64_t M, N, K, rows, depth;
  const float *bias, *residual;
  float* y;
  bool gated;
};
struct QuantisedProblem : Problem {
  QuantisedView view;  // in place of `weight`
};
template <WeightType kType>
using ProblemOf = std::conditional_t<kQuantised<kType>, QuantisedProblem, Problem>;

struct Parts {
  bfloat16 hi, lo;
};
__device__ inline Parts split(float value) {
  const bfloat16 hi = __float2bfloat16_rn(value);
  return {hi, __float2bfloat16_rn(value - __bfloat162float(hi))};
}

#if defined(SDA_CUDA_EMULATE) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

// The row of weights in row r of this block's tile, null beyond the last. A gated warp has 32 columns of gate and the
// same of up.
__device__ inline const uint16_t* weight_row(const Problem& p, int r) {
  if (!p.gated) {
    const int64_t n = static_cast<int64_t>(blockIdx.y) * kColumns + r;
    return n < p.N ? p.weight + n * p.K : nullptr;
  }
  const int64_t n = (static_cast<int64_t>(blockIdx.y) * kColumns + r / kWarpColumns * kWarpColumns) / 2 + r % 32;
  const bool up = r % kWarpColumns >= 32;
  return n < p.N / 2 ? p.weight + (n + (up ? p.N / 2 : 0)) * p.K : nullptr;
}

// Eight quantised weights of row r of this block's tile, columns 8 t to 8 t + 7 of a step, which is a group: their words,
// the scale, and the zero point.
template <int kBits>
__device__ uint4 read_quantised(const QuantisedProblem& p, int r, int step, int t) {
  static_assert(kStep == kQuantGroup, "one scale a step");
  if (static_cast<int64_t>(step) * kStep >= p.K) return uint4{0, 0, 0, 0};
  int64_t n = static_cast<int64_t>(blockIdx.y) * kColumns + r;
  bool up = false;
  if (p.gated) {
    n = (static_cast<int64_t>(blockIdx.y) * kColumns + r / kWarpColumns * kWarpColumns) / 2 + r % 32;
    up = r % kWarpColumns >= 32;
  }
  if (n >= (p.gated ? p.N / 2 : p.N)) return uint4{0, 0, 0, 0};
  const uint8_t* const block = p.view.blocks + (up ? p.view.part_bytes : 0) + n / kQuantRows * p.view.block_bytes;
  const int row = static_cast<int>(n % kQuantRows);
  unsigned words[2];
  load_eight<kBits>(p.view, block, step, row, t, words);
  const float scale = scale_at(p.view, block, step, row), zero = zero_at<kBits>(p.view, block, step, row);
  return uint4{words[0], words[1], static_cast<unsigned>(float_to_bits(scale)), static_cast<unsigned>(float_to_bits(zero))};
}

// Eight weights of a row from column k on, zero where there are none.
template <bool kWide>
__device__ uint4 read_eight(const uint16_t* row, int64_t k, int64_t K) {
  if (row == nullptr || k >= K) return uint4{0, 0, 0, 0};
  if constexpr (kWide) {
    return *reinterpret_cast<const uint4*>(row + k);
  } else {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int64_t at = k + 2 * i;
      words[i] = (at < K ? row[at] : 0u) | (at + 1 < K ? row[at + 1] : 0u) << 16;
    }
    return uint4{words[0], words[1], words[2], words[3]};
  }
}

template <WeightType kType, bool kWide, int kRows>
class Block {
  using T = Tile<kType, kRows>;
  static constexpr bool kAsync = kWide && kType == WeightType::kBfloat16;
  static constexpr int kBits = kType == WeightType::kInt8 ? 8 : 4;  // of quantised ones

 public:
  __device__ Block(const ProblemOf<kType>& problem, bfloat16* shared) : p(problem), stages(shared) {}

  __device__ void run() {
    Sums total[kDown][kAcross], chunk[kDown][kAcross];
    clear(total);
    clear(chunk);
    const int steps = static_cast<int>(p.depth / kStep);
    for (int step = 0; step < T::kStages - 1; step++) request(step, steps);
    fetch(0);
    place(0);
    for (int step = 0; step < steps; step++) {
      await_copies<T::kStages - 2>();
      __syncthreads();  // this step's stage is there, and the one before is free
      request(step + T::kStages - 1, steps);
      fetch(step + 1);
      multiply(stage(step), chunk);
      place(step + 1);
      if (step % kChunk == kChunk - 1 || step == steps - 1) add(chunk, total);
    }
    await_copies<0>();
    __syncthreads();
    write(total);
  }

 private:
  using Grid = Sums[kDown][kAcross];
  const ProblemOf<kType>& p;
  bfloat16* const stages;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int top = warp / 2 * kWarpRows, left = warp % 2 * kWarpColumns;
  uint4 fetched[T::kWeightRuns];

  __device__ bfloat16* stage(int step) const { return stages + step % T::kStages * T::kStage; }
  // Run i of this thread: its row, and its first column in a step.
  __device__ static int row_of(int i) { return (threadIdx.x + i * T::kThreads) / (kStep / kEight); }
  __device__ static int column_of() { return threadIdx.x % (kStep / kEight) * kEight; }

  // Begins to copy what is needed of a step; an empty group beyond the last.
  __device__ void request(int step, int steps) const {
    if (step < steps) {
      const int64_t k = static_cast<int64_t>(step) * kStep + column_of();
#pragma unroll
      for (int i = 0; i < T::kXRuns; i++) {
        const bfloat16* from = p.x + (static_cast<int64_t>(blockIdx.x) * kRows + row_of(i)) * p.depth + k;
        bfloat16* to = stage(step) + row_of(i) * kPitch + column_of();
        copy_async(to, from);
        copy_async(to + T::kX, from + p.rows * p.depth);
      }
      if constexpr (kAsync) {
#pragma unroll
        for (int i = 0; i < T::kWeightRuns; i++) {
          const uint16_t* row = weight_row(p, row_of(i));
          bfloat16* to = stage(step) + 2 * T::kX + row_of(i) * kPitch + column_of();
          const bool there = row && k < p.K;
          copy_async(to, there ? row + k : p.weight, there);
        }
      }
    }
    commit_copies();
  }

  // Weights that do not go by cp.async, into registers.
  __device__ void fetch(int step) {
    if constexpr (kQuantised<kType>) {
#pragma unroll
      for (int i = 0; i < T::kWeightRuns; i++)
        fetched[i] = read_quantised<kBits>(p, row_of(i), step, column_of() / kEight);
    } else if constexpr (!kAsync) {
#pragma unroll
      for (int i = 0; i < T::kWeightRuns; i++)
        fetched[i] = read_eight<kWide>(weight_row(p, row_of(i)), static_cast<int64_t>(step) * kStep + column_of(), p.K);
    }
  }

  // Number j of what was fetched.
  __device__ static float weight_in(const unsigned words[4], int j) {
    if constexpr (kQuantised<kType>) {
      const float scale = bits_to_float(static_cast<int32_t>(words[2])), zero = bits_to_float(static_cast<int32_t>(words[3]));
      return scale * (value_of<kBits>(words, j) - zero);
    } else {
      return half_to_float(words[j / 2] >> j % 2 * 16 & 0xffff);
    }
  }

  // And from there into shared memory.
  __device__ void place(int step) const {
    if constexpr (!kAsync) {
#pragma unroll
      for (int i = 0; i < T::kWeightRuns; i++) {
        bfloat16* to = stage(step) + 2 * T::kX + row_of(i) * kPitch + column_of();
        if constexpr (kType == WeightType::kBfloat16) {
          *reinterpret_cast<uint4*>(to) = fetched[i];
        } else {
          const unsigned words[4] = {fetched[i].x, fetched[i].y, fetched[i].z, fetched[i].w};
          alignas(16) bfloat16 hi[kEight], lo[kEight];
#pragma unroll
          for (int j = 0; j < kEight; j++) {
            const Parts both = split(weight_in(words, j));
            hi[j] = both.hi, lo[j] = both.lo;
          }
          *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(hi);
          *reinterpret_cast<uint4*>(to + T::kWeights) = *reinterpret_cast<const uint4*>(lo);
        }
      }
    }
  }

  // nvcc 13 makes four loads of 4 bytes a lane of a fragment's load, not ldmatrix: the same bytes, more instructions.
  __device__ void multiply(const bfloat16* from, Grid& sums) const {
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      XPart hi[kDown], lo[kDown];
#pragma unroll
      for (int i = 0; i < kDown; i++) {
        wmma::load_matrix_sync(hi[i], from + (top + 16 * i) * kPitch + k, kPitch);
        wmma::load_matrix_sync(lo[i], from + T::kX + (top + 16 * i) * kPitch + k, kPitch);
      }
#pragma unroll
      for (int j = 0; j < kAcross; j++) {
        const bfloat16* at = from + 2 * T::kX + (left + 16 * j) * kPitch + k;
        WeightPart weights;
        if constexpr (T::kWeightParts == 2) {
          wmma::load_matrix_sync(weights, at + T::kWeights, kPitch);
          for (int i = 0; i < kDown; i++) wmma::mma_sync(sums[i][j], hi[i], weights, sums[i][j]);
        }
        wmma::load_matrix_sync(weights, at, kPitch);
        for (int i = 0; i < kDown; i++) wmma::mma_sync(sums[i][j], lo[i], weights, sums[i][j]);
        for (int i = 0; i < kDown; i++) wmma::mma_sync(sums[i][j], hi[i], weights, sums[i][j]);
      }
    }
  }

  __device__ static void clear(Grid& sums) {
    for (auto& row : sums)
      for (Sums& sum : row) wmma::fill_fragment(sum, 0.0f);
  }

  __device__ static void add(Grid& chunk, Grid& total) {
#pragma unroll
    for (int i = 0; i < kDown; i++)
#pragma unroll
      for (int j = 0; j < kAcross; j++)
#pragma unroll
        for (int e = 0; e < Sums::num_elements; e++) total[i][j].x[e] += chunk[i][j].x[e];
    clear(chunk);
  }

  // 16 rows of a warp at a time through shared memory.
  __device__ void write(const Grid& total) const {
    float* const out = reinterpret_cast<float*>(stages) + warp * 16 * kOutPitch;
    const int64_t width = p.gated ? p.N / 2 : p.N;
    const int64_t first = (static_cast<int64_t>(blockIdx.y) * kColumns + left) / (p.gated ? 2 : 1);
#pragma unroll
    for (int i = 0; i < kDown; i++) {
#pragma unroll
      for (int j = 0; j < kAcross; j++)
        wmma::store_matrix_sync(out + 16 * j, total[i][j], kOutPitch, wmma::mem_row_major);
      __syncwarp();
      const int64_t m = static_cast<int64_t>(blockIdx.x) * kRows + top + 16 * i;
      for (int r = 0; r < 16 && m + r < p.M; r++) {
        for (int c = lane; c < (p.gated ? kWarpColumns / 2 : kWarpColumns) && first + c < width; c += kWarp) {
          const int64_t n = first + c;
          float value = out[r * kOutPitch + c] + (p.bias ? p.bias[n] : 0.0f);
          if (p.gated) {
            const float up = out[r * kOutPitch + kWarpColumns / 2 + c] + (p.bias ? p.bias[width + n] : 0.0f);
            value = silu(value) * up;
          }
          if (p.residual) value += p.residual[(m + r) * width + n];
          p.y[(m + r) * width + n] = value;
        }
      }
      __syncwarp();
    }
  }
};

#endif

}  // namespace many
}  // namespace cuda
}  // namespace sda
