// A matrix of weights of any stored type times rows of x, as phases for run_phases: what `linear`, `mlp` and
// `self-attention` are made of.
#pragma once

#include <memory>
#include <vector>

#include "../op.h"
#include "dot.h"
#include "dots.h"
#include "packed_rows.h"
#include "project_quantised.h"

namespace sda {

// Phase: calls emit(n, dots) for groups of weight rows n..n + dots.count - 1 that cover 0..N; dots.at(b, r, m) is the
// product of x row m with weight row b * N + n + r. `blocks` is how many matrices of N rows lie one after the other in
// `weight` (2 for gate and up).
template <typename Emit>
Phase project_phase(const Tensor& weight, int64_t blocks, const PackedRows& packed, const Emit& emit) {
  if (packed.form) return quantised_phase(weight, packed, emit);
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
                emit(n, RowDots{dots.data(), M, count});
              }
            }};
  });
}

// Emit: y = dots + bias + residual, for a single matrix (blocks = 1) of N rows; bias and residual may be null.
inline auto add_to(float* y, int64_t M, int64_t N, const float* bias, const float* residual) {
  return [=](int64_t n, const auto& dots) {
    for (int64_t m = 0; m < M; m++) {
      for (int64_t r = 0; r < dots.count; r++) {
        float value = dots.at(0, r, m);
        if (bias) value += bias[n + r];
        if (residual) value += residual[m * N + n + r];
        y[m * N + n + r] = value;
      }
    }
  };
}

}  // namespace sda
