// Rows of x in the form in which a matrix of weights meets them.
#pragma once

#include <cmath>
#include <vector>

#include "../op.h"
#include "matrix.h"
#include "split_rows.h"
#include "weights.h"

namespace sda {

// Calls body with the struct of weights.h for a float tensor's type and its values.
template <typename Body>
auto with_weights(const Tensor& weight, const Body& body) {
  switch (weight.dtype()) {
    case DT_FLOAT:
      return body(Float32Weights(), weight.flat<float>().data());
    case tensorflow::DT_BFLOAT16:
      return body(Bfloat16Weights(),
                  reinterpret_cast<const uint16_t*>(weight.flat<tensorflow::bfloat16>().data()));
    default:
      return body(Float16Weights(),
                  reinterpret_cast<const uint16_t*>(weight.flat<Eigen::half>().data()));
  }
}

// M rows of x: floats in the order in which the weights unpack, and for quantised weights the same split.
struct PackedRows {
  int64_t M, K;
  int64_t stride;                       // floats of a row, K rounded up; what is beyond K is zero
  int64_t (*index)(int64_t k);          // where value k of a row goes
  const QuantisedForm* form;            // how quantised weights are met; null for others
  const uint8_t* order;                 // for each place of quantised weights, which column it has: int32; null: the same
  SplitMemory split;
  Tensor memory;
  float* values;                        // of `memory`
  float* row(int64_t m) const { return values + m * stride; }
  void clear_end(int64_t m) const {
    const int64_t step = form ? kQuantGroup : kStep;
    std::fill(row(m) + K / step * step, row(m) + stride, 0.0f);
  }

  absl::Status allocate(OpKernelContext* ctx, int64_t rows, const Tensor& weight) {
    M = rows;
    K = columns_of(weight);
    form = is_quantised(weight) ? &quantised_form() : nullptr;
    stride = round_up(K, form ? kQuantGroup : kStep);
    index = &Float32Weights::packed_index;
    order = nullptr;
    if (form) {
      const QuantisedShape shape = quantised_shape(weight);
      split.allocate(rows, shape);
      if (shape.ordered) order = quantised_bytes(weight) + shape.order_at();
    } else index = with_weights(weight, [](auto format, const auto*) { return &decltype(format)::packed_index; });
    TF_RETURN_IF_ERROR(ctx->allocate_temp(DT_FLOAT, TensorShape({M, stride}), &memory));
    values = memory.flat<float>().data();
    return absl::OkStatus();
  }

  // Groups begin..end-1 of all rows, counted row by row.
  void split_groups(int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at++) {
      const float* x = row(at / split.groups());
      const int64_t k = at % split.groups() * kQuantGroup;
      if (order) split_gathered(at, x, k);
      else split.split(at, x + k, form->bytes);
    }
  }

 private:
  // Of the values of a row that places k to k + 31 meet.
  void split_gathered(int64_t at, const float* x, int64_t k) {
    float gathered[kQuantGroup] = {};
    const int64_t count = std::min(kQuantGroup, K - k);
    for (int64_t i = 0; i < count; i++) {
      int32_t column;
      std::memcpy(&column, order + 4 * (k + i), sizeof(column));
      gathered[i] = x[column];
    }
    split.split(at, gathered, form->bytes);
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
inline Phase pack_phase(const float* x, const float* norm, float epsilon, const Tensor& weight, PackedRows& packed) {
  const int64_t chunk = std::max<int64_t>(1, 4096 / packed.K);
  if (packed.form) {
    return {packed.M, chunk, [=, &packed](int64_t begin, int64_t end) {
              for (int64_t m = begin; m < end; m++) {
                packed.clear_end(m);
                norm_and_pack<Float32Weights>(x + m * packed.K, packed.K, norm, epsilon, packed.row(m));
                packed.split_groups(m * packed.split.groups(), (m + 1) * packed.split.groups());
              }
            }};
  }
  return with_weights(weight, [&](auto format, const auto*) -> Phase {
    using W = decltype(format);
    return {packed.M, chunk, [=, &packed](int64_t begin, int64_t end) {
              for (int64_t m = begin; m < end; m++)
                norm_and_pack<W>(x + m * packed.K, packed.K, norm, epsilon, packed.row(m));
            }};
  });
}

// Adds the phase that rows need which were written one value at a time: quantised weights meet them split.
inline void add_split_phase(PackedRows& packed, std::vector<Phase>& phases) {
  if (!packed.form) return;
  constexpr int64_t kChunk = 128;
  phases.push_back({packed.M * packed.split.groups(), kChunk,
                    [&packed](int64_t begin, int64_t end) { packed.split_groups(begin, end); }});
}

}  // namespace sda
