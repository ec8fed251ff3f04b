// Linear layers for up to 16 rows of x (decoding) on an NVIDIA GPU's tensor cores: op.cc says what they compute.
//
// The weights are read once, and nothing else takes as long. A block a multiprocessor; its warps form groups, and a
// group takes a unit of 16 rows of weights, each warp a part of the columns: as large a group as leaves all units to one
// round, so that every multiprocessor has its share and no warp waits for many others. A warp has a ring in shared
// memory that asynchronous copies keep full across units. A lane gets 16 bytes of a row, 8 columns: as the sum over the
// columns may be taken in any order, these are the operand of two products as they come, and no lane reads what another
// asked for. The rings are filled before await_previous(): weights do not depend on the launches before.
// Tensor cores take bfloat16. x is split into three of them, which is exact, so products are (few_rows.h); weights in
// bfloat16 are exact as they are, float16 in two parts. Sums in tensor cores are rounded towards zero: they begin anew
// every kStep columns and are added up in ordinary float32. The order depends on the weights' shape and on the device
// alone: a row of x has the same result whatever other rows there are. An x that is not finite gives NaN.
// RMSNorm costs no launch: norm(x) W^T = scale * ((x * norm) W^T), and the squares for `scale` are summed beside it.
// Bytes: those of the weights; x comes from the caches for every unit. Launches: 1.

#include "few.h"

#include "../async_copy.h"
#include "call.h"
#include "few_rows.h"
#include "stored.h"

namespace sda {
namespace cuda {
namespace {

constexpr int kWarps = 16, kThreads = kWarps * kWarp;
[[maybe_unused]] constexpr int kStep = 32;     // columns: four lanes, 8 each
constexpr int kTiles = 2, kUnit = 8 * kTiles;  // rows of weights; gated, 8 of gate and 8 of up
constexpr int kPitch = kUnit + 1;

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

// Shared memory: rings and what X shares, a warp's in 16 bytes; sums and squares of two units, in floats.
template <typename X, int kSlots>
struct Shared {
  static constexpr int kRing = kSlots * kTiles * kWarp, kSums = kWarps * X::kRows * kPitch, kSquares = kWarps * X::kRows;
  static constexpr size_t kBytes =
      kWarps * (kRing + X::kShared) * sizeof(uint4) + 2 * (kSums + kSquares) * sizeof(float);
};

// X: the form for so many rows of x, few_rows.h. `split` warps share a unit.
template <WeightType kType, typename X, int kSlots, bool kGated>
__global__ void __launch_bounds__(kThreads, 1) few_rows(const uint16_t* weights, Call call, int split) {
#if defined(SDA_CUDA_EMULATE) || !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using S = Shared<X, kSlots>;
  SDA_DYNAMIC_SHARED(uint4, shared);
  const int N = static_cast<int>(call.N), K = static_cast<int>(call.K), width = kGated ? N / 2 : N;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int groups = kWarps / split, group = warp / split, member = warp % split;
  const int steps = (K + kStep - 1) / kStep, units = (N + kUnit - 1) / kUnit;
  const int first = member * steps / split, end = (member + 1) * steps / split;
  const int first_unit = group * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int next_unit = groups * static_cast<int>(gridDim.x);
  uint4* const ring = shared + warp * S::kRing + lane;
  uint4* const parts = shared + kWarps * S::kRing + warp * X::kShared;
  float* const all_sums = reinterpret_cast<float*>(shared + kWarps * (S::kRing + X::kShared));

  // The row of weights, of gate or of up, that column c of a unit's sums belongs to.
  const auto place = [=](int unit, int c) { return kGated ? unit * 8 + c % 8 : unit * kUnit + c; };

  // Asks for the warp's next step, of this unit or the next, into the slot after the one asked for before.
  int asked_unit = first_unit, asked_step = first, asked_slot = 0;
  const uint16_t* rows[kTiles];
  const auto request = [&] {
    if (asked_step == first) {
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        const int n = place(asked_unit, 8 * j + g), row = (n < width ? n : width - 1) + (kGated && j % 2 ? width : 0);
        rows[j] = weights + static_cast<int64_t>(row) * K + first * kStep + t * 8;
      }
    }
    if (asked_unit < units && asked_step < end) {
      const bool there = asked_step * kStep + t * 8 < K;
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        copy_async(ring + asked_slot + j * kWarp, rows[j], there);
        rows[j] += kStep;
      }
    }
    commit_copies();
    if (++asked_step >= end) asked_step = first, asked_unit += next_unit;
    if ((asked_slot += kTiles * kWarp) == S::kRing) asked_slot = 0;
  };
  for (int i = 0; i < kSlots - 1; i++) request();

  // A lane's part of x, and of the norm, for X::kFold steps.
  float x[X::kEights][8], norm[8];
  const auto column = [&](int base) { return (base + X::step_of(g)) * kStep + t * 8; };
  const auto is_there = [&](int base) { return base + X::step_of(g) < end && column(base) < K; };
  const auto read = [&](int base) {
#pragma unroll
    for (int e = 0; e < X::kEights; e++) {
      const int m = 8 * e + X::row_of(g);
      if (is_there(base) && m < call.count) load_floats<8>(call.x + m * call.K + column(base), x[e]);
      else for (float& value : x[e]) value = 0.0f;
    }
  };
  const auto read_norm = [&](int base) {
    if (call.norm && is_there(base)) load_floats<8>(call.norm + column(base), norm);
  };
  for (float& value : norm) value = 1.0f;
  read_norm(first);
  if (call.bias && first_unit < units && lane < kUnit) {
    const int n = place(first_unit, lane);
    prefetch(call.bias + (n < width ? n : 0) + (kGated && lane >= 8 ? width : 0));
  }
  await_previous();
  read(first);
  int slot = 0;
  for (int unit = first_unit, turn = 0; unit < units; unit += next_unit, turn ^= 1) {
    constexpr int kRuns = 4 / X::kFold;
    float total[kTiles][X::kTotals] = {}, square[X::kEights][kRuns] = {};
    for (int base = first; base < end; base += X::kFold) {
      if (call.norm) {
#pragma unroll
        for (int e = 0; e < X::kEights; e++) {
#pragma unroll
          for (int run = 0; run < kRuns; run++) {
            if ((base - first) / X::kFold % kRuns != run) continue;
            for (int i = 0; i < 8; i++) square[e][run] += x[e][i] * x[e][i];
          }
          for (int i = 0; i < 8; i++) x[e][i] *= norm[i];
        }
      }
      X operand;
      operand.take(x, g, t, parts);
      const int next = base + X::kFold < end ? base + X::kFold : first;
      read(next);
      read_norm(next);
      const int count = end - base < X::kFold ? end - base : X::kFold;
      for (int s = 0; s < count; s++) {
        operand.at_step(s, g, t, parts);
        await_copies<kSlots - 2>();
        uint4 raw[kTiles];
#pragma unroll
        for (int j = 0; j < kTiles; j++) raw[j] = ring[slot + j * kWarp];
        if ((slot += kTiles * kWarp) == S::kRing) slot = 0;
        request();  // into the slot of the step before
#pragma unroll
        for (int j = 0; j < kTiles; j++) {
          Weight<kParts<kType>> weight;
          unpack<kType>(raw[j], weight);
          operand.multiply(weight, total[j]);
        }
      }
    }

    float* const sums = all_sums + turn * (S::kSums + S::kSquares);  // [kWarps, rows, kPitch]
    float* const squares = sums + S::kSums;                          // [kWarps, rows]
#pragma unroll
    for (int e = 0; e < X::kEights; e++) {
      const int m = warp * X::kRows + 8 * e + g;
#pragma unroll
      for (int run = 0; run < kRuns; run++)
        for (int offset = 2; offset > 0; offset /= 2)
          square[e][run] += __shfl_xor_sync(kWholeWarp, square[e][run], offset);
      const float all = X::of_four(square[e]);
      if (t == 0 && g < X::kRows) squares[m] = all;
#pragma unroll
      for (int j = 0; j < kTiles; j++) {
        for (int i = 0; i < 2; i++) {
          const float value = X::value(total[j], e, i);
          if (g < X::kRows) sums[m * kPitch + 8 * j + 2 * t + i] = value;
        }
      }
    }
    await_group(group, split);

    constexpr int kOutputs = kGated ? kUnit / 2 : kUnit;
    for (int i = member * kWarp + lane; i < call.count * kOutputs; i += split * kWarp) {
      const int m = i / kOutputs, c = i % kOutputs, n = place(unit, c);
      if (n >= width) continue;
      float value = 0.0f, up = 0.0f, all = 0.0f;
      for (int w = group * split; w < (group + 1) * split; w++) {
        const float* const mine = sums + (w * X::kRows + m) * kPitch + c;
        value += mine[0];
        if constexpr (kGated) up += mine[8];
        all += squares[w * X::kRows + m];
      }
      const float scale = call.norm ? rms_scale(all, K, call.epsilon) : 1.0f;
      finish<kGated>(call, m, n, scale, value, up);
    }
  }
#endif
}

// Slots of a ring; of the short one where shared memory has no room. With the long one a block leaves no room for a
// second: the blocks of a launch that begins early would crowd on the multiprocessors that are free first.
constexpr int kLong = 6, kShort = 3;

template <WeightType kType, typename X, int kSlots, bool kGated>
void launch(const uint16_t* weights, const Call& call, cudaStream_t stream) {
  const int units = ceil_div(call.N, kUnit), processors = device().processors;
  int split = kWarps;
  while (split > 1 && kWarps / split * processors < units) split /= 2;
  const unsigned blocks = static_cast<unsigned>(units < processors ? units : processors);
  allow_shared<few_rows<kType, X, kSlots, kGated>>();
  SDA_LAUNCH((few_rows<kType, X, kSlots, kGated>), blocks, kThreads, (Shared<X, kSlots>::kBytes), stream, weights, call,
             split);
}

template <WeightType kType, typename X, bool kGated>
void launch(const uint16_t* weights, const Call& call, cudaStream_t stream) {
  if (Shared<X, kLong>::kBytes <= device().shared) launch<kType, X, kLong, kGated>(weights, call, stream);
  else launch<kType, X, kShort, kGated>(weights, call, stream);
}

template <WeightType kType, bool kGated>
void launch(const uint16_t* weights, const Call& call, cudaStream_t stream) {
  if (call.count > 8) return launch<kType, SixteenRows, kGated>(weights, call, stream);
  if (call.count > 2) return launch<kType, EightRows, kGated>(weights, call, stream);
  launch<kType, TwoRows, kGated>(weights, call, stream);
}

template <WeightType kType>
void launch(bool gated, const uint16_t* weights, const Call& call, cudaStream_t stream) {
  if (gated) launch<kType, true>(weights, call, stream);
  else launch<kType, false>(weights, call, stream);
}

}  // namespace

bool takes_few(const Weights& weights, const Rows& rows) {
  constexpr int64_t kMost = int64_t{1} << 30;
  return weights.type != WeightType::kFloat32 && weights.K % 8 == 0 && weights.K < kMost && weights.N < kMost &&
         is_aligned(weights.data) && is_aligned(rows.x) && is_aligned(rows.norm) && device().capability >= 80;
}

void linear_few(bool gated, const Weights& weights, const Rows& rows, const float* bias, const float* residual,
                float* y, cudaStream_t stream) {
  const auto* const data = static_cast<const uint16_t*>(weights.data);
  const Call call = call_of(weights, rows, bias, residual, y);
  if (weights.type == WeightType::kFloat16) launch<WeightType::kFloat16>(gated, data, call, stream);
  else launch<WeightType::kBfloat16>(gated, data, call, stream);
}

}  // namespace cuda
}  // namespace sda
