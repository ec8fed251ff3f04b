// Dot products of rows of weights with rows of x, in float32.
//
//   few rows of x (decoding): every weight is read from memory once and unpacked once for each 4 rows of x;
//     time = bytes of weights / memory bandwidth
//   many rows (prompts): a block of weight rows is unpacked once into a float32 scratch that stays in the
//     second-level cache, then met with all rows of x; time = 2 M N K / multiply-add rate
//
// x comes "packed": each row in the order in which the weights unpack, padded with zeros to `stride`.
#pragma once

#include <algorithm>

#include "weights.h"

namespace sda {

// Weight rows and rows of x that one inner loop takes together: R * M accumulators.
constexpr int kRowGroup = 4;
constexpr int kFewGroup = 4;
constexpr int kManyGroup = kLanes == 16 ? 5 : 3;
// From this many rows of x on, the second way is faster.
constexpr int64_t kManyRows = 12;
// Weight rows, and values of a row, that are unpacked at a time in the second way: 128 KB.
constexpr int64_t kScratchRows = 32;
constexpr int64_t kScratchDepth = 1024;

// Bytes ahead of its use at which a weight is asked for from memory, and not to be kept: a step reads each weight once,
// and everything else that the process works with should stay in the caches.
constexpr int64_t kPrefetchBytes = 4096;
constexpr int64_t kCacheLine = 64;

// The sums of the lanes of four vectors.
inline void sum_lanes4(const Vec v[4], float out[4]) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad q[4];
  for (int i = 0; i < 4; i++) {
    Quad parts[kLanes / 4];
    std::memcpy(parts, &v[i], sizeof(Vec));
    q[i] = parts[0];
    for (int p = 1; p < kLanes / 4; p++) q[i] += parts[p];
  }
  const Quad lo01 = __builtin_shufflevector(q[0], q[1], 0, 4, 1, 5);
  const Quad hi01 = __builtin_shufflevector(q[0], q[1], 2, 6, 3, 7);
  const Quad lo23 = __builtin_shufflevector(q[2], q[3], 0, 4, 1, 5);
  const Quad hi23 = __builtin_shufflevector(q[2], q[3], 2, 6, 3, 7);
  const Quad s01 = lo01 + hi01, s23 = lo23 + hi23;  // (0, 1, 0, 1), (2, 3, 2, 3)
  const Quad low = __builtin_shufflevector(s01, s23, 0, 1, 4, 5);
  const Quad high = __builtin_shufflevector(s01, s23, 2, 3, 6, 7);
  const Quad sums = low + high;
  std::memcpy(out, &sums, sizeof(sums));
}

// Sums of an R x M block of accumulators, added to out[r * out_stride + m].
template <int R, int M>
inline void add_sums(const Vec acc[R][M], float* out, int64_t out_stride) {
  for (int m = 0; m < M; m++) {
    if constexpr (R == 4) {
      const Vec column[4] = {acc[0][m], acc[1][m], acc[2][m], acc[3][m]};
      float sums[4];
      sum_lanes4(column, sums);
      for (int r = 0; r < 4; r++) out[r * out_stride + m] += sums[r];
    } else {
      for (int r = 0; r < R; r++) out[r * out_stride + m] += sum_lanes(acc[r][m]);
    }
  }
}

// out[r][m] += sum over k of w[r][k] x[m][k], for R rows of weights at w, w + w_stride, ...; a last step
// of fewer than kStep values goes through a copy padded with zeros.
template <typename W, int R, int M>
inline void dots(const typename W::Stored* w, int64_t w_stride, int64_t depth, const float* x,
                 int64_t x_stride, float* out, int64_t out_stride) {
  Vec acc[R][M] = {};
  const int64_t whole = depth / kStep * kStep;
  const auto step = [&](const typename W::Stored* const rows, int64_t stride, int64_t k) {
    Vec xa[M], xb[M];
    for (int m = 0; m < M; m++) {
      xa[m] = load(x + m * x_stride + k);
      xb[m] = load(x + m * x_stride + k + kLanes);
    }
    for (int r = 0; r < R; r++) {
      Vec a, b;
      W::unpack(rows + r * stride, a, b);
      for (int m = 0; m < M; m++) {
        acc[r][m] += a * xa[m];
        acc[r][m] += b * xb[m];
      }
    }
  };
  for (int64_t k = 0; k < whole; k += kStep) step(w + k, w_stride, k);
  if (whole < depth) {
    typename W::Stored tail[R * kStep] = {};
    for (int r = 0; r < R; r++)
      std::copy(w + r * w_stride + whole, w + r * w_stride + depth, tail + r * kStep);
    step(tail, kStep, whole);
  }
  add_sums<R, M>(acc, out, out_stride);
}

// `dots` for a number of x rows known at run time, 1..Most.
template <typename W, int R, int Most>
inline void dots_upto(int64_t rows, const typename W::Stored* w, int64_t w_stride, int64_t depth,
                      const float* x, int64_t x_stride, float* out, int64_t out_stride) {
  if constexpr (Most > 1) {
    if (rows < Most)
      return dots_upto<W, R, Most - 1>(rows, w, w_stride, depth, x, x_stride, out, out_stride);
  }
  dots<W, R, Most>(w, w_stride, depth, x, x_stride, out, out_stride);
}

// All M rows of x against `n` rows of weights (1..kRowGroup), in groups of at most Group rows of x.
// out[r * M + m] += ...
template <typename W, int Group>
inline void dots_all(int64_t n, const typename W::Stored* w, int64_t w_stride, int64_t depth,
                     const float* x, int64_t x_stride, int64_t M, float* out, int64_t out_stride) {
  for (int64_t m = 0; m < M; m += Group) {
    const int64_t rows = std::min<int64_t>(Group, M - m);
    const float* xm = x + m * x_stride;
    if (n == kRowGroup) {
      dots_upto<W, kRowGroup, Group>(rows, w, w_stride, depth, xm, x_stride, out + m, out_stride);
    } else {
      for (int64_t r = 0; r < n; r++)
        dots_upto<W, 1, Group>(rows, w + r * w_stride, w_stride, depth, xm, x_stride,
                               out + r * out_stride + m, out_stride);
    }
  }
}

// acc[m] += w . x[m], lane by lane, for one row of weights read from memory: a single stream, in order, which is what
// memory is fastest at. Two accumulators a row of x keep the multiply-adds apart.
template <typename W, int M>
inline void stream_row(const typename W::Stored* w, int64_t K, const float* x, int64_t x_stride,
                       Vec acc[M]) {
  constexpr int64_t kSize = sizeof(typename W::Stored);
  Vec even[M] = {}, odd[M] = {};
  const auto step = [&](const typename W::Stored* values, int64_t k) {
    Vec a, b;
    W::unpack(values, a, b);
    for (int m = 0; m < M; m++) {
      even[m] += a * load(x + m * x_stride + k);
      odd[m] += b * load(x + m * x_stride + k + kLanes);
    }
  };
  int64_t k = 0;
  for (; k + kStep <= K; k += kStep) {
    if (k * kSize % kCacheLine < kStep * kSize) __builtin_prefetch(w + k + kPrefetchBytes / kSize, 0, 0);
    step(w + k, k);
  }
  if (k < K) {
    typename W::Stored tail[kStep] = {};
    std::copy(w + k, w + K, tail);
    step(tail, k);
  }
  for (int m = 0; m < M; m++) acc[m] = even[m] + odd[m];
}

// Few rows of x, at most Most at a time: out[r * M + m] = w[r] . x[m] for n <= kRowGroup rows of weights.
template <typename W, int Most>
inline void stream_group(const typename W::Stored* w, int64_t n, int64_t K, const float* x,
                         int64_t stride, int64_t rows, int64_t M, float* out) {
  if constexpr (Most > 1) {
    if (rows < Most) return stream_group<W, Most - 1>(w, n, K, x, stride, rows, M, out);
  }
  Vec acc[kRowGroup][Most] = {};
  for (int64_t r = 0; r < n; r++) stream_row<W, Most>(w + r * K, K, x, stride, acc[r]);
  float sums[kRowGroup * Most] = {};
  add_sums<kRowGroup, Most>(acc, sums, Most);
  for (int64_t r = 0; r < n; r++) std::copy_n(sums + r * Most, Most, out + r * M);
}

// Few rows of x: out[r * M + m] = w[r] . x[m] for n <= kRowGroup rows of weights.
template <typename W>
inline void dot_few(const typename W::Stored* w, int64_t n, int64_t K, const float* x,
                    int64_t stride, int64_t M, float* out) {
  for (int64_t m = 0; m < M; m += kFewGroup) {
    const int64_t rows = std::min<int64_t>(kFewGroup, M - m);
    stream_group<W, kFewGroup>(w, n, K, x + m * stride, stride, rows, M, out + m);
  }
}

// Many rows of x: out[r * M + m] = dot(w[r], x[m]) for n <= kScratchRows rows of weights.
// scratch: kScratchRows * kScratchDepth floats.
template <typename W>
inline void dot_many(const typename W::Stored* w, int64_t n, int64_t K, const float* x,
                     int64_t stride, int64_t M, float* out, float* scratch) {
  std::fill(out, out + n * M, 0.0f);
  for (int64_t k0 = 0; k0 < K; k0 += kScratchDepth) {
    const int64_t depth = std::min(kScratchDepth, K - k0);
    const int64_t padded = round_up(depth, kStep);
    for (int64_t r = 0; r < n; r++) {
      const auto* row = w + r * K + k0;
      float* to = scratch + r * padded;
      Vec a, b;
      int64_t k = 0;
      for (; k + kStep <= depth; k += kStep) {
        W::unpack(row + k, a, b);
        store(to + k, a);
        store(to + k + kLanes, b);
      }
      if (k < depth) {
        typename W::Stored tail[kStep] = {};
        std::copy(row + k, row + depth, tail);
        W::unpack(tail, a, b);
        store(to + k, a);
        store(to + k + kLanes, b);
      }
    }
    for (int64_t m = 0; m < M; m += kManyGroup) {
      const int64_t rows = std::min<int64_t>(kManyGroup, M - m);
      for (int64_t r = 0; r < n; r += kRowGroup) {
        dots_all<Float32Weights, kManyGroup>(std::min<int64_t>(kRowGroup, n - r),
                                             scratch + r * padded, padded, padded,
                                             x + m * stride + k0, stride, rows, out + r * M + m, M);
      }
    }
  }
}

}  // namespace sda
