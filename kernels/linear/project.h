// A matrix of weights of any stored type times rows of x, as phases for run_phases: what `linear`, `mlp` and
// `self-attention` are made of.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "../op.h"
#include "dot.h"

namespace sda {

// Calls body with the struct of weights.h for a tensor's type and its values.
template <typename Body>
auto with_weights(const Tensor& weight, const Body& body) {
  switch (weight.dtype()) {
    case DT_FLOAT:
      return body(Float32Weights(), weight.flat<float>().data());
    case tensorflow::DT_BFLOAT16:
      return body(Bfloat16Weights(), reinterpret_cast<const uint16_t*>(
                                         weight.flat<tensorflow::bfloat16>().data()));
    default:
      return body(Float16Weights(),
                  reinterpret_cast<const uint16_t*>(weight.flat<Eigen::half>().data()));
  }
}

// M rows of x in the order in which a matrix of `weight`'s type unpacks.
struct PackedRows {
  int64_t M, K;
  int64_t stride;                       // floats of a row, K rounded up; what is beyond K is zero
  int64_t (*index)(int64_t k);          // where value k of a row goes
  Tensor memory;
  float* row(int64_t m) const { return const_cast<float*>(memory.flat<float>().data()) + m * stride; }
  void clear_end(int64_t m) const { std::fill(row(m) + K / kStep * kStep, row(m) + stride, 0.0f); }

  absl::Status allocate(OpKernelContext* ctx, int64_t rows, const Tensor& weight) {
    M = rows;
    K = weight.dim_size(1);
    stride = round_up(K, kStep);
    index = with_weights(weight, [](auto format, const auto*) { return &decltype(format)::packed_index; });
    return ctx->allocate_temp(DT_FLOAT, TensorShape({M, stride}), &memory);
  }
};

// 1 / RMS of K values.
inline float rms_scale(const float* from, int64_t K, float epsilon) {
  Vec squares = {};
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    const Vec v = load(from + k);
    squares += v * v;
  }
  float sum = sum_lanes(squares);
  for (; k < K; k++) sum += from[k] * from[k];
  return 1.0f / std::sqrt(sum / static_cast<float>(K) + epsilon);
}

// RMSNorm (norm may be null) and packing of one row.
template <typename W>
void norm_and_pack(const float* from, int64_t K, const float* norm, float epsilon, float* to) {
  const float scale = norm ? rms_scale(from, K, epsilon) : 1.0f;
  for (int64_t k = 0; k < K; k += kStep) {
    const int64_t n = std::min<int64_t>(kStep, K - k);
    float step[kStep] = {};
    for (int64_t i = 0; i < n; i++) step[i] = norm ? from[k + i] * scale * norm[k + i] : from[k + i];
    W::pack(step, to + k);
  }
}

// Phase: packed = norm(x), row by row. All pointers must outlive the phase; so below.
inline Phase pack_phase(const float* x, const float* norm, float epsilon, const Tensor& weight,
                        const PackedRows& packed) {
  return with_weights(weight, [&](auto format, const auto*) -> Phase {
    using W = decltype(format);
    return {packed.M, std::max<int64_t>(1, 4096 / packed.K), [=, &packed](int64_t begin, int64_t end) {
              for (int64_t m = begin; m < end; m++)
                norm_and_pack<W>(x + m * packed.K, packed.K, norm, epsilon, packed.row(m));
            }};
  });
}

// Phase: calls emit(n, count, dots) for groups of weight rows that cover 0..N, where
// dots[(b * count + r) * M + m] is the product of x row m with weight row b * N + n + r. `blocks` is how many
// matrices of N rows lie one after the other in `weight` (2 for gate and up).
template <typename Emit>
Phase project_phase(const Tensor& weight, int64_t blocks, const PackedRows& packed, const Emit& emit) {
  return with_weights(weight, [&](auto format, const auto* w) -> Phase {
    using W = decltype(format);
    const bool many = packed.M >= kManyRows;
    const int64_t N = weight.dim_size(0) / blocks;
    const int64_t group = many ? kScratchRows : kRowGroup;
    // few rows of x: at least 32 KB of weights at a time
    const int64_t bytes = blocks * group * packed.K * static_cast<int64_t>(sizeof(*w));
    const int64_t chunk = many ? 1 : std::max<int64_t>(1, 32768 / bytes);
    return {(N + group - 1) / group, chunk, [=, &packed](int64_t begin, int64_t end) {
              thread_local std::vector<float> dots;
              thread_local std::unique_ptr<ManyScratch> scratch;
              const int64_t M = packed.M, K = packed.K;
              dots.resize(blocks * group * M);
              if (many && !scratch) scratch = std::make_unique<ManyScratch>();
              for (int64_t g = begin; g < end; g++) {
                const int64_t n = g * group;
                const int64_t count = std::min(group, N - n);
                for (int64_t b = 0; b < blocks; b++) {
                  float* out = dots.data() + b * count * M;
                  if (many) {
                    dot_many<W>(w + (b * N + n) * K, count, K, packed.row(0), packed.stride, M, out,
                                *scratch);
                  } else {
                    dot_few<W>(w + (b * N + n) * K, count, K, packed.row(0), packed.stride, M, out);
                  }
                }
                emit(n, count, dots.data());
              }
            }};
  });
}

// Emit: y = dots + bias + residual, for a single matrix (blocks = 1) of N rows; bias and residual may be null.
inline auto add_to(float* y, int64_t M, int64_t N, const float* bias, const float* residual) {
  return [=](int64_t n, int64_t count, const float* dots) {
    for (int64_t m = 0; m < M; m++) {
      for (int64_t r = 0; r < count; r++) {
        float value = dots[r * M + m];
        if (bias) value += bias[n + r];
        if (residual) value += residual[m * N + n + r];
        y[m * N + n + r] = value;
      }
    }
  };
}

}  // namespace sda
