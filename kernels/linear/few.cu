// Linear layers for up to 16 rows of x (decoding) on an NVIDIA GPU's tensor cores: op.cc says what they compute, and
// few_block.h how.
//
// A lane gets 16 bytes of a row, 8 columns: as the sum over the columns may be taken in any order, these are the operand of
// two products as they come, and no lane reads what another asked for. Weights in bfloat16 are exact as they are, float16
// in two parts.
// Bytes: those of the weights; x comes from the caches for every unit. Launches: 1.

#include "few.h"

#include "few_block.h"
#include "stored.h"

namespace sda {
namespace cuda {
namespace {

template <WeightType kType>
constexpr int kParts = kType == WeightType::kFloat16 ? 2 : 1;

template <WeightType kType>
__device__ void unpack(const uint4& raw, Weight<kParts<kType>>& weight) {
  if constexpr (kType == WeightType::kFloat16) {
    float values[8];
    Float16::unpack(raw, values);
    split<kParts<kType>>(values, weight.part);
  } else {
    weight.part[0][0] = raw.x, weight.part[0][1] = raw.y, weight.part[0][2] = raw.z, weight.part[0][3] = raw.w;
  }
}

// Weights row by row, as few_block.h asks for them.
template <WeightType kType>
struct StoredRows {
  using Matrix = const uint16_t*;
  static constexpr int kSlot = few::kTiles * kWarp, kLong = 6, kShort = 3;
  static constexpr int kUnroll = kType == WeightType::kFloat16 ? 1 : 2;
  static constexpr bool kOwn = true;
  const int g, t;
  const uint16_t* rows[few::kTiles];
  uint4 raw[few::kTiles];

  __device__ StoredRows(Matrix, int g_, int t_) : g(g_), t(t_) {}
  template <bool kGated>
  __device__ void begin(Matrix weights, int unit, int width, int K, int first) {
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) {
      const int n = few::place<kGated>(unit, 8 * j + g);
      const int row = (n < width ? n : width - 1) + (kGated && j % 2 ? width : 0);
      rows[j] = weights + static_cast<int64_t>(row) * K + first * few::kStep + t * 8;
    }
  }
  __device__ void ask(uint4* to, int step, int K) {
    const bool there = step * few::kStep + t * 8 < K;
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) {
      copy_async(to + j * kWarp, rows[j], there);
      rows[j] += few::kStep;
    }
  }
  template <bool>
  __device__ void take(const uint4* from, int) {
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) raw[j] = from[j * kWarp];
  }
  template <typename X>
  __device__ void multiply(const X& operand, float (&total)[few::kTiles][X::kTotals]) const {
#pragma unroll
    for (int j = 0; j < few::kTiles; j++) {
      Weight<kParts<kType>> weight;
      unpack<kType>(raw[j], weight);
      float sums[X::kTotals];
      operand.multiply(weight, sums);
      for (int i = 0; i < X::kTotals; i++) total[j][i] += sums[i];
    }
  }
  static __device__ void arrange(float (&)[8]) {}
};

}  // namespace

bool takes_few(const Weights& weights, const Rows& rows) {
  constexpr int64_t kMost = int64_t{1} << 30;
  return (weights.type == WeightType::kBfloat16 || weights.type == WeightType::kFloat16) && weights.K % 8 == 0 &&
         weights.K < kMost && weights.N < kMost && is_aligned(weights.data) && is_aligned(rows.x) &&
         is_aligned(rows.norm) && device().capability >= 80;
}

void linear_few(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                float* y, cudaStream_t stream) {
  const auto* const data = static_cast<const uint16_t*>(weights.data);
  const Call call = call_of(weights, rows, bias, residual, y);
  if (weights.type == WeightType::kFloat16) few::launch<StoredRows<WeightType::kFloat16>>(gated, data, call, stream);
  else few::launch<StoredRows<WeightType::kBfloat16>>(gated, data, call, stream);
}

}  // namespace cuda
}  // namespace sda
