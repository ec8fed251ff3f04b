// Dot products of rows of weights with rows of x, in float32.
//
//   few rows of x (decoding): every weight is read from memory once and unpacked once for each 4 or 8 rows of x;
//     time = bytes of weights / memory bandwidth
//   many rows (prompts): a block of weight rows is unpacked once into a float32 scratch that stays in the
//     second-level cache, then met with a block of rows of x; time = 2 M N K / multiply-add rate
//
// Both add in one order, so that no row of x has another result beside others: over the depth lane by lane, even and
// odd vectors of kLanes values apart; then even + odd, then the lanes.
//
// x comes "packed": each row in the order in which the weights unpack, padded with zeros to `stride`.
#pragma once

#include <algorithm>

#include "weights.h"

namespace sda {

// Weight rows and rows of x that one inner loop takes together: R * M accumulators.
constexpr int kRowGroup = 4;
constexpr int kFewGroup = kLanes == 16 ? 8 : 4;
constexpr int kManyGroup = kLanes == 16 ? 5 : 3;
// From this many rows of x on, the second way is faster.
constexpr int64_t kManyRows = 24;
// Weight rows, and values of a row, that are unpacked at a time in the second way: 128 KB.
constexpr int64_t kScratchRows = 32;
constexpr int64_t kScratchDepth = 1024;
// Rows of x whose sums are kept lane by lane between those depths: 240 KB with 16 lanes.
constexpr int64_t kManyBlock = 60;

// Bytes ahead of its use at which a weight is asked for from memory, into the second-level cache: more requests are under
// way to it than to the first one.
constexpr int64_t kPrefetchBytes = 8192;
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
    if (k * kSize % kCacheLine < kStep * kSize) __builtin_prefetch(w + k + kPrefetchBytes / kSize, 0, 2);
    step(w + k, k);
  }
  if (k < K) {
    typename W::Stored tail[kStep] = {};
    std::copy(w + k, w + K, tail);
    step(tail, k);
  }
  for (int m = 0; m < M; m++) acc[m] = even[m] + odd[m];
}

// out[r * out_stride + m] = the sum of the lanes of acc[r][m], for n <= kRowGroup rows of weights and `rows` <= M rows of x.
template <int M>
inline void write_sums(const Vec acc[kRowGroup][M], int64_t n, int64_t rows, float* out, int64_t out_stride) {
  for (int64_t m = 0; m < rows; m++) {
    const Vec column[kRowGroup] = {acc[0][m], acc[1][m], acc[2][m], acc[3][m]};
    float sums[kRowGroup];
    sum_lanes4(column, sums);
    for (int64_t r = 0; r < n; r++) out[r * out_stride + m] = sums[r];
  }
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
  write_sums<Most>(acc, n, Most, out, M);
}

// Few rows of x, in as few passes over the weights as there are accumulators for: out[r * M + m] = w[r] . x[m] for
// n <= kRowGroup rows of weights.
template <typename W>
inline void dot_few(const typename W::Stored* w, int64_t n, int64_t K, const float* x,
                    int64_t stride, int64_t M, float* out) {
  const int64_t passes = std::max<int64_t>(1, (M + kFewGroup - 1) / kFewGroup);
  const int64_t each = (M + passes - 1) / passes;  // passes of about the same size
  for (int64_t m = 0; m < M; m += each) {
    const int64_t rows = std::min(each, M - m);
    stream_group<W, kFewGroup>(w, n, K, x + m * stride, stride, rows, M, out + m);
  }
}

// The unpacked depths k0..k0+depth of n rows of weights, each row padded with zeros to a whole step.
template <typename W>
inline void unpack_rows(const typename W::Stored* w, int64_t n, int64_t K, int64_t k0, int64_t depth, float* to) {
  for (int64_t r = 0; r < n; r++) {
    const auto* row = w + r * K + k0;
    Vec a, b;
    const auto step = [&](const typename W::Stored* values) {
      W::unpack(values, a, b);
      store(to, a);
      store(to + kLanes, b);
      to += kStep;
    };
    int64_t k = 0;
    for (; k + kStep <= depth; k += kStep) step(row + k);
    if (k < depth) {
      typename W::Stored tail[kStep] = {};
      std::copy(row + k, row + depth, tail);
      step(tail);
    }
  }
}

// sums[r][m] += w[r] . x[m] (= where they are the first), lane by lane, over one vector of each step: the even ones or
// the odd ones.
template <int M>
inline void add_lanes(const float* w, int64_t depth, const float* x, int64_t stride, bool first,
                      Vec (*sums)[kManyGroup]) {
  Vec acc[kRowGroup][M] = {};
  if (!first)
    for (int r = 0; r < kRowGroup; r++) std::copy_n(sums[r], M, acc[r]);
  for (int64_t k = 0; k < depth; k += kStep) {
    Vec xk[M];
    for (int m = 0; m < M; m++) xk[m] = load(x + m * stride + k);
    for (int r = 0; r < kRowGroup; r++) {
      const Vec wk = load(w + r * depth + k);
      for (int m = 0; m < M; m++) acc[r][m] += wk * xk[m];
    }
  }
  for (int r = 0; r < kRowGroup; r++) std::copy_n(acc[r], M, sums[r]);
}

// `add_lanes` for a number of x rows known at run time, 1..Most.
template <int Most>
inline void add_lanes_upto(int64_t rows, const float* w, int64_t depth, const float* x, int64_t stride,
                           bool first, Vec (*sums)[kManyGroup]) {
  if constexpr (Most > 1) {
    if (rows < Most) return add_lanes_upto<Most - 1>(rows, w, depth, x, stride, first, sums);
  }
  add_lanes<Most>(w, depth, x, stride, first, sums);
}

// What dot_many works in.
struct ManyScratch {
  // Unpacked weights.
  float weights[kScratchRows * kScratchDepth];
  // Sums of products, lane by lane, of the even and of the odd vectors.
  Vec sums[kManyBlock / kManyGroup][kScratchRows / kRowGroup][2][kRowGroup][kManyGroup];
};

// Many rows of x: out[r * M + m] = w[r] . x[m] for n <= kScratchRows rows of weights, summed in the order of dot_few.
template <typename W>
inline void dot_many(const typename W::Stored* w, int64_t n, int64_t K, const float* x,
                     int64_t stride, int64_t M, float* out, ManyScratch& scratch) {
  const bool once = K <= kScratchDepth;  // no sums to keep between depths
  const int64_t block = once ? M : kManyBlock;
  for (int64_t m0 = 0; m0 < M; m0 += block) {
    const int64_t end = std::min(M, m0 + block);
    for (int64_t k0 = 0; k0 < K; k0 += kScratchDepth) {
      const int64_t depth = std::min(kScratchDepth, K - k0);
      const int64_t padded = round_up(depth, kStep);
      unpack_rows<W>(w, n, K, k0, depth, scratch.weights);
      for (int64_t m = m0; m < end; m += kManyGroup) {
        const int64_t rows = std::min<int64_t>(kManyGroup, end - m);
        for (int64_t r = 0; r < n; r += kRowGroup) {
          auto& sums = once ? scratch.sums[0][0] : scratch.sums[(m - m0) / kManyGroup][r / kRowGroup];
          for (int odd = 0; odd < 2; odd++) {
            add_lanes_upto<kManyGroup>(rows, scratch.weights + r * padded + odd * kLanes, padded,
                                       x + m * stride + k0 + odd * kLanes, stride, k0 == 0, sums[odd]);
          }
          if (k0 + depth < K) continue;
          Vec acc[kRowGroup][kManyGroup];
          for (int i = 0; i < kRowGroup; i++)
            for (int j = 0; j < kManyGroup; j++) acc[i][j] = sums[0][i][j] + sums[1][i][j];
          write_sums<kManyGroup>(acc, std::min<int64_t>(kRowGroup, n - r), rows, out + r * M + m, M);
        }
      }
    }
  }
}

}  // namespace sda
