// What `linear` and `swiglu` share: inputs of a projection, RMSNorm and packing of x, and the parallel walk over
// the rows of the weights.
#pragma once

#include <cmath>
#include <vector>

#include "../op.h"
#include "dot.h"

namespace sda {

// x with RMSNorm applied where `norm` is given, packed for weights of type W: M rows of `stride` floats.
template <typename W>
void pack_rows(const float* x, int64_t begin, int64_t end, int64_t K, const float* norm,
               float epsilon, int64_t stride, float* packed) {
  for (int64_t m = begin; m < end; m++) {
    const float* row = x + m * K;
    float* to = packed + m * stride;
    float scale = 1.0f;
    if (norm) {
      Vec squares = {};
      int64_t k = 0;
      for (; k + kLanes <= K; k += kLanes) {
        const Vec v = load(row + k);
        squares += v * v;
      }
      float sum = sum_lanes(squares);
      for (; k < K; k++) sum += row[k] * row[k];
      scale = 1.0f / std::sqrt(sum / static_cast<float>(K) + epsilon);
    }
    std::fill(to + K / kStep * kStep, to + stride, 0.0f);
    for (int64_t k = 0; k < K; k++) {
      to[W::packed_index(k)] = norm ? row[k] * scale * norm[k] : row[k];
    }
  }
}

template <typename W>
void pack_all(OpKernelContext* ctx, const float* x, int64_t M, int64_t K,
              const float* norm, float epsilon, int64_t stride, float* packed) {
  const int64_t grain = std::max<int64_t>(1, 32768 / K);
  parallel_for(ctx, M, grain, [&](int64_t begin, int64_t end) {
    pack_rows<W>(x, begin, end, K, norm, epsilon, stride, packed);
  });
}

// Calls emit(n, count, dots) for groups of weight rows that cover 0..N, on all threads, where
// dots[(b * count + r) * M + m] is the product of x row m with weight row b * N + n + r. `blocks` is how many
// matrices of N rows lie one after the other in the weights (2 for gate and up).
template <typename W, typename Emit>
void project(OpKernelContext* ctx, const typename W::Stored* weights, int64_t blocks,
             int64_t N, int64_t K, const float* packed, int64_t stride, int64_t M,
             const Emit& emit) {
  const int64_t group = M < kManyRows ? kRowGroup : kScratchRows;
  const int64_t groups = (N + group - 1) / group;
  // a thread is worth waking for about 64 KB of weights
  const int64_t bytes = blocks * group * K * static_cast<int64_t>(sizeof(typename W::Stored));
  const int64_t grain = M < kManyRows ? std::max<int64_t>(1, 65536 / bytes) : 1;
  parallel_for(ctx, groups, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> dots(blocks * group * M);
    std::vector<float> scratch(M < kManyRows ? 0 : kScratchRows * kScratchDepth);
    for (int64_t g = begin; g < end; g++) {
      const int64_t n = g * group;
      const int64_t count = std::min(group, N - n);
      for (int64_t b = 0; b < blocks; b++) {
        const auto* w = weights + (b * N + n) * K;
        float* out = dots.data() + b * count * M;
        if (M < kManyRows) {
          dot_few<W>(w, count, K, packed, stride, M, out);
        } else {
          dot_many<W>(w, count, K, packed, stride, M, out, scratch.data());
        }
      }
      emit(n, count, dots.data());
    }
  });
}

// Runs `body` with the struct of weights.h for a tensor's type.
template <typename Body>
void with_weights(const Tensor& weight, const Body& body) {
  using tensorflow::bfloat16;
  switch (weight.dtype()) {
    case tensorflow::DT_FLOAT:
      return body(Float32Weights(), weight.flat<float>().data());
    case tensorflow::DT_BFLOAT16:
      return body(Bfloat16Weights(),
                  reinterpret_cast<const uint16_t*>(weight.flat<bfloat16>().data()));
    default:
      return body(Float16Weights(),
                  reinterpret_cast<const uint16_t*>(weight.flat<Eigen::half>().data()));
  }
}

// norm(x) times `blocks` matrices of N rows each, one after the other in `weight`; see `project` for `emit`.
// x [M, K] and `weight` [blocks * N, K] have been checked; `norm` [K] may be null.
template <typename Emit>
void norm_and_project(OpKernelContext* ctx, const Tensor& x, const Tensor& weight, int64_t blocks,
                      const float* norm, float epsilon, const Emit& emit) {
  const int64_t M = x.dim_size(0), K = x.dim_size(1), N = weight.dim_size(0) / blocks;
  const int64_t stride = round_up(K, kStep);
  Tensor packed;
  OP_REQUIRES_OK(ctx, ctx->allocate_temp(DT_FLOAT, TensorShape({M, stride}), &packed));
  float* px = packed.flat<float>().data();
  with_weights(weight, [&](auto format, const auto* w) {
    using W = decltype(format);
    pack_all<W>(ctx, x.flat<float>().data(), M, K, norm, epsilon, stride, px);
    project<W>(ctx, w, blocks, N, K, px, stride, M, emit);
  });
}

}  // namespace sda
