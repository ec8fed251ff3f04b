// What a block of attend.cu does with its span of positions: keys and values into shared memory, scores, the weighted
// sum of the values, and the spans of a head put together. For it alone.
#pragma once

#include "../async_copy.h"
#include "../math.h"
#include "cuda.h"

namespace sda {
namespace cuda {

constexpr int kLanes = 8;    // that share a position's key
constexpr int kQueries = 4;  // heads that a thread has at a time

// Threads of a block: more where a key-value head serves many queries.
__device__ __host__ constexpr int threads_of(int group) { return group < kQueries ? 256 : 512; }

// Values that a thread has at a time: four where rows begin at multiples of 16 bytes.
template <bool kWide>
constexpr int kCount = kWide ? 4 : 1;

// Begins to copy n floats into shared memory.
template <bool kWide, int kThreads>
__device__ void request(const float* from, int n, float* to) {
  for (int i = static_cast<int>(threadIdx.x) * kCount<kWide>; i < n; i += kThreads * kCount<kWide>) {
    if constexpr (kWide) copy_async(to + i, from + i);
    else to[i] = from[i];
  }
  commit_copies();
}

// Where the weight of head q at position j stands: kQueries heads side by side.
__device__ inline int place_of(int q, int j, int span) { return (q / kQueries * span + j) * kQueries + q % kQueries; }

// weight of q and j = scale * query q . key j. kLanes threads share a key, each with a part of its columns. kD: the size of a
// head where the compiler is to know it, else 0.
template <bool kWide, int kD, int kThreads>
__device__ void score(const float* query, const float* keys, int group, int size, int count, int span, float scale,
                      float* weight) {
  constexpr int kAt = kCount<kWide>;
  const int D = kD > 0 ? kD : size, lane = threadIdx.x % kLanes;
  for (int first = 0; first < count; first += kThreads / kLanes) {
    const int j = first + static_cast<int>(threadIdx.x) / kLanes;
    const float* key = keys + (j < count ? j : count - 1) * D;
    for (int q = 0; q < group; q += kQueries) {
      float dots[kQueries] = {};
#pragma unroll
      for (int d = lane * kAt; d < D; d += kLanes * kAt) {
        float k[kAt], v[kAt];
        load_floats<kAt>(key + d, k);
#pragma unroll
        for (int i = 0; i < kQueries; i++) {
          load_floats<kAt>(query + (q + i < group ? q + i : group - 1) * D + d, v);
          for (int c = 0; c < kAt; c++) dots[i] += k[c] * v[c];
        }
      }
#pragma unroll
      for (int i = 0; i < kQueries; i++) {
        for (int offset = kLanes / 2; offset > 0; offset /= 2)
          dots[i] += __shfl_xor_sync(kWholeWarp, dots[i], offset);
        if (lane == i && j < count && q + i < group) weight[place_of(q + i, j, span)] = scale * dots[i];
      }
    }
  }
}

// out[q][0..D) = sum over j of weight of q and j * value j, for kQueries heads from `query` on. The columns, and the
// positions of each column, are split over the threads; `sums` holds what they found.
template <bool kWide, int kD, int kThreads>
__device__ void mix(const float* weight, const float* values, int group, int query, int size, int count, int span,
                    float* sums, float* out, int64_t stride) {
  constexpr int kAt = kCount<kWide>;
  const int D = kD > 0 ? kD : size, columns = D / kAt, parts = kThreads / columns;
  const int part = static_cast<int>(threadIdx.x) / columns, d = static_cast<int>(threadIdx.x) % columns * kAt;
  if (part < parts) {
    float mixed[kQueries][kAt] = {};
#pragma unroll 2
    for (int j = part; j < count; j += parts) {
      float v[kAt], w[kQueries];
      load_floats<kAt>(values + j * D + d, v);
      load_floats<kQueries>(weight + place_of(query, j, span), w);
#pragma unroll
      for (int i = 0; i < kQueries; i++)
        for (int c = 0; c < kAt; c++) mixed[i][c] += w[i] * v[c];
    }
    for (int i = 0; i < kQueries; i++)
      for (int c = 0; c < kAt; c++) sums[(part * kQueries + i) * D + d + c] = mixed[i][c];
  }
  __syncthreads();
  const int heads = group - query < kQueries ? group - query : kQueries;
  for (int i = threadIdx.x; i < heads * D; i += kThreads) {
    float sum = 0.0f;
#pragma unroll 8
    for (int p = 0; p < parts; p++) sum += sums[p * kQueries * D + i];
    out[(query + i / D) * stride + i % D] = sum;
  }
  __syncthreads();
}

// The spans of a head, put together: `parts` has for each query head and span D unnormalised values, the largest score
// and the sum of the weights.
template <int kThreads>
__device__ void merge(float* parts, int group, int D, int spans, float* out) {
  __shared__ float whole[kMostGroup];
  const int64_t stride = static_cast<int64_t>(spans) * (D + 2);
  for (int q = threadIdx.x / kWarp; q < group; q += kThreads / kWarp) {  // a span's factor takes the place of its largest
    const int lane = threadIdx.x % kWarp;
    float* const part = parts + q * stride;
    float largest = -kInfinity, sum = 0.0f;
    for (int s = lane; s < spans; s += kWarp) largest = max_of(largest, part[s * (D + 2) + D]);
    largest = reduce_warp(largest, Largest());
    for (int s = lane; s < spans; s += kWarp) {
      const float here = part[s * (D + 2) + D];
      const float factor = here > -kInfinity ? exp_fast(here - largest) : 0.0f;
      sum += factor * part[s * (D + 2) + D + 1];
      part[s * (D + 2) + D] = factor;
    }
    sum = reduce_warp(sum, Sum());
    if (lane == 0) whole[q] = sum;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < group * D; i += kThreads) {
    const int q = i / D, d = i % D;
    const float* const part = parts + q * stride;
    float mixed = 0.0f;
#pragma unroll 8
    for (int s = 0; s < spans; s++) mixed += part[s * (D + 2) + D] * part[s * (D + 2) + d];
    out[i] = whole[q] > 0.0f ? mixed / whole[q] : 0.0f;
  }
}

}  // namespace cuda
}  // namespace sda
